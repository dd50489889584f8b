"""Converting Magenta RealTime v1: the same audio, tokens and embeddings as TensorFlow gives, or one clear sentence."""

import dataclasses
import json
import os
import re
import shutil
import sys

import musiccoca_tf
import numpy as np
import pytest
import tensorflow as tf
from conftest import CODEC, TEXTS, audio_of, clip_embeddings_of, style_tokens_of, text_embeddings_of, tokens_of

from darius.audio.waveform import Waveform
from darius.checkpoints import safetensors_io
from darius.codec import weights
from darius.codec.config import CodecConfig
from darius.convert import check, codec, convert_v1, layout, process, style
from darius.convert import v1 as v1_module
from darius.convert.variables import SavedVariables
from darius.errors import (
    BadAudio,
    BadCheckpoint,
    DariusError,
    InvalidOption,
    MissingDependency,
    OutputExists,
    OutputFailed,
)
from darius.style import musiccoca, saved_model
from darius.style.interface import StyleModel
from darius.style.tflite import TFLiteSignature

WAYS = ["converted", "original"]


@pytest.fixture(scope="module")
def converted_codec(conversion):
    return check.load_codec(conversion.folder)


@pytest.fixture(scope="module")
def models(conversion, source):
    """MusicCoCa from the converted files, and from the original's through TensorFlow."""
    return {"converted": musiccoca.load(conversion.folder), "original": musiccoca.load(source)}


def relative(ours, expected):
    return np.max(np.abs(np.asarray(ours) - expected)) / np.max(np.abs(expected))


# --- the codec ---


def test_the_codec_gives_tensorflows_tokens(v1, converted_codec):
    audio = np.stack([v1.audio, v1.audio[::-1]])
    np.testing.assert_array_equal(converted_codec.encode(audio, levels=6), tokens_of(v1, audio))


def test_the_codec_gives_tensorflows_audio(v1, converted_codec):
    tokens = np.random.default_rng(3).integers(0, 32, (2, 9, 6)).astype(np.int32)
    expected = audio_of(v1, tokens)
    decoded = converted_codec.decode(tokens)
    assert decoded.shape == expected.shape == (2, 9 * 1920, 2)
    assert relative(decoded, expected) <= 1e-5


def test_the_codec_file_holds_all_tensors_and_its_configuration(conversion):
    path = conversion.folder / "codec.safetensors"
    tensors = safetensors_io.load(path)
    assert {name: tensor.shape for name, tensor in tensors.items()} == weights.shapes(CODEC)
    assert {tensor.dtype for tensor in tensors.values()} == {np.dtype(np.float32)}
    # 48 tensors of the encoder, 48 of the decoder and the codebooks, as in the full-size model
    assert len(tensors) == 97
    assert CodecConfig.from_dict(safetensors_io.metadata(path)["codec"]) == CODEC


def test_fewer_levels_can_be_kept(source, tmp_path, conversion):
    fewer = dataclasses.replace(CODEC, num_levels=2)
    codec.convert_codec(source, tmp_path, fewer, on_progress=lambda part: None)
    kept = safetensors_io.load(tmp_path / "codec.safetensors")["quantizer/embedding"]
    whole = safetensors_io.load(conversion.folder / "codec.safetensors")["quantizer/embedding"]
    np.testing.assert_array_equal(kept, whole[:2])


def test_names_may_carry_a_prefix_and_the_quantiser_is_read_by_its_objects(v1, tmp_path):
    class Outer(tf.Module):
        def __init__(self):
            super().__init__()
            self.inner = [tf.Variable(tf.ones([2]), name="spectrostream/encoder/base_conv_first/weight_norm/bias")]

    tf.saved_model.save(Outer(), str(tmp_path / "outer"))
    saved = SavedVariables(tmp_path / "outer", tf)
    assert list(saved) == ["spectrostream/encoder/base_conv_first/weight_norm/bias"]
    assert saved.shape(next(iter(saved))) == (2,)

    tf.saved_model.save(v1.quantizer, str(tmp_path / "quantizer"))
    quantizer = SavedVariables(tmp_path / "quantizer", tf)
    assert len(quantizer) == CODEC.num_levels
    for level in range(CODEC.num_levels):
        expected = v1.quantizer._quantizers[level].embeddings.numpy()
        np.testing.assert_array_equal(quantizer.at(f"_quantizers/{level}/embeddings"), expected)
    with pytest.raises(BadCheckpoint, match="_quantizers/6/embeddings"):
        quantizer.at("_quantizers/6/embeddings")
    with pytest.raises(BadCheckpoint, match="_quantizers/0"):
        quantizer.at("_quantizers/0")


# --- the style model ---


@pytest.mark.parametrize("way", WAYS)
def test_text_embeddings_are_tensorflows(v1, models, way):
    expected = text_embeddings_of(v1, TEXTS)
    embeddings = models[way].embed_text(TEXTS)
    assert embeddings.dtype == np.float32
    assert relative(embeddings, expected) <= 1e-5
    np.testing.assert_array_equal(models[way].tokenize(embeddings), style_tokens_of(v1, expected))


@pytest.mark.parametrize("way", WAYS)
def test_audio_embeddings_are_tensorflows_averaged_over_clips(v1, models, way):
    seconds_25 = np.concatenate([v1.clips[0], v1.clips[1], v1.clips[0][:80000]])
    filled = np.concatenate([v1.clips[0][:80000], np.zeros(80000, np.float32)])
    expected = clip_embeddings_of(v1, [*v1.clips, filled]).mean(0)
    assert relative(models[way].embed_audio(Waveform(seconds_25, 16000)), expected) <= 1e-5


def test_audio_is_mixed_to_mono_at_16_khz(models):
    time = np.arange(48000 * 3) / 48000
    left, right = (0.4 * np.sin(2 * np.pi * pitch * time) for pitch in (220, 550))
    stereo = Waveform(np.stack([left, right], 1), 48000)
    mono = Waveform(((left + right) / 2)[:, None], 48000)
    clips = musiccoca.clips(stereo)
    assert clips.shape == (1, 160000) and not clips[0, 48000:].any()
    # Away from the ends, where the resampler meets silence, it is the same tones at another rate.
    np.testing.assert_allclose(clips[0, 2000:46000], (left + right)[6000:138000:3] / 2, atol=1e-3)
    np.testing.assert_array_equal(models["converted"].embed_audio(stereo), models["converted"].embed_audio(mono))


def test_texts_do_not_influence_one_another(models):
    together = models["converted"].embed_text(TEXTS)
    alone = [models["converted"].embed_text([text])[0] for text in TEXTS]
    np.testing.assert_array_equal(together, alone)
    assert models["converted"].embed_text([]).shape == (0, 768)


def test_case_does_not_matter(models):
    upper, lower = models["converted"].embed_text(["ACID House", "acid house"])
    np.testing.assert_array_equal(upper, lower)


def test_text_inputs_are_sos_pieces_and_padding():
    ids, paddings = musiccoca.text_inputs([7, 8, 9])
    assert ids.shape == paddings.shape == (1, 128)
    assert (ids.dtype, paddings.dtype) == (np.int32, np.float32)
    assert ids[0].tolist() == [1, 7, 8, 9] + [0] * 124
    assert paddings[0].tolist() == [0.0] * 4 + [1.0] * 124


def test_long_texts_are_cut_to_127_pieces(models):
    ids, paddings = musiccoca.text_inputs(range(2, 400))
    assert ids[0].tolist() == [1, *range(2, 129)] and not paddings.any()
    assert np.isfinite(models["converted"].embed_text(["house " * 400])).all()


def test_no_samples_are_refused(models):
    with pytest.raises(BadAudio, match="no samples"):
        models["converted"].embed_audio(Waveform(np.zeros((0, 2), np.float32), 48000))


def test_it_is_a_style_model(models):
    assert isinstance(models["converted"], StyleModel) and models["converted"].dim == 768
    assert models["converted"].tokenize(np.zeros(768, np.float32)).shape == (12,)


def test_a_tower_that_tflite_cannot_hold_stays_a_saved_model(v1, conversion, source, tmp_path):
    original = tmp_path / "original"
    musiccoca_tf.save_towers(musiccoca_tf.Unconvertible(), original / musiccoca.V1_GRAPH, ["embed_text"])
    target = tmp_path / "converted"
    shutil.copytree(conversion.folder, target)
    (target / "text_encoder.tflite").unlink()
    report = style.convert_tower(style.TOWERS[0], original, target)
    assert report["format"] == "saved_model" and report["reason"]
    assert style.towers_kept({"text": report, "music": {"format": "tflite"}}) == ["text"]
    assert not (target / "text_encoder.tflite").exists()

    style.keep_graph(original, target)
    model = musiccoca.load(target)
    ids, paddings = musiccoca.text_inputs(model._pieces("acid house"))
    expected = tf.saved_model.load(str(original / musiccoca.V1_GRAPH)).signatures["embed_text"](
        inputs_0=tf.constant(ids), inputs_0_1=tf.constant(paddings)
    )
    np.testing.assert_allclose(model.embed_text(["acid house"]), expected["contrastive_txt_embed"], rtol=1e-6)
    clip = Waveform(v1.clips[0], 16000)
    assert relative(model.embed_audio(clip), clip_embeddings_of(v1, v1.clips[:1])[0]) <= 1e-5


# --- the conversion as a whole ---


def test_the_folder_holds_everything_and_nothing_else(conversion):
    names = {path.name for path in conversion.folder.iterdir()}
    assert names == {
        "codec.safetensors",
        "manifest.json",
        "music_encoder.tflite",
        "spm.model",
        "style_codebooks.safetensors",
        "text_encoder.tflite",
    }
    assert list(conversion.folder.parent.iterdir()) == [conversion.folder]


def test_the_manifest_says_what_and_how_well(conversion):
    manifest = json.loads((conversion.folder / "manifest.json").read_text())
    assert manifest["codec"]["tensors"] == 97 and manifest["codec"]["levels"] == 6
    for tower in ("text", "music"):
        assert manifest["style"][tower]["format"] == "tflite" and manifest["style"][tower]["error"] <= 1e-5
    checks = manifest["checks"]
    assert checks["codec_tokens_equal"] == checks["style_tokens_equal"] == 1.0
    for figure in ("codec_round_trip_error", "style_text_error", "style_audio_error"):
        assert checks[figure] <= 1e-5
    assert manifest["versions"]["tensorflow"] == tf.__version__
    assert set(manifest["source"]) == set(layout.SAVED_MODELS)
    files = {path.name for path in conversion.folder.iterdir()} - {"manifest.json"}
    assert {name: layout.sha256(conversion.folder / name) for name in files} == manifest["files"]


def test_progress_goes_from_the_codec_to_done(conversion):
    stages = list(dict.fromkeys(stage for stage, _ in conversion.said))
    assert stages == ["codec", "style codebooks", "text", "music", "checks", "manifest", "done"]
    parts = [part for _, part in conversion.said]
    assert parts == sorted(parts) and parts[0] >= 0 and parts[-1] == 1.0


def test_a_wrong_conversion_does_not_pass_the_originals_test_data(source, conversion, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(conversion.folder, broken)
    path = broken / "codec.safetensors"
    tensors = {name: np.array(tensor) for name, tensor in safetensors_io.load(path).items()}
    tensors["decoder/decoder_3/conv2dtranspose_3x4/conv/kernel"] = tensors[
        "decoder/decoder_3/conv2dtranspose_3x4/conv/kernel"
    ][::-1]
    safetensors_io.save(path, tensors, {"codec": CODEC.to_dict()}, overwrite=True)
    with pytest.raises(BadCheckpoint, match="codec_round_trip_error"):
        check.check(source, broken)


def test_without_test_data_there_is_nothing_to_check(conversion, tmp_path):
    assert check.check(tmp_path, conversion.folder) == {}


# --- what can go wrong ---


@pytest.mark.parametrize(
    "name",
    [
        "savedmodels/ssv2_48k_stereo/decoder/saved_model.pb",
        "savedmodels/musiccoca_mv212_quant/variables/variables.index",
        "vocabularies/musiccoca_mv212f_vocab.model",
    ],
)
def test_a_missing_file_is_named(source, tmp_path, name):
    partial = tmp_path / "partial"
    shutil.copytree(source, partial)
    (partial / name).unlink()
    with pytest.raises(BadCheckpoint, match=re.escape(name)) as caught:
        convert_v1(partial, tmp_path / "out", codec=CODEC)
    assert "google/magenta-realtime" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_an_error_inside_the_worker_reaches_the_caller_and_leaves_nothing(source, tmp_path):
    wider = dataclasses.replace(CODEC, encoder_depth=8)
    with pytest.raises(BadCheckpoint, match=r"encoder/.* is \[.*\] instead of \[") as caught:
        convert_v1(source, tmp_path / "out", codec=wider)
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"decoder_depth": 8}, r"decoder/.* is \[.*\] instead of \["),
        ({"codebook_size": 64}, r"quantizer/_quantizers/0/embeddings is \[16, 32\] instead of \[16, 64\]"),
        ({"num_levels": 7}, "no tensor `_quantizers/6/embeddings`"),
        ({"ratios": CODEC.ratios[:6] + ((2, 1), (1, 1)), "mults": (*CODEC.mults, 1)}, "lacks the variable encoder/"),
    ],
)
def test_a_codec_of_another_size_is_refused_by_the_tensors_name(source, tmp_path, change, says):
    with pytest.raises(BadCheckpoint, match=says):
        codec.convert_codec(source, tmp_path, dataclasses.replace(CODEC, **change), on_progress=lambda part: None)


@pytest.mark.parametrize("file", ["saved_model.pb", "variables/variables.index"])
def test_a_damaged_saved_model_is_one_sentence(source, tmp_path, file):
    damaged = tmp_path / "encoder"
    shutil.copytree(source / layout.ENCODER, damaged)
    (damaged / file).write_bytes(b"\xff" * 100)
    with pytest.raises(BadCheckpoint, match="cannot be read"):
        SavedVariables(damaged, tf)


def test_codebooks_of_another_size_are_refused(v1, tmp_path):
    tf.saved_model.save(musiccoca_tf.Quantizer(v1.codebooks[:, :, :64]), str(tmp_path / musiccoca.V1_QUANTIZER))
    with pytest.raises(BadCheckpoint, match=r"\[12, 1024, 64\] instead of \[12, 1024, 768\]"):
        style.convert_quantizer(tmp_path, tmp_path)


def test_missing_codebooks_are_named(v1, tmp_path):
    tf.saved_model.save(musiccoca_tf.Quantizer(v1.codebooks[:4]), str(tmp_path / "quantizer"))
    with pytest.raises(BadCheckpoint, match=r"variables/\d+/\.ATTRIBUTES"):
        saved_model.read_codebooks(tmp_path / "quantizer")
    with pytest.raises(BadCheckpoint, match="cannot be read"):
        saved_model.read_codebooks(tmp_path / "nothing")


def test_a_target_that_is_there_is_not_touched(source, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputExists):
        convert_v1(source, tmp_path, codec=CODEC)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_target_that_cannot_be_made_is_one_sentence(source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputFailed, match="cannot be written"):
        convert_v1(source, tmp_path / "file" / "out", codec=CODEC)


@pytest.mark.parametrize("levels", [0, -1, 7])
def test_levels_that_the_codec_lacks_are_refused(source, tmp_path, levels):
    with pytest.raises(InvalidOption, match="6 RVQ levels"):
        convert_v1(source, tmp_path / "out", codec=CODEC, levels=levels)


def test_a_folder_without_a_style_model_says_what_to_do(tmp_path):
    with pytest.raises(BadCheckpoint, match="no MusicCoCa") as caught:
        musiccoca.load(tmp_path)
    assert "darius models convert" in caught.value.hint


@pytest.mark.parametrize(
    ("file", "says"),
    [("text_encoder.tflite", "text_encoder"), ("music_encoder.tflite", "music_encoder"), ("spm.model", "vocabulary")],
)
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_an_incomplete_converted_folder_is_refused(conversion, tmp_path, file, says, damage):
    folder = tmp_path / "v1"
    shutil.copytree(conversion.folder, folder)
    data = (folder / file).read_bytes()
    (folder / file).unlink()
    if damage == "cut":
        (folder / file).write_bytes(data[: len(data) // 3])
    with pytest.raises(BadCheckpoint, match=says):
        musiccoca.load(folder)


def test_a_signature_that_is_not_there_is_named(conversion, source):
    with pytest.raises(BadCheckpoint, match="embed_video"):
        TFLiteSignature(conversion.folder / "text_encoder.tflite", "embed_video")
    with pytest.raises(BadCheckpoint, match="embed_video"):
        saved_model.load_signatures(source / musiccoca.V1_GRAPH, ["embed_video"])
    with pytest.raises(BadCheckpoint, match="cannot be loaded"):
        saved_model.load_signatures(source / "testdata", ["embed_text"])


def test_without_litert_tensorflows_interpreter_does_the_same(v1, conversion, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    tower = TFLiteSignature(conversion.folder / "music_encoder.tflite", "embed_music")
    outputs = tower(inputs_0=v1.clips[:1])
    assert relative(outputs["contrastive_music_embed"], clip_embeddings_of(v1, v1.clips[:1])) <= 1e-5


def test_what_is_not_installed_is_named_with_its_command(conversion, source, tmp_path, monkeypatch):
    for module, load, command in [
        ("sentencepiece", lambda: musiccoca.load(conversion.folder), "pip install sentencepiece"),
        ("tensorflow", lambda: saved_model.load_signatures(source / musiccoca.V1_GRAPH, []), "pip install 'tensorflow"),
        ("tensorflow", lambda: convert_v1(source, tmp_path / "out", codec=CODEC), "pip install 'darius[convert]'"),
    ]:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            with pytest.raises(MissingDependency, match="not installed") as caught:
                load()
            assert command in caught.value.hint
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(MissingDependency, match="TFLite runtime") as caught:
        musiccoca.load(conversion.folder)
    assert "pip install ai-edge-litert" in caught.value.hint


def test_an_old_tensorflow_is_refused_before_it_fails(monkeypatch):
    monkeypatch.setattr(tf, "__version__", "2.17.1")
    with pytest.raises(MissingDependency, match=r"2\.20 or later; here is 2\.17\.1"):
        saved_model.tensorflow()


# --- the worker process ---

SAY = "import sys, json, os, signal\nsay = lambda **m: print(json.dumps(m), flush=True)\n"


def script(body):
    return [sys.executable, "-c", SAY + body]


def test_a_worker_that_dies_says_where_and_what_it_said_last():
    with pytest.raises(process.WorkerDiedError) as caught:
        process.run(script("say(progress=['text', 0.5]); sys.stderr.write('all is lost\\n'); sys.exit(3)"), print)
    failure = caught.value.failure()
    assert "status 3 at the stage `text`" in failure.message and "all is lost" in failure.hint


def test_a_worker_that_is_killed_is_named_by_its_signal():
    with pytest.raises(process.WorkerDiedError) as caught:
        process.run(script("say(progress=['codec', 0.1]); os.kill(os.getpid(), signal.SIGKILL)"), print)
    assert "SIGKILL at the stage `codec`" in caught.value.failure().message


def test_a_workers_error_is_raised_as_it_was():
    with pytest.raises(InvalidOption, match="Too loud") as caught:
        process.run(script("say(error=['InvalidOption', 'Too loud.', 'Turn it down.'])"), print)
    assert caught.value.hint == "Turn it down."


def test_a_worker_is_gone_once_it_has_answered():
    answer = process.run(script("say(result={'pid': os.getpid()}); import time; time.sleep(60)"), print)
    with pytest.raises(ProcessLookupError):
        os.kill(answer["pid"], 0)


def test_a_tower_at_which_the_converter_crashes_stays_a_saved_model():
    def crash_at_text(job):
        body = "say(progress=['text', 0.5]); os.kill(os.getpid(), signal.SIGSEGV)"
        return script(f"say(result={{'keep': {job['keep']}}})" if "text" in job["keep"] else body)

    assert v1_module.convert_in_worker({}, lambda *_: None, command=crash_at_text) == {"keep": ["text"]}


def test_a_crash_elsewhere_is_a_failure():
    def crash(job):
        return script("say(progress=['codec', 0.1]); os.kill(os.getpid(), signal.SIGSEGV)")

    with pytest.raises(DariusError, match="SIGSEGV at the stage `codec`"):
        v1_module.convert_in_worker({}, lambda *_: None, command=crash)

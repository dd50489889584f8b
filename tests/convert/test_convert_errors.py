"""What can go wrong with v1's files: one clear sentence, and nothing half done."""

import dataclasses
import re
import shutil
import sys

import musiccoca_tf
import pytest
import tensorflow as tf
from v1_original import (
    CODEC,
    clip_embeddings_of,
    relative,
)

from darius.convert import codec, convert_v1, layout, style
from darius.convert.variables import SavedVariables
from darius.errors import (
    BadCheckpoint,
    InvalidOption,
    MissingDependency,
    OutputExists,
    OutputFailed,
)
from darius.style import musiccoca, saved_model
from darius.style.tflite import TFLiteSignature


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


def test_an_error_inside_the_worker_reaches_the_caller_and_leaves_nothing(source, tmp_path, monkeypatch):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "tensorflow.py").write_text("raise ImportError('libtensorflow.so is damaged')")
    (tmp_path / "models").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    with pytest.raises(MissingDependency, match="TensorFlow") as caught:
        convert_v1(source, tmp_path / "models" / "v1", codec=CODEC)
    assert "pip install" in caught.value.hint
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"decoder_depth": 8}, r"decoder/.* is \[.*\] instead of \["),
        ({"codebook_size": 64}, r"quantizer/_quantizers/0/embeddings is \[16, 32\] instead of \[16, 64\]"),
        ({"num_levels": 7}, "no tensor `_quantizers/6/embeddings`"),
        ({"ratios": (*CODEC.ratios[:6], (2, 1), (1, 1)), "mults": (*CODEC.mults, 1)}, r"is \[.*\] instead of \["),
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

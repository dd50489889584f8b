"""MusicCoCa, converted or through TensorFlow: the original's call protocol, embeddings and tokens."""

import shutil

import musiccoca_tf
import numpy as np
import pytest
import tensorflow as tf
from v1_original import TEXTS, clip_embeddings_of, relative, style_tokens_of, text_embeddings_of

from darius.audio.waveform import Waveform
from darius.convert import style
from darius.errors import (
    BadAudio,
)
from darius.style import musiccoca
from darius.style.interface import StyleModel

WAYS = ["converted", "original"]


@pytest.fixture(scope="module")
def models(conversion, source):
    """MusicCoCa from the converted files, and from the original's through TensorFlow."""
    return {"converted": musiccoca.load(conversion.folder), "original": musiccoca.load(source)}


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
    assert relative(models["converted"].embed_audio(stereo), models["converted"].embed_audio(mono)) <= 1e-4


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

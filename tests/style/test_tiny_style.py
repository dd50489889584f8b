"""tiny's style model with the weights that ship: words and sounds meet in one space, whatever is typed or played."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import darius
from darius.audio.waveform import Waveform
from darius.checkpoints import safetensors_io
from darius.errors import BadAudio, BadCheckpoint
from darius.style.features import MELS, audio_features, mel_frames, text_features
from darius.style.interface import StyleModel
from darius.style.quantize import rvq_decode, rvq_encode
from darius.style.tiny import TinyStyle, TinyStyleConfig, load, projection
from recipes.tiny.data.captions import full_caption, words_of
from recipes.tiny.data.clip import make_clip
from recipes.tiny.data.genres import GENRES
from recipes.tiny.data.sounds import load_sounds
from recipes.tiny.data.synth import RATE

WEIGHTS = Path(darius.__file__).parent / "assets" / "tiny" / "style.safetensors"
HELD_OUT = range(1_000_000, 1_000_160, 10)
"""Seeds of validation clips that were never rendered for training."""


@pytest.fixture(scope="module")
def model() -> TinyStyle:
    return load(WEIGHTS)


@pytest.fixture(scope="module")
def held_out() -> list[tuple[Waveform, str, str]]:
    """Clips with their captions and genres."""
    sounds, genres = load_sounds(None), sorted(GENRES)
    clips = [make_clip(seed, 4, sounds, genre=genres[i % 23], bars=1) for i, seed in enumerate(HELD_OUT)]
    return [
        (Waveform(c.samples, RATE), full_caption(words_of(c.record(), c.groove.drum_roles)), c.groove.genre)
        for c in clips
    ]


def similarity(model: TinyStyle, one: str, other: str) -> float:
    a, b = model.embed_text([one, other])
    return float(a @ b)


# ---------------------------------------------------------------- what it promises


def test_it_is_a_style_model(model):
    assert isinstance(model, StyleModel)
    assert model.dim == 768
    assert WEIGHTS.stat().st_size < 3_000_000


def test_embeddings_have_length_one(model):
    texts = model.embed_text(["techno", "a very long description " * 40, "x", "日本"])
    assert texts.shape == (4, 768)
    assert texts.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-4)


def test_a_text_is_embedded_on_its_own(model):
    together = model.embed_text(["dub", "rock band"])
    np.testing.assert_array_equal(together[1], model.embed_text(["rock band"])[0])
    assert model.embed_text([]).shape == (0, 768)


def test_case_accents_and_surrounding_space_do_not_count(model):
    np.testing.assert_array_equal(*model.embed_text(["Bossa  NOVA ", "bóssa nova"]))


def test_a_text_without_words_asks_for_nothing(model):
    empty, marks, dub = model.embed_text(["", "... !", "dub"])
    assert not empty.any()
    assert not marks.any()
    np.testing.assert_array_equal(model.tokenize(0.5 * empty + 0.5 * dub), model.tokenize(dub))
    assert model.tokenize(empty).shape == (12,)


def test_tokens_are_codes_that_the_language_model_knows(model):
    tokens = model.tokenize(model.embed_text(["house", "ambient", "zyxw vut"]))
    assert tokens.shape == (3, 12)
    assert tokens.dtype == np.int32
    assert tokens.min() >= 0
    assert (tokens < np.array(model.config.level_sizes)).all()


def test_tokens_depend_on_direction_only_and_not_on_the_batch(model):
    embeddings = model.embed_text(["trance", "funk"])
    np.testing.assert_array_equal(model.tokenize(0.1 * embeddings)[1], model.tokenize(embeddings[1]))


# ---------------------------------------------------------------- what it learned


@pytest.mark.parametrize(
    ("one", "alike", "unlike"),
    [
        ("drum and bass", "dnb", "ambient"),
        ("hip hop", "boom bap", "trance"),
        ("lofi", "lo-fi chill beats", "techno"),
        ("jazz trio", "swing jazz", "dubstep"),
        ("chiptune", "8-bit video game", "bossa nova"),
        ("ambient", "calm ethereal soundscape", "drum and bass"),
        ("techno", "tecno", "bossa nova"),
        ("drums only", "just drums", "no drums"),
    ],
)
def test_words_of_one_meaning_are_nearer(model, one, alike, unlike):
    assert similarity(model, one, alike) > similarity(model, one, unlike) + 0.1


def test_a_caption_finds_its_clip_far_more_often_than_chance(model, held_out):
    audio = np.stack([model.embed_audio(waveform) for waveform, _, _ in held_out])
    text = model.embed_text([caption for _, caption, _ in held_out])
    scores = text @ audio.T
    rank = (scores > np.diag(scores)[:, None]).sum(axis=1)
    assert np.mean(rank == 0) > 0.4  # chance: 1 in 16
    assert np.mean(rank < 5) > 0.8  # chance: 5 in 16


def test_words_and_sounds_share_codes(model, held_out):
    heard = np.array([model.tokenize(model.embed_audio(waveform))[0] for waveform, _, _ in held_out])
    read = model.tokenize(model.embed_text([caption for _, caption, _ in held_out]))[:, 0]
    assert np.mean(heard == read) > 0.25  # of 64 codes


def test_the_first_levels_say_most(model, held_out):
    cores = np.stack([model.core_text(caption) for _, caption, _ in held_out])
    tokens = model.tokenize_core(cores)
    books = model.codebooks
    coarse = np.sum((cores - rvq_decode(books, tokens[:, :6])) ** 2, axis=1).mean()
    fine = np.sum((cores - rvq_decode(books, tokens)) ** 2, axis=1).mean()
    assert fine < coarse < 0.35


def test_sound_is_judged_alike_at_any_level_and_rate(model, held_out):
    from darius.audio.resample import to_rate

    waveform = held_out[1][0]
    reference = model.embed_audio(waveform)
    assert model.embed_audio(Waveform(waveform.samples * 0.25, RATE)) @ reference > 0.98
    assert model.embed_audio(to_rate(waveform, 44_100)) @ reference > 0.95


# ---------------------------------------------------------------- hard cases


@pytest.mark.parametrize("samples", [np.zeros((4800, 2)), np.ones((1, 1)), np.full((RATE, 1), 0.5)])
def test_silence_and_scraps_still_have_a_style(model, samples):
    embedding = model.embed_audio(Waveform(samples.astype(np.float32), RATE))
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("samples", [np.zeros((0, 2), np.float32), np.full((100, 2), np.nan, np.float32)])
def test_no_sound_is_bad_audio(model, samples):
    with pytest.raises(BadAudio):
        model.embed_audio(Waveform(samples, RATE))


def test_a_file_of_something_else_is_a_bad_checkpoint(tmp_path):
    other = safetensors_io.save(tmp_path / "x.safetensors", {"a": np.zeros(3, np.float32)})
    with pytest.raises(BadCheckpoint):
        load(other)
    headed = safetensors_io.save(
        tmp_path / "y.safetensors", {"a": np.zeros(3, np.float32)}, {"config": TinyStyleConfig().to_dict()}
    )
    with pytest.raises(BadCheckpoint):
        load(headed)


# ---------------------------------------------------------------- parts


def test_the_projection_is_orthonormal():
    rows = projection(64)
    np.testing.assert_allclose(rows @ rows.T, np.eye(64), atol=1e-5)


def test_quantising_picks_the_nearest_code_of_each_residual():
    books = np.array([[[0, 0], [10, 0]], [[0, 0], [0, 1]]], np.float32)
    codes = rvq_encode(books, np.array([[[9.0, 0.9]], [[1.0, 0.2]]]))
    np.testing.assert_array_equal(codes, [[[1, 1]], [[0, 0]]])
    np.testing.assert_array_equal(rvq_decode(books, codes)[0, 0], [10, 1])


def test_a_code_vector_is_its_own_code():
    books = np.random.default_rng(0).normal(size=(1, 16, 8)).astype(np.float32)
    np.testing.assert_array_equal(rvq_encode(books, books[0])[:, 0], np.arange(16))


def test_features_have_one_size_for_any_length():
    mels = np.random.default_rng(0).normal(-40, 10, (300, MELS)).astype(np.float32)
    lengths = {len(audio_features(mels[:n], 0.0)) for n in (1, 2, 60, 300)}
    assert len(lengths) == 1


def test_width_tells_mono_from_wide():
    noise = np.random.default_rng(0).normal(0, 0.1, (RATE, 2)).astype(np.float32)
    mono, wide = Waveform(noise[:, :1], RATE), Waveform(noise * np.float32([1, -1]), RATE)
    assert mel_frames(mono)[1] < -2 < -0.5 < mel_frames(wide)[1]


def test_pieces_of_a_text_are_hashed_within_the_table():
    pieces = text_features("Acid-House 303", 64)
    assert len(pieces)
    assert ((pieces >= 0) & (pieces < 64)).all()
    assert len(text_features("¿ ?", 64)) == 0

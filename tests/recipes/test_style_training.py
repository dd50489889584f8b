"""Training of the style model on a toy world of three genres whose sound is plain to see."""

from __future__ import annotations

import numpy as np
import pytest

from darius.checkpoints import safetensors_io
from darius.style.features import text_features
from darius.style.mix import mix
from darius.style.quantize import rvq_decode, rvq_encode
from darius.style.tiny import TinyStyle, TinyStyleConfig, load
from recipes.tiny.data.captions import full_caption, words_of
from recipes.tiny.style import (
    WINDOWS,
    bags_of_pieces,
    fit,
    phrase_rows,
    report,
    residual_kmeans,
    roughened,
    vocabulary,
    with_codes,
    with_words,
)

GENRES = ("techno", "ambient", "funk")
CONFIG = TinyStyleConfig(core_dim=16, text_buckets=512, level_sizes=(8,) * 12)


def toy_records(count: int) -> list[dict]:
    """Clips that differ by genre only."""
    records = []
    for i in range(count):
        record = {"genre": GENRES[i % 3], "instruments": {}, "stems": ["drums"], "bpm": 100.0, "tilt_db": 0, "tape": 0}
        words = words_of(record, ["kick"])
        records.append(record | {"words": words, "caption": full_caption(words)})
    return records


def toy_features(count: int, rng: np.random.Generator) -> np.ndarray:
    """The genre as a noisy one-hot row."""
    rows = np.repeat(np.eye(3, dtype=np.float32)[np.arange(count) % 3][:, None], WINDOWS, axis=1)
    return rows + 0.1 * rng.standard_normal(rows.shape, dtype=np.float32)


@pytest.fixture(scope="module")
def trained() -> TinyStyle:
    rng = np.random.default_rng(0)
    params, captions = fit(CONFIG, toy_features(60, rng), toy_records(60), steps=120, batch=48, seed=0)
    return TinyStyle(CONFIG, with_codes(CONFIG, params, toy_features(60, rng), captions, rng))


def test_names_find_the_sounds_they_were_trained_with(trained):
    numbers = report(trained, toy_features(30, np.random.default_rng(1)), toy_records(30))
    assert numbers["genre_by_name"] > 0.9
    assert numbers["own_similarity"] > numbers["other_similarity"] + 0.3


def test_what_training_reads_is_what_the_model_reads(trained):
    bags, used = bags_of_pieces(["techno loop", "funk"], CONFIG.text_buckets)
    for bag, text in zip(bags, ["techno loop", "funk"], strict=True):
        expected = np.bincount(text_features(text, CONFIG.text_buckets), minlength=CONFIG.text_buckets)
        np.testing.assert_array_equal(bag, expected[used])


def test_every_level_of_residual_means_comes_closer():
    x = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
    books = residual_kmeans(x, (8, 8, 8), np.random.default_rng(0)).reshape(3, 8, 6)
    codes = rvq_encode(books, x)
    errors = [np.mean((x - rvq_decode(books, codes[:, :levels])) ** 2) for levels in (1, 2, 3)]
    assert errors[2] < errors[1] < errors[0] < np.mean(x**2)


def test_a_caption_fits_every_clip_that_has_its_phrases():
    records = toy_records(3)
    phrases = vocabulary(records)
    has = phrase_rows([[p for aspect in r["words"].values() for p in aspect] for r in records], phrases)
    asked = phrase_rows([["techno", "drums only"], ["drums only"]], phrases)
    np.testing.assert_array_equal(asked @ has.T == asked.sum(axis=1, keepdims=True), [[True, False, False], [True] * 3])


def test_roughened_captions_keep_most_of_their_words():
    rng = np.random.default_rng(0)
    rough = [roughened("dark techno drums", rng) for _ in range(200)]
    assert len(set(rough)) > 20
    assert np.mean(["techno" in text for text in rough]) > 0.85


def test_the_sixth_code_says_what_share_of_the_style_are_words(trained):
    (techno,) = trained.embed_text(["techno"])
    sound = trained.core_audio(toy_features(1, np.random.default_rng(2))[0, 0]) @ trained._projection
    shares = [trained.tokenize(mix([(techno, 1.0), (sound, weight)]))[5] for weight in (0.0, 0.3, 2.0, 6.0, 100.0)]
    assert shares == [7, 5, 2, 1, 0]
    assert trained.tokenize(sound)[5] == 0
    np.testing.assert_array_equal(trained.tokenize(0.5 * sound), trained.tokenize(sound))


def test_an_older_model_gets_a_level_for_words_and_keeps_its_codes(tmp_path):
    sizes, rng = TinyStyleConfig().learned_sizes, np.random.default_rng(0)
    older = TinyStyleConfig(core_dim=4, text_buckets=8, level_sizes=(*sizes, 256), words_level=None)
    params = {"codes": rng.standard_normal((sum(older.level_sizes), 4)).astype(np.float32)}
    params |= {"text/table": np.zeros((8, 5), np.float32)}
    safetensors_io.save(tmp_path / "old.safetensors", params, {"config": older.to_dict()})
    with_words(tmp_path / "old.safetensors", tmp_path / "new.safetensors")
    new = load(tmp_path / "new.safetensors")
    core = rng.standard_normal((20, 4)).astype(np.float32)
    codes = new.tokenize_core(np.concatenate([core, np.zeros((20, 1), np.float32)], axis=1))
    np.testing.assert_array_equal(np.delete(codes, 5, axis=1), TinyStyle(older, params).tokenize_core(core)[:, :-1])
    with pytest.raises(SystemExit):
        with_words(tmp_path / "new.safetensors", tmp_path / "newer.safetensors")

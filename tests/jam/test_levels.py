"""A jam's level: matched once, kept, under its headroom, and the same wherever the stream happens to be cut."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from darius.audio.loudness import measure
from darius.audio.waveform import Waveform
from darius.jam.levels import first_gain, levelled, pad

RATE = 8000
CEILING = 10 ** (-1 / 20)


def noise(seconds: float, level: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, level, (round(seconds * RATE), 2)).astype(np.float32)


@pytest.mark.parametrize("mode", ["auto", "lufs", "rms"])
def test_the_first_bar_gets_the_level_of_the_loops_first_bar(mode: str) -> None:
    loop, first = Waveform(noise(2, 0.1), RATE), Waveform(np.concatenate([noise(2, 0.02, 1), noise(6, 0.03, 2)]), RATE)
    gain = first_gain(first, 2 * RATE, loop, mode, CEILING)
    matched = Waveform(first.cut(0, 2 * RATE).samples * np.float32(gain), RATE)
    assert measure(matched).rms_db == pytest.approx(measure(loop).rms_db, abs=0.3)


def test_a_loud_later_bar_makes_the_gain_smaller_instead_of_crushing_it() -> None:
    first = Waveform(np.concatenate([noise(2, 0.005, 1), noise(6, 0.2, 2)]), RATE)
    gain = first_gain(first, 2 * RATE, Waveform(noise(2, 0.1), RATE), "rms", CEILING)
    assert first.peak * gain == pytest.approx(CEILING * 10 ** (6 / 20))


@pytest.mark.parametrize(("mode", "loop"), [("none", noise(2, 0.1)), ("auto", None)])
def test_without_a_mode_or_a_loop_the_gain_is_one(mode: str, loop: np.ndarray | None) -> None:
    reference = None if loop is None else Waveform(loop, RATE)
    assert first_gain(Waveform(noise(2, 0.01), RATE), RATE, reference, mode, CEILING) == 1.0


def test_silence_is_not_blown_up() -> None:
    silent = Waveform(np.zeros((RATE, 2), np.float32), RATE)
    assert first_gain(silent, RATE, Waveform(noise(1, 0.1), RATE), "auto", CEILING) == 1.0


def test_mode_none_changes_nothing_at_all() -> None:
    loud = noise(1, 1.0)
    assert np.array_equal(levelled(loud, RATE, 1.0, "none", CEILING), loud)


def test_cut_anywhere_the_level_is_that_of_the_whole() -> None:
    """Peaks straddle the cuts: a limiter that saw only its own chunk would jump there."""
    sound = noise(4, 0.2)
    side = pad(RATE)
    cuts = [0, 5000, 9001, 9002, 17_777, 32_000]
    for cut in cuts:
        sound[max(cut - 5, 0) : cut + 5] *= 6
    around = np.pad(sound, ((side, side), (0, 0)))
    whole = levelled(around, RATE, 1.3, "auto", CEILING)[side:-side]
    parts = [
        levelled(around[a : b + 2 * side], RATE, 1.3, "auto", CEILING)[side : side + b - a]
        for a, b in itertools.pairwise(cuts)
    ]
    assert np.abs(np.concatenate(parts) - whole).max() < 1e-6
    assert np.abs(whole).max() <= np.float32(CEILING)

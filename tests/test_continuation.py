"""Exactly N bars, from the downbeat on, at the loop's level, without a seam."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from known_loops import LOOPS, TEMPI

from darius.audio import files
from darius.audio.loudness import measure
from darius.audio.waveform import Waveform
from darius.continuation import ContinuationOptions, continue_loop
from darius.errors import BadAudio, InvalidOption
from darius.piece import _even_lead

if TYPE_CHECKING:
    from darius.model import Model


@pytest.mark.parametrize(
    ("bars", "bpm", "beats", "rate"),
    [(1, 120.0, 4, 44100), (1, 93.7, 4, 22050), (2, 174.35, 3, 48000), (1, 61.0, 5, 44100), (3, 133.33, 4, 32000)],
)
def test_the_length_is_the_exact_product_rounded_once(
    tiny: Model, loop_wave: Waveform, bars: int, bpm: float, beats: int, rate: int
) -> None:
    options = ContinuationOptions(bars=bars, bpm=bpm, beats_per_bar=beats, sample_rate=rate, seed=1, guidance=0.0)
    result = continue_loop(tiny, loop_wave, options)
    wanted = round(Fraction(bars * beats * 60 * rate) / Fraction(str(bpm)))
    assert len(result.waveforms[0]) == result.samples == wanted


@pytest.fixture(scope="module")
def loop_wave() -> Waveform:
    return files.load(LOOPS["loop_garzul"])


def test_the_level_is_the_loops_and_nothing_clips(tiny: Model, loop_wave: Waveform) -> None:
    result = continue_loop(tiny, loop_wave, ContinuationOptions(bars=4, seed=3))
    made = result.waveforms[0]
    assert abs(measure(made).lufs - measure(loop_wave).lufs) < 3
    assert np.abs(made.samples).max() <= 1.0


def test_dropping_intro_bars_keeps_the_same_music_from_later_on(tiny: Model, loop_wave: Waveform) -> None:
    whole = continue_loop(tiny, loop_wave, ContinuationOptions(bars=3, seed=3, loudness="none"))
    late = continue_loop(tiny, loop_wave, ContinuationOptions(bars=2, intro_bars_to_drop=1, seed=3, loudness="none"))
    assert np.allclose(whole.waveforms[0].samples[2 * 44100 :], late.waveforms[0].samples, atol=1e-4)


def test_chunk_borders_cannot_be_told_from_other_places(tiny: Model, loop_wave: Waveform) -> None:
    options = ContinuationOptions(bars=8, seed=5, sample_rate=48000, timing="free", loudness="none")
    samples = continue_loop(tiny, loop_wave, options).waveforms[0].samples
    steps = np.abs(np.diff(samples, axis=0)).max(axis=1)
    borders = np.arange(2 * 48000, len(steps) - 100, 2 * 48000)
    at_borders = np.array([steps[b - 48 : b + 48].max() for b in borders])
    elsewhere = np.array([steps[i : i + 96].max() for i in range(100, len(steps) - 200, 997)])
    assert (at_borders.mean() - elsewhere.mean()) / elsewhere.std() < 3


def test_a_loop_that_is_not_whole_bars_is_used_as_far_as_it_is(tiny: Model, loop_wave: Waveform) -> None:
    ragged = Waveform(loop_wave.samples[: int(2.6 * 2 * 44100)], 44100)
    result = continue_loop(tiny, ragged, ContinuationOptions(bars=1, bpm=120, seed=1))
    assert result.tempo.used_bars == 2
    assert any("not cut to whole bars" in note for note in result.notes)


def test_a_loop_shorter_than_a_bar_is_refused_with_what_to_do(tiny: Model, loop_wave: Waveform) -> None:
    with pytest.raises(BadAudio, match="--bpm"):
        continue_loop(tiny, Waveform(loop_wave.samples[:30000], 44100), ContinuationOptions(bpm=60, bars=1))


def test_too_much_music_is_refused_before_any_is_made(tiny: Model, loop_wave: Waveform) -> None:
    with pytest.raises(InvalidOption, match="minutes"):
        continue_loop(tiny, loop_wave, ContinuationOptions(bars=900, bpm=60))


@given(st.integers(0, 4000), st.fractions(min_value=Fraction(1, 4), max_value=4, max_denominator=500))
def test_the_lead_in_is_at_most_what_there_is_and_lands_on_a_sample(most: int, ratio: Fraction) -> None:
    lead = _even_lead(most, ratio)
    assert 0 <= lead <= most
    assert abs(lead * ratio - round(lead * ratio)) <= Fraction(1, 2)
    if most >= 2 * ratio.denominator:
        assert (lead * ratio).denominator == 1


def test_every_loop_has_a_stated_tempo() -> None:
    assert set(TEMPI) == set(LOOPS)

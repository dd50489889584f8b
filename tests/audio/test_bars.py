"""Musical time is exact: lengths, bar lines, and loops on whole codec frames."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darius.audio.bars import BarGrid, bar_samples, bar_seconds, exact_bpm, frame_grid
from darius.errors import InvalidOption

TEMPI = st.fractions(min_value=20, max_value=400, max_denominator=1000)
RATES = st.sampled_from([8_000, 22_050, 44_100, 48_000, 88_200, 96_000, 192_000])
HALF = Fraction(1, 2)


def test_known_lengths() -> None:
    assert bar_samples(8, 4, 120, 44_100) == 705_600
    assert bar_samples(1, 4, "130", 44_100) == round(Fraction(4 * 60 * 44_100, 130))
    assert bar_samples(8, 3, 93.4, 48_000) == round(Fraction(8 * 3 * 60 * 48_000 * 10, 934))


def test_a_float_means_its_shortest_decimal() -> None:
    assert exact_bpm(93.4) == Fraction(467, 5) == exact_bpm("93.4")
    assert exact_bpm("280/3") == Fraction(280, 3)


@pytest.mark.parametrize("bpm", [0, -120, 1000, float("nan"), float("inf"), "fast", "", "1/0", 19.9, 400.1])
def test_an_impossible_tempo_is_refused_with_a_sentence(bpm: float | str) -> None:
    with pytest.raises(InvalidOption, match="tempo"):
        exact_bpm(bpm)


def test_halves_round_to_even() -> None:
    # 1 bar of 1 beat at 120 bpm and 8001 Hz is 4000.5 samples
    assert bar_samples(1, 1, 120, 8_001) == 4000
    assert bar_samples(3, 1, 120, 8_001) == 12_002


@given(bpm=TEMPI, beats=st.integers(1, 13), rate=RATES, bars=st.integers(1, 10_000))
def test_no_drift_over_ten_thousand_bars(bpm: Fraction, beats: int, rate: int, bars: int) -> None:
    grid = BarGrid(bpm=bpm, beats_per_bar=beats, rate=rate)
    exact = Fraction(bars * beats * 60 * rate) / bpm
    assert abs(grid.position(bars) - exact) <= HALF
    assert grid.position(bars) == bar_samples(bars, beats, bpm, rate)


@settings(max_examples=3, deadline=None)
@given(bpm=TEMPI, rate=RATES)
def test_bar_lengths_one_by_one_add_up_to_the_exact_position(bpm: Fraction, rate: int) -> None:
    grid = BarGrid(bpm=bpm, rate=rate)
    lengths = np.array([grid.length(bar) for bar in range(10_000)])
    for bars, total in enumerate(np.cumsum(lengths).tolist(), start=1):
        # in whole numbers: the difference in 1/denominators of a sample
        exact = grid.samples_per_bar
        assert 2 * abs(total * exact.denominator - exact.numerator * bars) <= exact.denominator


@given(bpm=TEMPI, rate=RATES, bars=st.integers(1, 200))
def test_bar_lines_are_in_order_and_end_at_the_last_bar(bpm: Fraction, rate: int, bars: int) -> None:
    grid = BarGrid(bpm=bpm, rate=rate)
    lines = grid.lines(bars)
    assert len(lines) == bars + 1 and lines[0] == 0 and lines[-1] == grid.position(bars)
    assert lines == sorted(set(lines))


@given(bpm=TEMPI, rate=RATES, sample=st.integers(0, 10**9))
def test_bar_at_is_the_bar_whose_lines_enclose_the_sample(bpm: Fraction, rate: int, sample: int) -> None:
    grid = BarGrid(bpm=bpm, rate=rate)
    bar = grid.bar_at(sample)
    assert grid.position(bar) <= sample < grid.position(bar + 1)


@given(bpm=st.fractions(min_value=40, max_value=300, max_denominator=100), bars=st.integers(1, 32))
def test_frame_grid_is_whole_frames_within_four_per_mille(bpm: Fraction, bars: int) -> None:
    seconds = bar_seconds(bars, 4, bpm)
    grid = frame_grid(seconds, bars)
    assert abs(grid.ratio - 1) <= Fraction(4, 1000)
    assert seconds * grid.repeats * grid.ratio * 25 == grid.frames
    assert grid.change == pytest.approx(float(grid.ratio) - 1)


@given(bpm=st.fractions(min_value=40, max_value=300, max_denominator=100), bars=st.integers(1, 32))
def test_frame_grid_repeats_a_loop_only_as_often_as_needed(bpm: Fraction, bars: int) -> None:
    exact = bar_seconds(bars, 4, bpm) * 25
    repeats = frame_grid(exact / 25, bars).repeats
    assert exact * (repeats - 1) < 125  # 125 frames are always enough: half a frame is 0.4 % of them
    for fewer in range(1, repeats):
        assert abs(round(exact * fewer) / (exact * fewer) - 1) > Fraction(4, 1000)


def test_frame_grid_makes_every_bar_whole_frames_where_it_can() -> None:
    grid = frame_grid(bar_seconds(4, 4, 130), 4)
    assert (grid.frames, grid.repeats) == (4 * 46, 1)
    assert grid.ratio == 184 / (Fraction(4 * 240 * 25, 130))
    assert frame_grid(bar_seconds(4, 4, 120), 4).ratio == 1
    # a bar at 90 bpm is 66.67 frames, too far from 67; four are 266.67
    assert frame_grid(bar_seconds(4, 4, 90), 4).frames == 267


@pytest.mark.parametrize(("seconds", "bars"), [(Fraction(0), 1), (Fraction(2), 0)])
def test_frame_grid_refuses_nothing(seconds: Fraction, bars: int) -> None:
    with pytest.raises(ValueError, match="no grid"):
        frame_grid(seconds, bars)


def test_a_bar_has_at_least_one_beat() -> None:
    with pytest.raises(InvalidOption, match="0 beats"):
        BarGrid(bpm=Fraction(120), beats_per_bar=0)

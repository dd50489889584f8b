"""Any ratio, no delay, exact length."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darius.audio.resample import resample, to_rate

from .sounds import sine


@pytest.mark.parametrize(
    "target", [48_000, 22_050, Fraction(44_100 * 801, 800), 44_100 * 1.0031], ids=["up", "down", "fraction", "float"]
)
def test_a_sine_stays_the_same_sine_without_delay(target: float | Fraction) -> None:
    result = resample(sine(4.0, hertz=997.0).samples, 44_100, target)
    time = np.arange(len(result)) / float(target)
    error = np.abs(result[:, 0] - 0.5 * np.sin(2 * np.pi * 997.0 * time))
    assert error[2000:-2000].max() < 2e-6


def test_a_fine_ratio_does_not_drift_over_ten_minutes() -> None:
    rate, target = 8_000, Fraction(8_000 * 3007, 3000)
    result = resample(sine(600.0, rate=rate, hertz=500.0, channels=1).samples, rate, target)
    time = np.arange(len(result)) / float(target)
    error = np.abs(result[-3000:-1000, 0] - 0.5 * np.sin(2 * np.pi * 500.0 * time[-3000:-1000]))
    assert error.max() < 1e-3  # a sample late would be 0.2


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(1, 3000),
    target=st.fractions(min_value=8_000, max_value=96_000, max_denominator=100),
    length=st.none() | st.integers(0, 5000),
)
def test_the_length_is_what_was_asked_for(count: int, target: Fraction, length: int | None) -> None:
    samples = np.ones((count, 2), np.float32)
    result = resample(samples, 44_100, target, length=length)
    assert result.shape == (round(count * target / 44_100) if length is None else length, 2)
    assert result.dtype == np.float32 and np.isfinite(result).all()


def test_the_same_rate_changes_nothing_and_shares_nothing() -> None:
    samples = sine(0.1).samples
    result = resample(samples, 48_000, 48_000)
    assert np.array_equal(result, samples) and not np.shares_memory(result, samples)


def test_there_and_back_returns_the_loop() -> None:
    start = sine(2.0, hertz=3000.0).samples
    there = resample(start, 44_100, Fraction(48_000 * 1003, 1000))
    back = resample(there, Fraction(48_000 * 1003, 1000), 44_100, length=len(start))
    assert np.abs(back - start)[2000:-2000].max() < 1e-5


def test_nothing_resampled_is_nothing() -> None:
    assert resample(np.zeros((0, 2), np.float32), 44_100, 48_000).shape == (0, 2)


def test_to_rate_keeps_the_duration() -> None:
    wave = to_rate(sine(1.0), 48_000)
    assert (wave.rate, len(wave)) == (48_000, 48_000)
    assert to_rate(wave, 48_000) is wave

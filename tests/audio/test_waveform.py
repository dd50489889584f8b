"""A waveform is samples [n, channels] and a rate."""

from __future__ import annotations

import numpy as np
import pytest

from darius.audio.waveform import Waveform


def test_one_dimension_is_one_channel_and_everything_is_float32() -> None:
    wave = Waveform(np.arange(4.0), 8)
    assert wave.samples.shape == (4, 1) and wave.samples.dtype == np.float32
    assert (len(wave), wave.channels, wave.duration, wave.peak) == (4, 1, 0.5, 3.0)


def test_mono_is_the_mean_and_stereo_doubles_it() -> None:
    wave = Waveform(np.array([[1.0, 0.0, 0.5]]), 8)
    assert wave.mono().samples.tolist() == [[0.5]]
    assert wave.stereo().samples.tolist() == [[0.5, 0.5]]
    pair = Waveform(np.array([[1.0, -1.0]]), 8)
    assert pair.stereo() is pair
    assert pair.cut(0, 1).samples.tolist() == [[1.0, -1.0]]


@pytest.mark.parametrize(("shape", "rate"), [((2, 2, 2), 8), ((4, 0), 8), ((4, 1), 0)])
def test_impossible_shapes_and_rates_are_refused(shape: tuple[int, ...], rate: int) -> None:
    with pytest.raises(ValueError, match=r"samples must be|rate must be"):
        Waveform(np.zeros(shape), rate)


def test_no_samples_have_no_peak() -> None:
    assert Waveform(np.zeros((0, 2)), 8).peak == 0.0

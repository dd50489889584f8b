"""Levels are measured as broadcasters do, matched by one gain, and never clip."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darius.audio import loudness
from darius.audio.loudness import CEILING, limit, match, measure
from darius.audio.waveform import Waveform
from darius.errors import InvalidOption

from .sounds import drums, noise, sine


def test_a_full_scale_997_hz_sine_in_both_channels_is_0_lufs() -> None:
    # BS.1770: -3.01 LUFS in one channel, so 0.0 in two
    level = measure(sine(3.0, rate=48_000, hertz=997.0, gain=1.0))
    assert level.lufs == pytest.approx(0.0, abs=0.1)
    assert level.rms_db == pytest.approx(-3.01, abs=0.01)
    assert level.peak_db == pytest.approx(0.0, abs=0.01)


def test_mono_is_as_loud_as_its_stereo_copy() -> None:
    mono = noise(1.0, channels=1)
    assert measure(mono).lufs == pytest.approx(measure(mono.stereo()).lufs)


@pytest.mark.parametrize("seconds", [0.2, 0.399, 0.4])
def test_what_is_too_short_for_lufs_says_none(seconds: float) -> None:
    level = measure(noise(seconds))
    assert level.lufs is None or seconds >= 0.4
    assert np.isfinite(level.rms_db)


def test_silence_is_minus_infinity() -> None:
    level = measure(Waveform(np.zeros((48_000, 2)), 48_000))
    assert (level.lufs, level.rms_db, level.peak_db) == (None, -np.inf, -np.inf)


@pytest.mark.parametrize("mode", ["auto", "lufs", "rms"])
@pytest.mark.parametrize("gain", [0.01, 0.3, 3.0])
def test_the_level_becomes_that_of_the_loop(mode: loudness.Mode, gain: float) -> None:
    loop = drums(120, 2)
    music = noise(4.0, gain=gain)
    result = Waveform(match(music.samples, music.rate, loop, mode), music.rate)
    assert result.peak <= CEILING
    if mode == "rms":
        assert measure(result).rms_db == pytest.approx(measure(loop).rms_db, abs=0.2)
    else:
        assert measure(result).lufs == pytest.approx(measure(loop).lufs, abs=0.2)


def test_none_leaves_everything_as_it_is() -> None:
    music = noise(1.0)
    assert np.array_equal(match(music.samples, music.rate, drums(120, 1), "none"), music.samples)


def test_short_material_falls_back_to_rms() -> None:
    loop, music = noise(0.3, gain=0.2), noise(0.3, gain=0.05, seed=1)
    result = Waveform(match(music.samples, music.rate, loop), music.rate)
    assert measure(result).rms_db == pytest.approx(measure(loop).rms_db, abs=0.1)
    with pytest.raises(InvalidOption, match="LUFS"):
        match(music.samples, music.rate, loop, "lufs")


def test_silence_stays_silent_and_near_silence_is_not_blown_up() -> None:
    loop = drums(120, 1)
    silent = np.zeros((44_100, 2), np.float32)
    assert not match(silent, 44_100, loop).any()
    hiss = noise(1.0, gain=1e-5)
    assert np.abs(match(hiss.samples, 44_100, loop)).max() <= np.abs(hiss.samples).max() * 10 ** (24 / 20) * 1.001


def test_a_very_spiky_continuation_is_quieter_rather_than_crushed() -> None:
    spikes = noise(2.0, gain=0.001).samples.copy()
    spikes[::4410] = 0.5
    result = match(spikes, 44_100, noise(2.0, gain=0.3))
    assert np.abs(result).max() <= CEILING
    # the limiter took at most 12 dB off the spikes relative to the rest
    before, after = (np.abs(x).max() / np.median(np.abs(x)) for x in (spikes, result))
    assert 20 * np.log10(before / after) <= 12.1


def test_what_the_limiter_takes_off_is_made_up_for() -> None:
    """A peaky continuation of a dense, loud loop still sounds as loud as the loop."""
    dense, peaky = noise(4.0, gain=0.1), noise(4.0, gain=0.02).samples.copy()
    peaky[::11025] *= 6
    result = match(peaky, 44_100, dense)
    assert abs(measure(Waveform(result, 44_100)).lufs - measure(dense).lufs) < 1.0


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 999), gain=st.floats(0.05, 20), rate=st.sampled_from([8_000, 44_100]), size=st.integers(1, 5000)
)
def test_the_limiter_never_exceeds_its_ceiling(seed: int, gain: float, rate: int, size: int) -> None:
    random = np.random.default_rng(seed)
    samples = (gain * random.standard_normal((size, 2)) * (random.random((size, 1)) < 0.02)).astype(np.float32)
    assert np.abs(limit(samples, rate)).max() <= np.float32(CEILING)


def test_the_limiter_is_smooth_and_leaves_the_rest_alone() -> None:
    tone = sine(1.0, gain=0.5, hertz=100.0).samples.copy()
    tone[20_000:20_010] *= 4.0
    result = limit(tone, 44_100)
    untouched = np.r_[0:19_000, 21_100 : len(tone)]
    assert np.array_equal(result[untouched], tone[untouched])
    gain = result[:, 0] / np.where(np.abs(tone[:, 0]) > 0.05, tone[:, 0], np.nan)
    assert np.nanmax(np.abs(np.diff(gain))) < 0.005  # 0.5 falls to and back over 20 ms: no jump
    assert np.array_equal(result[:, 0], result[:, 1])


def test_modes_are_checked_by_name() -> None:
    assert [loudness.check_mode(mode) for mode in loudness.MODES] == ["auto", "lufs", "rms", "none"]
    with pytest.raises(InvalidOption, match="loudness mode 'loud'"):
        loudness.check_mode("loud")

"""Resampling a stream: what one call over the whole would give, and in its exact place however long it runs."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darius.audio.bars import frame_grid
from darius.audio.resample import resample
from darius.jam.resampling import StreamResampler

RATES = [8000, 11025, 16000, 22050, 32000, 44100, 48000, 88200, 96000, 192000]


def stretched(bpm: str) -> Fraction:
    """The model's rate for a 4-bar loop on the frame grid."""
    seconds = 16 * 60 / Fraction(bpm)
    return 48_000 * frame_grid(seconds, 4).ratio


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, (samples, 2)).astype(np.float32)


def pushed(resampler: StreamResampler, samples: np.ndarray, block: int) -> np.ndarray:
    return np.concatenate([resampler.push(samples[i : i + block]) for i in range(0, len(samples), block)])


@pytest.mark.parametrize("source", [48_000, stretched("93.4"), stretched("127.77")])
@pytest.mark.parametrize("target", [8000, 44_100, 48_000, 96_000])
def test_a_stream_gives_what_one_call_over_the_whole_gives(source: Fraction, target: int) -> None:
    sound = noise(60_000)
    streamed = pushed(StreamResampler(source, target), sound, 1920)
    whole = resample(sound, source, target)
    assert np.abs(streamed - whole[: len(streamed)]).max() < 1e-4


@pytest.mark.parametrize("renew_after", [10_000, 2**20])
def test_beginning_anew_is_not_heard(renew_after: int) -> None:
    """Band-limited to 0.9 of the lower Nyquist frequency: right at it, the filter's own edge is what is compared."""
    source, target = stretched("93.4"), 44_100
    sound = resample(noise(40_000), 37_000, 48_000)
    sound = np.tile(sound, (6, 1))
    streamed = pushed(StreamResampler(source, target, renew_after=renew_after), sound, 4800)
    whole = resample(sound, source, target)
    assert np.abs(streamed - whole[: len(streamed)]).max() < 1e-4


def test_the_origin_is_output_zero_and_what_is_before_it_leads_in() -> None:
    source, target, origin = stretched("93.4"), 44_100, 1920
    time = (np.arange(96_000) - origin) / float(source)
    sound = np.sin(2 * np.pi * 3000 * time)[:, None].astype(np.float32).repeat(2, axis=1)
    heard = pushed(StreamResampler(source, target, origin=origin), sound, 9600)
    wanted = np.sin(2 * np.pi * 3000 * np.arange(len(heard)) / target)
    # From the very first output: the past is known. (The sine itself begins at the stream's start, some way before.)
    assert np.abs(heard[400:, 0] - wanted[400:]).max() < 1e-4


@given(
    bpm=st.decimals(60, 200, places=3).map(str),
    target=st.sampled_from(RATES),
    frames=st.integers(1, 60),
)
@settings(max_examples=15, deadline=None)
def test_the_lookahead_is_enough_for_every_output_it_promises(bpm: str, target: int, frames: int) -> None:
    resampler = StreamResampler(stretched(bpm), target, origin=1920, channels=1)
    silence = np.zeros((frames * 1920, 1), np.float32)
    for _ in range(max(1, 120 // frames)):
        resampler.push(silence)
        promised = int((resampler.taken - resampler.lookahead - resampler.origin) * resampler.ratio)
        assert resampler.produced >= promised


def test_a_tone_is_in_its_exact_place_after_ten_thousand_chunks() -> None:
    """1,200 s of a stream at low rates: 10,000 chunks of 0.12 s, the tone's phase checked at every one of them."""
    source, target = Fraction(800) * Fraction(1_000_003, 1_000_000), 735
    chunk, frequency = 96, 100.0
    resampler = StreamResampler(source, target, channels=1, renew_after=50_000)
    place, worst = 0, 0.0
    for k in range(10_000):
        time = np.arange(k * chunk, (k + 1) * chunk) / float(source)
        heard = resampler.push(np.sin(2 * np.pi * frequency * time)[:, None].astype(np.float32))[:, 0]
        wanted = np.sin(2 * np.pi * frequency * np.arange(place, place + len(heard)) / target)
        if place > 1000 and len(heard):
            worst = max(worst, float(np.abs(heard - wanted).max()))
        place += len(heard)
    assert place > 0.999 * 10_000 * chunk * float(resampler.ratio)
    assert worst < 1e-4  # 0.1 ms of the tone would be 0.06


def test_equal_rates_pass_the_samples_through() -> None:
    sound = noise(1000)
    resampler = StreamResampler(48_000, 48_000, origin=100)
    assert np.array_equal(pushed(resampler, sound, 64), sound[100:])


def test_hardly_different_rates_are_told_apart() -> None:
    """A ratio so close to 1 that no input falls on an output for minutes; the stream then simply goes on."""
    source = Fraction(48_000) * (1 + Fraction(1, 10**7))
    resampler = StreamResampler(source, 48_000, channels=1, renew_after=5000)
    time = np.arange(200_000) / float(source)
    heard = pushed(resampler, np.sin(2 * np.pi * 5000 * time)[:, None].astype(np.float32), 8000)[:, 0]
    wanted = np.sin(2 * np.pi * 5000 * np.arange(len(heard)) / 48_000)
    assert np.abs(heard - wanted)[2000:].max() < 1e-4

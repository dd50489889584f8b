"""Onsets: where they are, how they repeat, and on which grid they gather."""

from __future__ import annotations

import numpy as np
import pytest

from darius.audio import files, onsets
from darius.audio.bars import BarGrid
from darius.audio.rhythm import Rhythm, tempo_fit

from .sounds import EXAMPLES, LOOPS, clicks, noise, sine


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000])
def test_onsets_are_where_the_clicks_are(rate: int) -> None:
    loop = clicks(120, 2, rate=rate)
    envelope, envelope_rate = onsets.onset_strength(loop.samples, rate)
    beats = BarGrid(bpm=120, beats_per_bar=1, rate=rate).lines(8)[1:-1]
    for beat in beats:
        place = round(beat / rate * envelope_rate)
        near = envelope[place - 10 : place + 11]
        assert abs(int(near.argmax()) - 10) <= 4  # within the window, 12 ms
        assert near.max() > 0.3 * envelope.max()


def test_level_does_not_matter() -> None:
    loop = clicks(97, 2)
    loud, _ = onsets.onset_strength(loop.samples, loop.rate)
    soft, _ = onsets.onset_strength(0.001 * loop.samples, loop.rate)
    assert np.allclose(loud, soft, rtol=1e-3, atol=1e-3 * loud.max())


def test_out_of_phase_stereo_does_not_cancel() -> None:
    loop = clicks(97, 1)
    wide = np.concatenate([loop.samples, -loop.samples], axis=1)
    assert np.allclose(
        onsets.onset_strength(wide, 44_100)[0], onsets.onset_strength(loop.samples, 44_100)[0], rtol=1e-4
    )


def test_a_steady_tone_has_no_onsets() -> None:
    envelope, rate = onsets.onset_strength(sine(2.0).samples, 44_100, wrap=True)
    assert envelope.sum() == 0.0
    assert onsets.grid_concentration(envelope, rate, 0.125) == 0.0
    assert not onsets.autocorrelation(envelope).any()


def test_concentration_is_one_on_the_grid_and_none_off_it() -> None:
    envelope = np.zeros(1600)
    envelope[5::100] = 1.0
    on, half, double, off = onsets.grid_concentration(envelope, 100.0, [1.0, 0.5, 2.0, 1.6])
    assert (on, half) == (pytest.approx(1.0), pytest.approx(1.0))
    assert (double, off) == (pytest.approx(0.0, abs=1e-9), pytest.approx(0.0, abs=1e-9))


@pytest.mark.parametrize("circular", [False, True])
def test_autocorrelation_is_one_after_a_period(circular: bool) -> None:
    envelope = np.tile([3.0, 0, 1, 0, 0], 40)
    found = onsets.autocorrelation(envelope, max_lag=20, circular=circular)
    assert found.shape == (21,)
    assert found[[0, 5, 10]] == pytest.approx([1.0, 1.0, 1.0], abs=0.01)
    assert found[1] < 0


@pytest.mark.parametrize("bpm", [66, 97, 128, 174])
def test_the_tempo_is_among_the_peaks_within_half_a_percent(bpm: int) -> None:
    loop = clicks(bpm, 4)
    peaks = onsets.tempo_peaks(*onsets.onset_strength(loop.samples, loop.rate))
    assert min(abs(peak.bpm / bpm - 1) for peak in peaks) < 0.005
    assert list(peaks) == sorted(peaks, key=lambda peak: -peak.strength)


@pytest.mark.parametrize(
    ("name", "bpm", "concentration"),
    [
        ("arovane_beat_c", 129.97, 0.45),
        ("loop_compus", 148.0, 0.49),
        ("loop_garzul", 120.0, 0.19),
        ("loop_mika", 120.0, 0.29),
        ("loop_electric", 97.0, 0.30),
        ("loop_tabla", 89.94, 0.65),
    ],
)
def test_the_loops_gather_on_their_sixteenths_as_published(name: str, bpm: float, concentration: float) -> None:
    folder = EXAMPLES if (EXAMPLES / f"{name}.flac").exists() else LOOPS
    loop = files.load(folder / f"{name}.flac")
    envelope, rate = onsets.onset_strength(loop.samples, loop.rate)
    assert float(onsets.grid_concentration(envelope, rate, 15 / bpm)) == pytest.approx(concentration, abs=0.04)


def test_the_fast_table_of_concentrations_agrees_with_the_definition() -> None:
    rhythm = Rhythm.of(clicks(100, 4), circular=False)
    steps = np.linspace(0.08, 0.3, 40)
    slow = onsets.grid_concentration(rhythm.envelope, rhythm.rate, steps)
    assert np.abs(rhythm.concentration(1 / steps) - slow).max() < 0.02


def test_noise_fits_no_tempo() -> None:
    rhythm = Rhythm.of(noise(6.0), circular=True)
    assert max(tempo_fit(rhythm, bpm) for bpm in range(60, 200, 5)) < 0.08

"""What a musician gets: every real loop continued by eight bars, with the defaults.

None of these loops was ever trained on.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest
from known_loops import LOOPS, TEMPI

from darius.audio import files
from darius.audio.loudness import measure
from recipes.tiny.musical import tempo_error

if TYPE_CHECKING:
    from darius.continuation import Continuation
    from darius.model import Model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def continued(tiny: Model) -> dict[str, Continuation]:
    return {name: tiny.continue_loop(path, bars=8, seed=1) for name, path in sorted(LOOPS.items())}


def test_every_loop_gets_exactly_its_bars(continued: dict[str, Continuation]) -> None:
    for name, result in continued.items():
        waveform = result.waveforms[0]
        assert waveform.rate == 44100
        assert len(waveform) == round(Fraction(8 * 4 * 60 * 44100) / Fraction(str(TEMPI[name]))), name


def test_nothing_clips_and_nothing_is_silent_for_a_bar(continued: dict[str, Continuation]) -> None:
    for name, result in continued.items():
        samples = result.waveforms[0].samples
        assert np.isfinite(samples).all() and np.abs(samples).max() < 1.0, name
        bars = np.array_split(samples, 8)
        loudest = max(np.sqrt(np.mean(bar**2)) for bar in bars)
        assert min(np.sqrt(np.mean(bar**2)) for bar in bars) > loudest / 100, name


def test_the_level_is_within_three_decibels_of_the_loops(continued: dict[str, Continuation]) -> None:
    for name, result in continued.items():
        made, given = measure(result.waveforms[0]), measure(files.load(LOOPS[name]))
        assert abs(made.lufs - given.lufs) < 3, name


def test_most_loops_go_on_in_their_tempo(continued: dict[str, Continuation]) -> None:
    errors = {name: tempo_error(result.waveforms[0], TEMPI[name]) for name, result in continued.items()}
    assert sum(error < 0.01 for error in errors.values()) >= 4, errors


def test_a_continuation_is_no_copy_of_the_loop(continued: dict[str, Continuation]) -> None:
    for name, result in continued.items():
        codes = result.codes[0][:, :4]
        frames = len(codes) // 2
        repeats = max(np.mean(codes[lag:] == codes[:-lag]) for lag in range(8, frames))
        assert repeats < 0.98, name

"""The watch stops a run that went wrong, with advice, and no other."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from darius.audio.waveform import Waveform
from darius.errors import TrainingStopped
from finetune.samples import silent_share
from finetune.watch import WINDOW, Watch

GOOD = Path("run/checkpoint_5")


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (2.0, math.nan)])
def test_what_is_no_number_stops_it(loss: float, norm: float) -> None:
    with pytest.raises(TrainingStopped, match="no longer a number") as stopped:
        Watch().step(8, loss, norm, 3e-4, GOOD)
    assert "checkpoint_5" in stopped.value.hint and "--learning-rate 1.0e-04" in stopped.value.hint


def test_a_model_that_learns_nothing_any_more_is_dead_but_a_norm_that_is_not_told_says_nothing() -> None:
    Watch().step(8, 6.93, None, 1e4, GOOD)
    with pytest.raises(TrainingStopped, match="the model is dead"):
        Watch().step(8, 6.93, 0.0, 1e4, GOOD)


def test_before_the_first_checkpoint_it_says_so() -> None:
    with pytest.raises(TrainingStopped) as stopped:
        Watch().step(1, math.nan, 1.0, 3e-4, None)
    assert "Nothing was saved yet" in stopped.value.hint


def test_a_loss_that_climbs_stops_it_but_single_bad_batches_do_not() -> None:
    watch = Watch()
    for step in range(100):
        watch.step(step, 8.0 if step % 10 == 0 else 4.0, 1.0, 1e-3, GOOD)
    with pytest.raises(TrainingStopped, match=r"climbed from 4\.40"):
        for step in range(100, 100 + WINDOW):
            watch.step(step, 9.0, 1.0, 1e-3, GOOD)


def test_silence_twice_in_a_row_stops_it_unless_the_music_is_silent_too() -> None:
    watch = Watch()
    watch.sample(1, 0.95, 0.1, 1e-3, GOOD)
    watch.sample(2, 0.2, 0.1, 1e-3, GOOD)
    watch.sample(3, 1.0, 0.9, 1e-3, GOOD)
    watch.sample(4, 0.95, 0.1, 1e-3, GOOD)
    with pytest.raises(TrainingStopped, match="plays silence"):
        watch.sample(5, 0.95, 0.1, 1e-3, GOOD)


def test_silence_is_counted_in_frames() -> None:
    sound = np.zeros((48_000, 2), np.float32)
    sound[12_000:24_000] = 0.01
    assert silent_share(Waveform(sound, 48_000)) == pytest.approx(0.72, abs=0.05)
    assert silent_share(Waveform(np.zeros((0, 2), np.float32), 48_000)) == 1.0

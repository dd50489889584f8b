"""Sees when training goes wrong: not a number, a loss that climbs, music that falls silent. Knows numbers only."""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from pathlib import Path

from darius.errors import TrainingStopped

WINDOW = 20
"""Steps that are averaged before they are compared: single batches differ much."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """When to stop.

    Attributes:
      climb: the loss, averaged, has risen by this factor over its best.
      silent: share of a sample without sound, where the music it continues had sound in most of it.
      silent_samples: so many samples in a row.
    """

    climb: float = 1.5
    silent: float = 0.9
    silent_samples: int = 2


class Watch:
    """Looks at each reading and raises TrainingStopped when it is no use to go on.

    Args:
      rate: the learning rate now, for the advice.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._recent: deque[float] = deque(maxlen=WINDOW)
        self._best = math.inf
        self._silent = 0

    def step(self, step: int, loss: float, gradient_norm: float | None, rate: float, good: Path | None) -> None:
        """A training step. `good` is the newest checkpoint; no gradient norm is one that the trainer does not tell.

        Raises:
          TrainingStopped: not a number, no gradient any more, or the loss has climbed.
        """
        if not (math.isfinite(loss) and math.isfinite(gradient_norm or 0.0)):
            raise TrainingStopped(f"At step {step} the loss is no longer a number.", _advice(good, rate))
        if gradient_norm == 0.0:  # to the last bit: every logit is the same whatever the model hears
            raise TrainingStopped(
                f"At step {step} nothing is left to learn from: the model is dead.", _advice(good, rate)
            )
        self._recent.append(loss)
        if len(self._recent) < WINDOW:
            return
        mean = sum(self._recent) / WINDOW
        self._best = min(self._best, mean)
        if mean > self._best * self._limits.climb:
            raise TrainingStopped(
                f"At step {step} the loss has climbed from {self._best:.2f} to {mean:.2f}: the model is falling apart.",
                _advice(good, rate),
            )

    def sample(self, step: int, silent: float, reference: float, rate: float, good: Path | None) -> None:
        """The share of silence in what the model played, and in the music that it should have played.

        Raises:
          TrainingStopped: it plays nothing any more.
        """
        collapsed = silent >= self._limits.silent and reference < 0.5
        self._silent = self._silent + 1 if collapsed else 0
        if self._silent >= self._limits.silent_samples:
            raise TrainingStopped(
                f"At step {step} the model plays silence ({silent:.0%} of its last sample).",
                f"{_advice(good, rate)} Silence in the audio teaches silence: see prepare-data --filter-quiet.",
            )


def _advice(good: Path | None, rate: float) -> str:
    lower = f"try --learning-rate {rate / 3:.1e} in a new --experiment-name"
    if good is None:
        return f"Nothing was saved yet; {lower}."
    return f"The last good checkpoint is {good}; to train on, {lower}, with --model {good}."

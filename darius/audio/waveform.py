"""A waveform: samples and their rate, as one value."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
"""Audio samples, float32 [n, channels], full scale at -1 and 1."""


@dataclasses.dataclass(frozen=True, eq=False)
class Waveform:
    """Samples float32 [n, channels] at `rate` Hz. A 1-d array is taken as one channel."""

    samples: Samples
    rate: int

    def __post_init__(self) -> None:
        samples = np.asarray(self.samples, np.float32)
        if samples.ndim == 1:
            samples = samples[:, None]
        if samples.ndim != 2 or samples.shape[1] < 1:
            raise ValueError(f"samples must be [n, channels], not {list(samples.shape)}")
        if self.rate <= 0:
            raise ValueError(f"rate must be positive, not {self.rate}")
        object.__setattr__(self, "samples", samples)

    def __len__(self) -> int:
        return int(self.samples.shape[0])

    @property
    def channels(self) -> int:
        return int(self.samples.shape[1])

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self) / self.rate

    @property
    def peak(self) -> float:
        """The largest absolute sample, 0 for no samples."""
        return float(np.max(np.abs(self.samples), initial=0.0))

    def mono(self) -> Waveform:
        """One channel: the mean of all."""
        if self.channels == 1:
            return self
        return Waveform(self.samples.mean(axis=1, keepdims=True), self.rate)

    def stereo(self) -> Waveform:
        """Two channels: as they are, one doubled, or the mean of more than two in both."""
        if self.channels == 2:
            return self
        return Waveform(np.repeat(self.mono().samples, 2, axis=1), self.rate)

    def cut(self, start: int, stop: int) -> Waveform:
        """Samples `start` to `stop` (exclusive)."""
        return Waveform(self.samples[start:stop], self.rate)

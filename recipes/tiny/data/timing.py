"""Tempo and the grid of sixteenth steps: loops of whole bars, mostly of whole codec frames.

Knows bars, steps and samples; knows no sound.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from recipes.tiny.data.synth import RATE

FRAME = 1920
"""Samples of one codec frame (25 frames a second at 48 kHz)."""

STEPS = 16
"""Steps of one 4/4 bar."""

_BAR_CHOICES, _BAR_CHANCES = (1, 2, 4), (0.3, 0.4, 0.3)
_SNAPPED = 0.85


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid:
    """A loop of `bars` 4/4 bars; `swing` delays every second step, in steps."""

    bpm: float
    bars: int
    length: int  # samples
    swing: float

    @property
    def step_seconds(self) -> float:
        return self.length / RATE / (self.bars * STEPS)

    @property
    def frames(self) -> float:
        """Codec frames of the loop; whole if the tempo was snapped."""
        return self.length / FRAME

    def position(self, bar: int, step: float) -> float:
        """Sample at which a step starts."""
        late = self.swing if int(step) % 2 else 0.0
        return (bar * STEPS + step + late) * self.length / (self.bars * STEPS)


def grid_in_step(grid: Grid, bpm_range: tuple[int, int], swing: float) -> Grid:
    """A grid for another groove in time with `grid`: its tempo, or half or twice it where that suits the range better.

    Whole frames stay whole: the loop is as long, half or twice as long.
    """
    middle = np.sqrt(bpm_range[0] * bpm_range[1])
    factor = min((1.0, 0.5, 2.0), key=lambda f: abs(np.log(grid.bpm * f / middle)))
    bars = round(grid.bars * factor) if grid.bars * factor in _BAR_CHOICES else grid.bars
    length = round(bars / grid.bars / factor * grid.length)
    return Grid(bpm=grid.bpm * factor, bars=bars, length=length, swing=swing)


def draw_grid(rng: np.random.Generator, bpm_range: tuple[int, int], swing: float, *, bars: int | None = None) -> Grid:
    """A random loop geometry. In 85 % the loop is a whole number of codec frames: bpm = bars * 6000 / frames."""
    bars = bars or int(rng.choice(_BAR_CHOICES, p=_BAR_CHANCES))
    bpm = round(float(rng.uniform(*bpm_range)), int(rng.random() < 0.2))
    if rng.random() < _SNAPPED:
        frames = round(bars * 6000 / bpm)
        bpm = bars * 6000 / frames
    length = round(bars * 240 / bpm * RATE)
    return Grid(bpm=bpm, bars=bars, length=length, swing=swing * float(rng.uniform(0.5, 1.2)))

"""A style that gives way to another over a stretch of music. A value; knows no model."""

from __future__ import annotations

import dataclasses

import numpy as np

from darius.style.interface import Embedding


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Glide:
    """From one embedding float32 [dim] to another, in a straight line; None is the neutral style, which has no place
    on a line, so it comes and goes at once.

    Attributes:
      begun: frame of the music at which it begins.
      frames: how long it takes; 0 for at once.
    """

    source: Embedding | None
    target: Embedding | None
    begun: int = 0
    frames: float = 0.0

    def at(self, frame: int) -> Embedding | None:
        """The style at this frame."""
        if self.source is None or self.target is None or frame >= self.begun + self.frames:
            return self.target
        part = max(frame - self.begun, 0) / self.frames
        return np.asarray((1 - part) * self.source + part * self.target, np.float32)

    def to(self, target: Embedding | None, *, now: int, frames: float) -> Glide:
        """On to another style, from wherever the music is."""
        return Glide(source=self.at(now), target=target, begun=now, frames=frames)

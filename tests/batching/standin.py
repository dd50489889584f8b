"""A stand-in engine, for scheduling arithmetic only: it makes numbers, not music, and takes as long as it is told.

The real engine is in test_with_engines.py; what a stand-in adds is that its speed is known and that it can be held.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np

from darius.depthformer.sampling import Controls
from darius.tokens import TokenLayout
from darius.v1 import ChunkPlayer

LAYOUT = TokenLayout(codebook_size=8, codec_levels=2, context_levels=1, context_frames=4, chunk_frames=2, frame_rate=1)
"""A chunk is 2 frames of a second each, as long as a chunk of the real models."""
WAIT = 300.0
"""Seconds after which a test gives up; only a defect waits so long."""
BROKEN = 666
"""The seed of a stream that the engine cannot play."""


class Clock:
    """Time that passes only when somebody works."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class StandIn(ChunkPlayer):
    """An `Engine` by shape. `calls` holds the seeds of each device call, in order.

    Args:
      clock, seconds: advances the clock by `seconds(rows)` for each call.
    """

    def __init__(self, clock: Clock | None = None, seconds: Callable[[int], float] = lambda rows: 0.0) -> None:
        self.layout, self.decoder, self.codec = LAYOUT, self, self
        self.prefix_frames = 0
        self.clock, self.seconds = clock, seconds
        self.calls: list[list[int]] = []
        self.history_frames, self.lookahead_frames = 1, 0
        self.begun, self.gate = threading.Event(), threading.Event()
        self.gate.set()

    def hold(self) -> None:
        """Lets the next call begin but not end, until `gate` is set."""
        self.begun.clear()
        self.gate.clear()

    def decode_chunk(self, rows: np.ndarray, controls: Controls, *, frames: int, prefix: None) -> np.ndarray:
        seeds = np.asarray(controls.seed).tolist()
        self.calls.append(seeds)
        self.begun.set()
        assert self.gate.wait(WAIT)
        if self.clock is not None:
            self.clock.now += self.seconds(len(seeds))
        if BROKEN in seeds:
            raise ValueError("a stream that cannot be played")
        codes = np.add.outer(np.asarray(seeds) + np.asarray(controls.chunk), np.zeros((frames, LAYOUT.codec_levels)))
        return codes.astype(np.int32) % LAYOUT.codebook_size

    def start(self, batch: int) -> jnp.ndarray:
        return jnp.zeros((batch, 1))

    def step(self, state: jnp.ndarray, codes: np.ndarray) -> tuple[np.ndarray, jnp.ndarray]:
        samples = np.repeat(np.asarray(codes, np.float32)[..., :1], 2, axis=2)
        return samples, state + codes.shape[1]


def seeds_of(calls: Sequence[Sequence[int]]) -> list[int]:
    """The first seed of each call."""
    return [call[0] for call in calls]

"""Compiling what jams may come to need, beside the conductor. Knows models and batch sizes; knows no jam, no request.

A program takes an accelerator's compiler up to half a minute, part of it in Python, which does one thing at a time. So
the first stream's programs come first and alone, then those of batches, a few at a time, and last what is rarer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from darius import session
from darius.errors import OutOfMemory

if TYPE_CHECKING:
    from darius.model import Model

log = logging.getLogger("darius.serve")

AT_ONCE = 3


class Compiling:
    """The programs of a model for some batch sizes.

    Args:
      sizes: ascending; on a CPU each is compiled when it is waited for, since most will not be wanted there.
    """

    def __init__(self, model: Model, sizes: Sequence[int]) -> None:
        self._model, self._sizes = model, sizes
        self._accelerated = model.device.platform != "cpu"
        self._batches: dict[int, Future[None]] = {}

    @property
    def lengths(self) -> tuple[int, ...]:
        """Shorter calls that are worth a batch: none on a CPU, where streams together take as long as one by one."""
        return self._model.call_frames[:-1] if self._accelerated else ()

    def begin(self) -> None:
        """Begins with the batches, once one stream can play; does not wait for them."""
        if self._accelerated and not self._batches:
            pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="darius-compile")
            self._batches = {size: pool.submit(self._play, size) for size in self._sizes if size > 1}
            pool.shutdown(wait=False)

    def wait(self, size: int) -> None:
        """Until most streams can play in batches of this size.

        Raises:
          OutOfMemory: the batch is too large for the device.
        """
        if size not in self._batches:
            return self._play(size)
        try:
            self._batches[size].result()
        except OutOfMemory:
            self._play(size)  # alone this time, and compiled already

    def rest(self, sizes: Sequence[int]) -> None:
        """What streams of all settings may need in these sizes; takes long.

        Raises:
          OutOfMemory: as `wait`.
        """
        for size in sizes:
            self._play(size, guidance=0.0)
        if not self._accelerated:
            for size in sizes:
                for guidance in (5.0, 0.0):
                    self._play(size, guidance=guidance, top_k=0)
        for size in sizes:
            for frames in self.lengths:
                self._play(size, frames=frames)

    def _play(self, size: int, *, guidance: float = 5.0, top_k: int = 40, frames: int | None = None) -> None:
        began = time.monotonic()
        knobs = session.Knobs(guidance=guidance, top_k=top_k)
        stream = session.start(self._model, self._model.nothing(), 0, knobs)
        session.advance(self._model, session.gather([stream] * size), [knobs] * size, frames=frames)
        if self._accelerated:
            took = time.monotonic() - began
            log.info("compiled streams=%d guidance=%g frames=%s seconds=%.1f", size, guidance, frames or "all", took)

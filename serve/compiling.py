"""Compiling what jams may come to need, beside the conductor; many programs at once where there are cores for it.

A program takes an accelerator's compiler up to half a minute and keeps few cores busy; one after the other, a server
for 64 jams would be ready after minutes. Knows models and batch sizes; knows neither jams nor requests.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from darius import session
from darius.errors import OutOfMemory

if TYPE_CHECKING:
    from darius.model import Model

MOST_THREADS = 16
GUIDANCES = (5.0, 0.0)
"""Guided and unguided streams have programs of their own."""
TOP_KS = (40, 0)
"""So have, on a CPU, few and all codes to choose among."""


class Compiling:
    """The programs of a model for some batch sizes.

    Args:
      sizes: ascending; on a CPU each is compiled when it is waited for, since most will not be wanted there.
    """

    def __init__(self, model: Model, sizes: Sequence[int]) -> None:
        self._model = model
        self._accelerated = model.device.platform != "cpu"
        self._guided: dict[int, Future[None]] = {}
        self._others: list[Future[None]] = []
        if self._accelerated:
            threads = max(1, min(MOST_THREADS, (os.cpu_count() or 1) // 2))
            pool = ThreadPoolExecutor(threads, thread_name_prefix="darius-compile")
            self._guided = {size: pool.submit(self._lengths, size) for size in sizes}
            self._others = [pool.submit(self._play, size, guidance=0.0) for size in sizes]
            pool.shutdown(wait=False)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Shorter calls that are worth a batch: none on a CPU, where streams together take as long as one by one."""
        return self._model.call_frames[:-1] if self._accelerated else ()

    def wait(self, size: int) -> None:
        """Until most streams can play in batches of this size.

        Raises:
          OutOfMemory: the batch is too large for the device.
        """
        if size not in self._guided:
            return self._play(size)
        try:
            self._guided[size].result()
        except OutOfMemory:
            self._play(size)  # alone, and compiled already

    def wait_for_rest(self, sizes: Sequence[int]) -> None:
        """Until streams of all settings can, in these sizes.

        Raises:
          OutOfMemory: as `wait`.
        """
        if self._accelerated:
            for other in self._others:
                other.exception()  # too large a size shows in `wait`
            return
        for size in sizes:
            for guidance in GUIDANCES:
                for top_k in TOP_KS:
                    self._play(size, guidance=guidance, top_k=top_k)

    def _lengths(self, size: int) -> None:
        for frames in self._model.call_frames[::-1]:
            self._play(size, frames=frames)

    def _play(self, size: int, *, guidance: float = 5.0, top_k: int = 40, frames: int | None = None) -> None:
        knobs = session.Knobs(guidance=guidance, top_k=top_k)
        stream = session.start(self._model, self._model.nothing(), 0, knobs)
        session.advance(self._model, session.gather([stream] * size), [knobs] * size, frames=frames)

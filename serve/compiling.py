"""Compiling what jams may come to need, beside the conductor. Knows models and batch sizes; knows no jam, no request.

A program takes an accelerator's compiler up to half a minute, part of it in Python, which does one thing at a time. So
the first stream's programs come first and alone, then those of batches, a few at a time, and last what is rarer.
"""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from darius import session, warming
from darius.devices import memory_errors
from darius.errors import OutOfMemory

if TYPE_CHECKING:
    from darius.batching import Conductor
    from darius.model import Model

T = TypeVar("T")
log = logging.getLogger("darius.serve")

AT_ONCE = 2
QUIET_SECONDS = 2.5


class Compiling:
    """The programs of a model for some batch sizes.

    Args:
      sizes: ascending; on a CPU each is compiled when it is waited for, since most will not be wanted there, and only
        while nobody plays, whose cores it would take.
      conductor: whose thread alone executes on an accelerator.
    """

    def __init__(self, model: Model, sizes: Sequence[int], conductor: Conductor) -> None:
        self._model, self._sizes, self._conductor = model, sizes, conductor
        self._accelerated = model.device.platform != "cpu"
        self._batches: dict[int, Future[None]] = {}

    @property
    def lengths(self) -> tuple[int, ...]:
        """Shorter calls that are worth a batch: none on a CPU, where streams together take as long as one by one."""
        return self._model.call_frames[:-1] if self._accelerated else ()

    def on_device(self, work: Callable[[], T]) -> T:
        """Executes where that may be done: on an accelerator in the conductor's thread, on a CPU in this one."""
        return self._conductor.run(work, deadline=math.inf).result() if self._accelerated else work()

    def begin(self) -> None:
        """Begins with the batches, once one stream can play; does not wait for them."""
        if self._accelerated and not self._batches:
            pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="darius-compile")
            self._batches = {size: pool.submit(self._compile, size) for size in self._sizes if size > 1}
            pool.shutdown(wait=False)

    def wait(self, size: int) -> bool:
        """Until most streams can play in batches of this size: compiled, but not yet played on an accelerator.

        Returns:
          Whether they can; not if another model plays by then.

        Raises:
          OutOfMemory: the batch is too large for the device.
        """
        if not self._accelerated and size > 1:
            return self._when_quiet(functools.partial(self._play, size))
        if not self._accelerated:
            self._play(size)
        elif size not in self._batches:
            self._compile(size, lengths=self._model.call_frames if size == 1 else ())
        else:
            try:
                self._batches[size].result()
            except OutOfMemory:
                self._compile(size)  # alone this time
        return True

    def rest(self, sizes: Sequence[int]) -> None:
        """What streams of all settings may need in these sizes; takes long, and waits for quiet.

        Raises:
          OutOfMemory: as `wait`.
        """
        if self._accelerated:
            calls = [functools.partial(self._compile, size, guidance=0.0) for size in sizes]
            calls += [functools.partial(self._compile, size, lengths=self.lengths) for size in sizes]
            return warming.side_by_side([functools.partial(self._when_quiet, call) for call in calls], at_once=AT_ONCE)
        for guidance, top_k in ((0.0, 40), (5.0, 0), (0.0, 0)):
            for size in sizes:
                self._when_quiet(functools.partial(self._play, size, guidance=guidance, top_k=top_k))

    def _when_quiet(self, call: Callable[[], None]) -> bool:
        """Makes a call once no chunk has been made for a while; not at all if another model plays by then.

        XLA tries kernels out on a device that it then has for itself: 64 jams waited half a minute for what no one
        had asked for. A CPU's cores it shares, and takes most of them.

        Returns:
          Whether it was made.
        """
        made = -1
        while self._conductor.engine is self._model:
            now = self._conductor.stats()
            if now.calls == made and not now.waiting and not now.running:
                call()
                return True
            made = now.calls
            time.sleep(QUIET_SECONDS)
        return False

    def _compile(self, size: int, *, guidance: float = 5.0, lengths: Sequence[int] = ()) -> None:
        """Executes nothing. A whole chunk's programs, or those of some lengths."""
        began, knobs = time.monotonic(), session.Knobs(guidance=guidance)
        lengths = lengths or (self._model.chunk_frames,)
        calls = [call for frames in lengths for call in self._model.programs(size, knobs, frames)]
        with memory_errors("compiling"):
            warming.side_by_side(calls, at_once=AT_ONCE if size == 1 else 1)
        took = time.monotonic() - began
        log.info("compiled streams=%d guidance=%g frames=%s seconds=%.1f", size, guidance, [*lengths], took)

    def _play(self, size: int, *, guidance: float = 5.0, top_k: int = 40) -> None:
        knobs = session.Knobs(guidance=guidance, top_k=top_k)
        stream = session.start(self._model, self._model.nothing(), 0, knobs)
        session.advance(self._model, session.gather([stream] * size), [knobs] * size)

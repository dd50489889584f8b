"""What the conductor's thread does with the device: calls for chunks, other work, measuring. Knows no queue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from darius import session
from darius.batching.programs import Programs
from darius.batching.requests import Advance, Attempt, Call, Request, Work
from darius.batching.rows import Rows, apart
from darius.batching.stats import Ledger
from darius.devices import memory_errors
from darius.errors import OutOfMemory
from darius.session import Knobs

if TYPE_CHECKING:
    from darius.engine import Engine


class Device:
    """Carries requests out and settles their futures; no error leaves it."""

    def __init__(self, programs: Programs, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._programs, self._ledger, self._clock = programs, ledger, clock
        self._rows = Rows()

    def work(self, work: Work) -> None:
        """Does other work."""
        with Attempt() as attempt, memory_errors("working for a request"):
            result = work.work()
        self._ledger.count(work=1)
        if attempt.error is None:
            work.future.set_result(result)
        else:
            self._fail(work, attempt.error)

    def play(self, calls: Sequence[Call], size: int) -> None:
        """Makes the next chunk of every call's stream, in a bucket of `size`."""
        with Attempt() as attempt, memory_errors("playing"):
            results = self._advance(calls, size)
        if attempt.error is None:
            now = self._clock()
            self._ledger.count(late=sum(call.dry < now for call in calls))
            self._ledger.answered(now - call.asked for call in calls)
            for call, result in zip(calls, results, strict=True):
                call.future.set_result(result)
        elif len(calls) == 1:
            self._fail(calls[0], attempt.error)
        else:
            if isinstance(attempt.error, OutOfMemory):
                self._programs.drop(calls[0].engine, calls[0].frames, size)
            # If one of them is to blame: each on its own, so that only that one fails.
            for call in calls:
                self.play([call], self._programs.sizes[0])

    def time(self, engine: Engine, frames: int, knobs: Sequence[Knobs], size: int) -> float:
        """Seconds of a call in a bucket of `size`, compiled before; the longest over the settings."""
        silent = session.start(engine, np.zeros((0, engine.levels), np.int32), 0)
        longest = 0.0
        for setting in knobs:
            for repeat in range(2):
                begun = self._clock()
                streams = self._rows.join([silent], size)
                _, _, after = session.advance(engine, streams, [setting] * size, frames=frames)
                self._rows.part(after, size)
                seconds = self._clock() - begun
                self._programs.ran(engine, frames, size, seconds)
                longest = max(longest, seconds if repeat else 0.0)
        return longest

    def _advance(self, calls: Sequence[Call], size: int) -> list[Advance]:
        engine, frames = calls[0].engine, calls[0].frames
        begun = self._clock()
        streams = self._rows.join([call.streams for call in calls], size)
        knobs = [call.knobs for call in calls]
        samples, codes, after = session.advance(
            engine, streams, knobs + [knobs[-1]] * (size - len(calls)), frames=frames
        )
        parted = self._rows.part(after, len(calls))
        seconds = self._clock() - begun
        self._programs.ran(engine, frames, size, seconds)
        self._ledger.called(len(calls), size, seconds)
        each = zip(apart(samples, len(calls)), apart(codes, len(calls)), parted, strict=True)
        return [Advance(*parts) for parts in each]

    def _fail(self, request: Request, error: BaseException) -> None:
        self._ledger.count(failed=1)
        future: Any = request.future
        future.set_exception(error)

"""The conductor: one thread that owns the device, and the queue of all who want it. Knows no HTTP and no bars.

Requests come from any thread and get a `concurrent.futures.Future`; the device thread takes the most urgent one,
gathers what can go with it, and makes one call. Nothing else may touch the device while a conductor works.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar, cast

from darius.batching import order
from darius.batching.device import Device
from darius.batching.programs import Programs
from darius.batching.requests import Advance, Call, Request, Work
from darius.batching.stats import Capacity, Ledger, Stats, capacity
from darius.errors import Busy, InvalidOption, OutOfMemory
from darius.session import Knobs, Streams

if TYPE_CHECKING:
    from darius.engine import Engine

T = TypeVar("T")

BUCKETS = (1, 2, 4, 8, 16)
WORK_SECONDS = 0.5
"""Within this time other work is wanted, unless its caller says otherwise."""
PATIENCE = 0.05
"""Seconds that the device waits for who asks again at once: a large call that began before would hold up first sound
for much longer."""


class Conductor:
    """Advances many streams on one device, earliest deadline first.

    Args:
      engine: what plays unless a call names another; may be given later.
      buckets: batch sizes that calls are padded to. Only those that have run once (`warm`) are used, and the smallest.
      frames: of a call unless it says otherwise; None for a whole chunk.
      clock: seconds; deadlines are times of this clock.
    """

    def __init__(
        self,
        engine: Engine | None = None,
        *,
        buckets: Sequence[int] = BUCKETS,
        frames: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not buckets or min(buckets) < 1:
            raise InvalidOption(f"Bucket sizes cannot be {list(buckets)}.", "Give sizes from 1 up, for example 1, 4.")
        self.engine = engine
        self._frames, self._clock = frames, clock
        self._programs = Programs(buckets)
        self._turns, self._share = order.Turns(), order.Share()
        self._waiting: list[Request] = []
        self._running: list[Request] = []
        self._expected: set[Hashable] = set()
        self._patient_until = 0.0
        self._ledger = Ledger()
        self._device = Device(self._programs, self._ledger, clock)
        self._numbers = itertools.count()
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._serve, name="darius-device", daemon=True)
        self._thread.start()

    def sizes(self, most: int | None = None) -> list[int]:
        """The bucket sizes, ascending; no more than what carries `most` streams."""
        sizes = self._programs.sizes
        return [size for place, size in enumerate(sizes) if most is None or place == 0 or sizes[place - 1] < most]

    def advance(
        self,
        streams: Streams,
        knobs: Knobs,
        *,
        deadline: float = math.inf,
        dry: float | None = None,
        key: Hashable = None,
        frames: int | None = None,
        engine: Engine | None = None,
        then: Hashable = None,
    ) -> Future[Advance]:
        """Asks for the next chunk of one stream.

        Args:
          streams: one row.
          deadline: when it must be there, in seconds of the clock; infinite for who only waits.
          dry: when its player has nothing left to play: the deadline unless said otherwise, infinite if nothing plays.
          key: whose turn it is among requests of equal deadline.
          frames: at most a chunk.
          engine: instead of the conductor's own.
          then: the key of a request that will come as soon as this is there, and that is waited for a moment.

        Returns:
          A future; cancelling it drops the request if it has not begun. An error in one stream's row is that
          stream's alone.

        Raises:
          Busy: the conductor is closing.
          InvalidOption: no engine, or more than one row.
        """
        engine = engine or self.engine
        if engine is None:
            raise InvalidOption("There is no model yet that could play.", "Wait until one is loaded.")
        if len(streams) != 1:
            raise InvalidOption(f"A call advances one stream, not {len(streams)}.", "Take them apart first.")
        future: Future[Advance] = Future()
        self._add(
            Call(
                engine=engine,
                streams=streams,
                knobs=knobs,
                frames=frames or self._frames or engine.chunk_frames,
                deadline=deadline,
                key=key,
                number=next(self._numbers),
                future=future,
                then=then,
                asked=self._clock(),
                dry=deadline if dry is None else dry,
            )
        )
        return future

    def run(
        self,
        work: Callable[[], T],
        *,
        deadline: float | None = None,
        dry: float = math.inf,
        then: Hashable = None,
    ) -> Future[T]:
        """Runs other work for the device (encoding, embedding) on its thread, between chunks.

        It holds up everyone for as long as it takes, and must not wait for this conductor's own futures.

        Args:
          deadline: when it should have begun; by default half a second from now.
          dry, then: as in `advance`; nothing plays unless said otherwise.

        Raises:
          Busy: the conductor is closing.
        """
        future: Future[T] = Future()
        now = self._clock()
        begin_by = now + WORK_SECONDS if deadline is None else deadline
        number = next(self._numbers)
        self._add(Work(work=work, deadline=begin_by, number=number, future=future, then=then, asked=now, dry=dry))
        return future

    def position(self, future: Future[Any]) -> int | None:
        """How many requests are served before this one; 0: it is next or running. None: it is over, or not ours."""
        with self._changed:
            if any(request.future is future for request in self._running):
                return 0
            waiting = order.in_order(self._waiting, self._turns, self._clock())
        return next((place for place, request in enumerate(waiting) if request.future is future), None)

    def warm(
        self,
        sizes: Sequence[int] | None = None,
        *,
        engine: Engine | None = None,
        frames: int | None = None,
        knobs: Sequence[Knobs] = (Knobs(),),
    ) -> Future[dict[int, float]]:
        """Compiles bucket sizes (all by default), between chunks, a size at a time; seconds a chunk by size.

        Args:
          knobs: settings to be ready for; those that need programs of their own are guidance 0 and large top-k.
        """
        engine = self._some(engine)
        frames = frames or self._frames or engine.chunk_frames
        wanted = self._programs.sizes if sizes is None else sizes
        time_one = functools.partial(self._device.time, engine, frames, knobs)
        steps = [self.run(functools.partial(time_one, size), deadline=math.inf) for size in wanted]
        return self.run(
            lambda: {size: step.result() for size, step in zip(wanted, steps, strict=True)}, deadline=math.inf
        )

    def measure_capacity(
        self,
        *,
        load: float = 0.8,
        engine: Engine | None = None,
        most: int | None = None,
        prepare: Callable[[int], bool] = lambda size: True,
    ) -> Capacity:
        """Times every bucket size, smallest first, up to the first that takes longer than its music lasts.

        Sizes that are too slow, or do not fit, are not used afterwards. Waits for the device, which
        plays chunks between the sizes.

        Args:
          load: part of the time that the device may work, 0 to 1.
          most: streams that are wanted at most; no sizes beyond what carries them are tried.
          prepare: called with each size first, in this thread: to compile here what would hold up the device there.
            False ends the measuring before this size.

        Raises:
          OutOfMemory: not even the smallest size fits.
        """
        engine = self._some(engine)
        frames = self._frames or engine.chunk_frames
        chunk = frames / engine.frame_rate
        seconds: dict[int, float] = {}
        for size in self.sizes(most):
            timing = functools.partial(self._device.time, engine, frames, (Knobs(),), size)
            try:
                if not prepare(size):
                    break
                seconds[size] = self.run(timing, deadline=math.inf).result()
            except OutOfMemory:
                if not seconds:
                    raise
                self._programs.drop(engine, frames, size)
                break
            if seconds[size] > load * chunk:
                self._programs.drop(engine, frames, size)
                break
        return capacity(seconds, chunk, load)

    def stats(self) -> Stats:
        """Counts since the start, and what waits now."""
        engine, seconds = self.engine, dict[int, float]()
        if engine is not None:
            seconds = self._programs.seconds(engine, self._frames or engine.chunk_frames)
        with self._changed:
            waiting, running = len(self._waiting), len(self._running)
        return dataclasses.replace(self._ledger.read(), waiting=waiting, running=running, chunk_seconds=seconds)

    def close(self, timeout: float = 10.0) -> bool:
        """Ends: what waits is cancelled, what runs is finished. True once the thread has ended, within `timeout` s."""
        with self._changed:
            self._closing = True
            waiting, self._waiting = self._waiting, []
            self._changed.notify_all()
        self._ledger.count(cancelled=sum(request.future.cancel() for request in waiting))
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _some(self, engine: Engine | None) -> Engine:
        engine = engine or self.engine
        if engine is None:
            raise InvalidOption("There is no model yet that could play.", "Wait until one is loaded.")
        return engine

    def _add(self, request: Request) -> None:
        with self._changed:
            if self._closing:
                raise Busy("Darius is shutting down.", "Try again in a moment.")
            self._turns.join(request.key)
            self._waiting.append(request)
            self._changed.notify()

    # From here on: the device's thread.

    def _serve(self) -> None:
        while (chosen := self._next()) is not None:
            requests, size = chosen
            if isinstance(requests[0], Work):
                self._device.work(requests[0])
            else:
                self._device.play(cast(list[Call], requests), size)
            with self._changed:
                self._running = []
                self._expected = {r.then for r in requests if r.then is not None and r.future.exception() is None}
                self._patient_until = time.monotonic() + PATIENCE

    def _next(self) -> tuple[list[Request], int] | None:
        """What goes to the device next, once there is something; None at the end."""
        with self._changed:
            while True:
                self._forget_cancelled()
                if self._closing:
                    return None
                if self._waiting and not (left := self._patience()):
                    break
                self._changed.wait(left if self._waiting else None)
            requests, size = self._choose()
            self._running = [r for r in requests if r.future.set_running_or_notify_cancel()]
            self._waiting = [r for r in self._waiting if r not in requests]
            return (self._running, size) if self._running else self._next()

    def _patience(self) -> float:
        """Seconds for which who was said to come at once is still waited for."""
        self._expected -= {request.key for request in self._waiting}
        return max(self._patient_until - time.monotonic(), 0.0) if self._expected else 0.0

    def _choose(self) -> tuple[list[Request], int]:
        now = self._clock()
        ordered = self._share.first(order.in_order(self._waiting, self._turns, now), now)
        first = ordered[0]
        sizes, seconds = [1], dict[int, float]()
        if isinstance(first, Call):
            sizes = self._programs.ready(first.engine, first.frames)
            seconds = self._programs.seconds(first.engine, first.frames)
        requests, size = order.batch(ordered, now, sizes, seconds)
        self._share.give(requests)
        for request in requests:
            self._turns.give(request.key)
        self._turns.keep({request.key for request in self._waiting})
        return requests, size

    def _forget_cancelled(self) -> None:
        alive = [request for request in self._waiting if not request.future.cancelled()]
        self._ledger.count(cancelled=len(self._waiting) - len(alive))
        self._waiting = alive

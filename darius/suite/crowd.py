"""Many streams in real time through the conductor, each with knobs and a seed of its own; and one that begins.

A stream asks for its next chunk when the last begins to play, as a jam does; its deadline is the end of that one.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TYPE_CHECKING, Any

import numpy as np

from darius import benchmark, session
from darius.batching import Conductor

if TYPE_CHECKING:
    from darius.engine import Engine

SOUNDS = 10
"""First sounds that are measured."""
GATHERING = 0.03
"""Seconds that streams which play in step have to ask together."""
SETTLING = 4
"""Chunks that are played before any count: a device's first calls look for memory."""
BESIDE = 16
"""Streams in a call, at most, beside which one begins: it has to wait for a call that is on its way."""
EVERY = 10.0
"""Seconds after which a crowd's numbers so far are told."""


class Crowd:
    """Streams that play as jams do, until they are told to stop.

    Args:
      conductor: has run the buckets that are used.
      streams: how many.
      together: they play in step and share every call, which takes all the time there is.
    """

    def __init__(self, engine: Engine, conductor: Conductor, streams: int, *, together: bool = False) -> None:
        self._engine, self._conductor, self._together = engine, conductor, together
        self._music = engine.chunk_frames / engine.frame_rate
        rng = np.random.default_rng(0)
        self._knobs = [own_knobs(rng, engine) for _ in range(streams)]
        self._asked: dict[Future[Any], tuple[int, float, float]] = {}
        self.took: list[float] = []
        self.late = 0

    def play(
        self, seconds: float, stop: threading.Event | None = None, so_far: Callable[[], object] = lambda: None
    ) -> None:
        """Plays in this thread; waits for what is asked for at the end.

        Args:
          so_far: called now and then.
        """
        start = told = time.monotonic()
        silence = session.start(self._engine, np.zeros((0, self._engine.levels), np.int32), 0)
        self._gather()
        for index in range(len(self._knobs)):
            self._ask(index, dataclasses.replace(silence, seed=np.array([index], np.uint32)), start + 2 * self._music)
        waiting: list[tuple[float, int, session.Streams, float]] = []
        while time.monotonic() - start < seconds and not (stop is not None and stop.is_set()):
            now = time.monotonic()
            if now - told > EVERY and self.took:
                told = now
                so_far()
            ready = [item for item in waiting if item[0] <= now]
            if ready and (not self._together or len(ready) == len(self._knobs)):
                self._gather()
                waiting = [item for item in waiting if item[0] > now]
                for item in ready:
                    self._ask(*item[1:])
            done, _ = wait(self._asked, timeout=0.01, return_when=FIRST_COMPLETED)
            for future in done:
                index, streams, due = self._note(future)
                now = time.monotonic()
                # The next is asked for when this one begins to play: at once, or when the one before it ends.
                waiting.append((max(now, due - self._music), index, streams, max(now, due) + self._music))
        while self._asked:
            done, _ = wait(self._asked, return_when=FIRST_COMPLETED)
            for future in done:
                self._note(future)

    def _gather(self) -> None:
        """So that none of them is taken before all have asked."""
        if self._together:
            self._conductor.run(lambda: time.sleep(GATHERING))

    def _note(self, future: Future[Any]) -> tuple[int, session.Streams, float]:
        index, at, due = self._asked.pop(future)
        streams, now = future.result().streams, time.monotonic()
        self.took.append(now - at)
        self.late += now > due
        return index, streams, due

    def _ask(self, index: int, state: session.Streams, due: float) -> None:
        future = self._conductor.advance(state, self._knobs[index], deadline=due, key=index)
        self._asked[future] = (index, time.monotonic(), due)


def own_knobs(rng: np.random.Generator, engine: Engine) -> session.Knobs:
    """Some stream's own settings."""
    return session.Knobs(
        style=rng.integers(0, engine.codebook_size, engine.style_levels, np.int32),
        guidance=float(rng.uniform(1, 6)),
        temperature=float(rng.uniform(0.8, 1.3)),
        top_k=int(rng.integers(10, 60)),
    )


def measure(
    engine: Engine,
    streams: int,
    bucket: int,
    seconds: float,
    tell: Callable[[dict[str, Any]], object],
    *,
    budget: float = math.inf,
) -> None:
    """So many streams in a bucket for some seconds: how long chunks took, asked to made, and how many were late.

    Args:
      tell: gets what is known so far now and then, and all of it at the end.
      budget: seconds for all, getting ready included; what is left of it is played if that is shorter.
    """
    conductor = Conductor(engine, buckets=(bucket,))
    began = time.monotonic()
    chunk_seconds = conductor.warm().result()[bucket]
    warmed = time.monotonic()
    tell({"streams": streams, "warm_seconds": warmed - began, "warm_chunk_seconds": chunk_seconds})
    begin = functools.partial(Crowd, engine, conductor, streams, together=streams == bucket)
    begin().play(SETTLING * engine.chunk_frames / engine.frame_rate)
    crowd, played = begin(), time.monotonic()

    def so_far() -> None:
        p50, p95, p99 = np.percentile(crowd.took, [50, 95, 99])
        stats = conductor.stats()
        tell(
            {
                "streams": streams,
                "bucket": bucket,
                "seconds": time.monotonic() - played,
                "chunks": len(crowd.took),
                "late": crowd.late,
                "p50": float(p50),
                "p95": float(p95),
                "p99": float(p99),
                "most": max(crowd.took),
                "calls": stats.calls,
                "call_mean_seconds": stats.seconds.total / max(stats.calls, 1),
                "peak_bytes": benchmark.peak_bytes(engine),
            }
        )

    crowd.play(min(seconds, max(budget - (played - began), 0.0)), so_far=so_far)
    so_far()
    conductor.close(0.1)


def first_sounds(engine: Engine, others: int, budget: float) -> Iterator[dict[str, Any]]:
    """From asking for a stream to its first samples, alone and while `others` play in real time."""
    short = engine.call_frames[0]
    buckets = tuple(sorted({1, min(others + 1, BESIDE)}))
    conductor = Conductor(engine, buckets=buckets)
    conductor.warm().result()
    conductor.warm(frames=short).result()
    yield {"others": 0, **_sounds(engine, conductor, short, 0.0)}
    if others:
        crowd, stop = Crowd(engine, conductor, others), threading.Event()
        thread = threading.Thread(target=crowd.play, args=(budget, stop))
        thread.start()
        time.sleep(2 * engine.chunk_frames / engine.frame_rate)
        yield {"others": others, "bucket": buckets[-1], **_sounds(engine, conductor, short, 0.37)}
        stop.set()
        thread.join()
    conductor.close(1.0)


def _sounds(engine: Engine, conductor: Conductor, frames: int, pause: float) -> dict[str, Any]:
    times = []
    for seed in range(SOUNDS + 1):
        time.sleep(pause)
        began = time.monotonic()
        begin = lambda seed=seed: session.start(engine, engine.nothing(), seed)  # noqa: E731
        stream = conductor.run(begin, deadline=began).result()
        conductor.advance(stream, session.Knobs(), deadline=began, key=("new", seed), frames=frames).result()
        times.append(time.monotonic() - began)
    del times[0]  # compiles what is not there yet
    p50, p95 = np.percentile(times, [50, 95])
    return {"frames": frames, "sounds": len(times), "p50": float(p50), "p95": float(p95), "most": max(times)}

"""Many jams that begin within seconds: the device cannot begin them all at once, but no jam that plays suffers.

A simulated clock, and the seconds that calls took: on an H100 with `large` (batches of 1, 4, 16 and 64), and on two CPU
cores with the light model of the server's tests (no batches).
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from batching.standin import StandIn
from darius.batching import order
from darius.batching.requests import Call, Request, Work
from darius.session import Knobs

WHOLE, SHORT = 50, 12
H100 = {WHOLE: {1: 0.12, 4: 0.2, 16: 0.3, 64: 0.65}, SHORT: {1: 0.06, 4: 0.09, 16: 0.12, 64: 0.22}}
TWO_CORES = {WHOLE: {1: 0.07}, SHORT: {1: 0.035}}
CHUNK, UNTIL = 2.0, 60.0
ENGINE: Any = StandIn()


class Jam:
    """Begins with work and a short call; from its first chunk's arrival on it plays one every 2 s, and may have the
    next as soon as it begins to play one."""

    def __init__(self, begun: float) -> None:
        self.begun, self.first, self.made = begun, 0.0, 0
        self.slack: list[tuple[float, float]] = []
        """When a chunk was there, and seconds from then to when it had to play."""

    @property
    def dry(self) -> float:
        return self.first + self.made * CHUNK if self.first else math.inf

    @property
    def wanted(self) -> float:
        return self.dry - CHUNK if self.first else self.begun + 0.5

    def take(self, now: float) -> float:
        """A whole chunk is there; when the next one is asked for."""
        self.first = self.first or now
        if self.made:
            self.slack.append((now, self.dry - now))
        self.made += 1
        return max(now, self.wanted) + 0.02


def played(count: int, ramp: float, work: float, seconds: dict[int, dict[int, float]]) -> list[Jam]:
    """The jams after a minute; to begin one takes the device `work` seconds."""
    jams, numbers = [Jam(n * ramp / count) for n in range(count)], itertools.count()
    to_come: list[tuple[float, int, Jam, int]] = [(jam.begun, next(numbers), jam, 0) for jam in jams]
    turns, share, waiting, now = order.Turns(), order.Share(), list[Request](), 0.0

    def arrivals() -> Iterator[Request]:
        while to_come and to_come[0][0] <= now:
            at, number, jam, frames = heapq.heappop(to_come)
            about: Any = {"deadline": jam.wanted, "dry": jam.dry, "number": number, "future": Future(), "asked": at}
            if not frames:
                yield Work(work=lambda jam=jam: jam, **about | {"deadline": jam.begun + 0.2})
                continue
            yield Call(engine=ENGINE, streams=jam, knobs=Knobs(), frames=frames, key=id(jam), **about)  # type: ignore[arg-type]

    while now < UNTIL:
        for request in arrivals():
            turns.join(request.key)
            waiting.append(request)
        if not waiting:
            now = to_come[0][0]
            continue
        ordered = share.first(order.in_order(waiting, turns, now), now)
        taken = seconds[ordered[0].frames] if isinstance(ordered[0], Call) else {1: work}
        chosen, size = order.batch(ordered, now, sorted(taken), taken)
        share.give(chosen)
        now += taken[size]
        for request in chosen:
            turns.give(request.key)
            waiting.remove(request)
            jam: Any = request.streams if isinstance(request, Call) else request.work()
            whole = isinstance(request, Call) and request.frames == WHOLE
            following = WHOLE if isinstance(request, Call) else SHORT
            heapq.heappush(to_come, (jam.take(now) if whole else now, next(numbers), jam, following))
    return jams


@pytest.mark.parametrize(
    ("count", "ramp", "work", "seconds"),
    [(64, 8.0, 0.1, H100), (64, 8.0, 0.15, H100), (64, 8.0, 0.25, H100), (16, 1.6, 0.25, TWO_CORES)],
)
def test_jams_that_play_come_through_a_rush_of_others(
    count: int, ramp: float, work: float, seconds: dict[int, dict[int, float]]
) -> None:
    jams = played(count, ramp, work, seconds)
    assert all(jam.made > 10 for jam in jams)
    late = [(at, slack) for jam in jams for at, slack in jam.slack if slack < 0]
    assert sum(len(jam.slack) for jam in jams) > 20 * count and late == []
    assert max(jam.first - jam.begun for jam in jams) < 2 * count * work  # twice what all beginnings take

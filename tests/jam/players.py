"""A simulated player against a `Delivery`, on a simulated clock. No audio: chunks are their own index."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
from collections.abc import Callable

from darius.jam.delivery import Delivery


@dataclasses.dataclass
class World:
    """Events in the order of time, and the server's side of one jam: a generator that takes a while for each chunk."""

    delivery: Delivery[int]
    generation: float
    network: float = 0.01
    now: float = 0.0

    def __post_init__(self) -> None:
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._waiting: list[Callable[[int], None]] = []
        self._making = False
        self.delivered: list[tuple[float, int]] = []

    def at(self, time: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._numbers), event))

    def run(self, until: float) -> None:
        self._work()
        while self._events and self._events[0][0] <= until:
            self.now, _, event = heapq.heappop(self._events)
            event()
            self._work()
        self.now = until

    # What a client calls.

    def next(self, answer: Callable[[int], None]) -> None:
        """GET /jam/next: `answer` is called with a chunk once one may go; first come, first served."""

        def arrive() -> None:
            self.delivery = self.delivery.touch(self.now)
            self._waiting.append(answer)

        self.at(self.now + self.network, arrive)

    def consume(self, index: int) -> None:
        """POST /jam/consume."""

        def arrive() -> None:
            self.delivery = self.delivery.consume(index, self.now)

        self.at(self.now + self.network, arrive)

    # The server.

    def _work(self) -> None:
        while self._waiting:
            chunk, self.delivery = self.delivery.take(self.now)
            if chunk is None:
                release = self.delivery.release_time()
                if release > self.now:
                    self.at(release, lambda: None)
                break
            self.delivered.append((self.now, chunk))
            answer = self._waiting.pop(0)
            self.at(self.now + self.network, lambda answer=answer, chunk=chunk: answer(chunk))
        if self.delivery.wants_more and not self._making:
            self._making = True
            self.at(self.now + self.generation, self._made)

    def _made(self) -> None:
        self._making = False
        self.delivery = self.delivery.offer(self.delivery.last_generated + 1)


class Player:
    """Plays chunks as loops of their own length, switching on its own bar lines; what it holds beyond is `slots`.

    With one slot a new chunk replaces the one that waits, as the iOS player does.

    Args:
      phase: seconds until its first bar line.
      consumes: tells the server what it plays.
      extra_nexts: asks again at once after the chunks 0 and 1, so that three calls are in flight.
    """

    def __init__(self, world: World, *, phase: float, consumes: bool, extra_nexts: bool = True, slots: int = 1) -> None:
        self.world, self.consumes, self.extra_nexts, self.slots = world, consumes, extra_nexts, slots
        self.pending: list[int] = []
        self.played: list[int] = []
        self.lost: list[int] = []
        self.received: list[int] = []
        self.repeats = 0
        self.stopped = False
        world.next(self._receive)
        world.at(world.now + phase, self._bar_line)

    def _receive(self, chunk: int) -> None:
        self.received.append(chunk)
        if len(self.pending) == self.slots:
            self.lost.append(self.pending.pop())
        self.pending.append(chunk)
        if self.extra_nexts and chunk in (0, 1):
            self.world.next(self._receive)

    def _bar_line(self) -> None:
        if not self.stopped:
            if self.pending:
                chunk = self.pending.pop(0)
                self.played.append(chunk)
                if self.consumes:
                    self.world.consume(chunk)
                self.world.next(self._receive)
            elif self.played:
                self.repeats += 1
        self.world.at(self.world.now + self.world.delivery.chunk_seconds, self._bar_line)

"""When a chunk may go to its client: exactly once, in order, paced. A value; the time is always passed in.

The rule was measured against players that hold one chunk beyond the one they play: chunk 0 goes at once; chunk k goes
when the client says that it plays chunk k - 1 (`consume`), or, if it never says so, at T0 + (k + 1/4) chunk durations,
T0 being the delivery of chunk 0. A client that holds more says how many, and gets them that much earlier.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Generic, TypeVar

from darius.errors import InvalidOption

Payload = TypeVar("Payload")

MARGIN = 0.25
"""Chunk durations after its place in real time at which a chunk goes to a client that never consumes."""
LOST = 4.0
"""Chunk durations without a word after which a client's consume is taken as lost on the way, and the next chunk goes:
a one-slot player would otherwise repeat its last chunk for ever."""
FIRST_SECONDS = 0.5
"""Within this time a new jam's first chunk is wanted."""
MOST_AHEAD = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Delivery(Generic[Payload]):
    """What was generated and what of it has gone, in monotonic seconds.

    Attributes:
      chunk_seconds: length of a chunk.
      started: when the jam was started.
      buffer_ahead: chunks that the client holds beyond the playing one.
      paced: chunks go in real time; otherwise as soon as they are made, and nobody waits for the device because of it.
      lease_chunks, lease_least: a client that says nothing for so many chunks, or seconds if that is more, is gone.
      ready: chunks that have not gone yet, in order.
      last_delivered: index; -1 for none.
      consumed: the highest index that the client said it plays; -1 for none.
      consumed_at: when.
      first_at: T0.
      delivered_at: when the last chunk went.
      heard_at: when the client last called.
    """

    chunk_seconds: float
    started: float
    buffer_ahead: int = 1
    paced: bool = True
    lease_chunks: float = 3.0
    lease_least: float = 60.0
    ready: tuple[Payload, ...] = ()
    last_delivered: int = -1
    consumed: int = -1
    consumed_at: float = -math.inf
    first_at: float = math.inf
    delivered_at: float = math.inf
    heard_at: float = -math.inf

    def __post_init__(self) -> None:
        if not 1 <= self.buffer_ahead <= MOST_AHEAD:
            raise InvalidOption(
                f"buffer_ahead cannot be {self.buffer_ahead}.", f"Choose a value from 1 to {MOST_AHEAD}."
            )

    @property
    def queued(self) -> int:
        """Chunks that wait to go."""
        return len(self.ready)

    @property
    def pending(self) -> int:
        """The index that goes next."""
        return self.last_delivered + 1

    @property
    def last_generated(self) -> int:
        """Index of the newest chunk; -1 for none."""
        return self.last_delivered + len(self.ready)

    @property
    def wants_more(self) -> bool:
        """Another chunk should be made: fewer wait than the client holds. More would only make its knobs slow."""
        return len(self.ready) < self.buffer_ahead

    def offer(self, payload: Payload) -> Delivery[Payload]:
        """With one more chunk made."""
        return dataclasses.replace(self, ready=(*self.ready, payload))

    def release_time(self) -> float:
        """When the next chunk may go, whether it is made or not; in the past if it may go now."""
        return self._release_time(self.pending)

    def take(self, now: float) -> tuple[Payload | None, Delivery[Payload]]:
        """The next chunk, if it is made and may go; it will not be given again."""
        if not self.ready or self.release_time() > now:
            return None, self
        index = self.pending
        after = dataclasses.replace(
            self,
            ready=self.ready[1:],
            last_delivered=index,
            delivered_at=now,
            first_at=now if index == 0 else self.first_at,
        )
        return self.ready[0], after.touch(now)

    def consume(self, index: int, now: float) -> Delivery[Payload]:
        """The client plays chunk `index`, hence all before it. What never went, or was told before, changes nothing."""
        heard = self.touch(now)
        if not self.consumed < index <= self.last_delivered:
            return heard
        return dataclasses.replace(heard, consumed=index, consumed_at=now)

    def touch(self, now: float) -> Delivery[Payload]:
        """The client called."""
        return dataclasses.replace(self, heard_at=max(self.heard_at, now))

    def recut(self, chunk_seconds: float) -> Delivery[Payload]:
        """With another length for the chunks that are not made yet; each still goes at its place in real time."""
        index = self.last_generated + 1
        return dataclasses.replace(
            self,
            chunk_seconds=chunk_seconds,
            first_at=self.first_at + index * (self.chunk_seconds - chunk_seconds),
        )

    @property
    def expires_at(self) -> float:
        """When the client is taken as gone, if it does not call."""
        lease = max(self.lease_chunks * self.chunk_seconds, self.lease_least)
        return max(self.started, self.heard_at) + lease

    def expired(self, now: float) -> bool:
        """The client is gone."""
        return now >= self.expires_at

    def deadline(self, now: float) -> float:
        """When the chunk that is made next has to be ready: as soon as it may go, or is played if it may go before."""
        index = self.last_generated + 1
        needed = index - self.buffer_ahead
        if index == 0:
            return self.started + FIRST_SECONDS
        if not self.paced:
            return math.inf
        if self.consumed >= 0:
            # It plays on in real time, as far as we know.
            return self.consumed_at + max(needed - self.consumed, 0) * self.chunk_seconds
        if not math.isfinite(self.first_at):
            return now + index * self.chunk_seconds
        return self._scheduled(index) if needed >= 0 else self.first_at + index * self.chunk_seconds

    def dry(self, now: float) -> float:
        """When the client has nothing left to play without the chunk that is made next; infinite before the first."""
        index = self.last_generated + 1
        if index == 0:
            return math.inf
        if self.paced and self.consumed >= 0:
            return self.consumed_at + (index - self.consumed) * self.chunk_seconds
        return self.deadline(now)

    def _release_time(self, index: int) -> float:
        needed = index - self.buffer_ahead
        if not self.paced or needed < 0 or self.consumed >= needed:
            return -math.inf
        if self.consumed >= 0:
            return max(self.consumed_at, self.delivered_at) + LOST * self.chunk_seconds
        return self._scheduled(index)

    def _scheduled(self, index: int) -> float:
        return self.first_at + (index - self.buffer_ahead + 1 + MARGIN) * self.chunk_seconds

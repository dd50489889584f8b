"""What a conductor counts: calls, seconds, missed deadlines, capacity. Knows no device and no queue."""

from __future__ import annotations

import bisect
import dataclasses
import threading
from collections.abc import Iterable, Mapping

EDGES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 1.7, 2.0, 2.5, 4.0, 8.0)
"""Seconds; close together around a chunk's own length of 2 s, where music would stop."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Histogram:
    """How often a duration fell where.

    Attributes:
      edges: upper edges in seconds, ascending; one count more than edges, the last for all above.
      counts: durations up to each edge and above the one before.
      total: sum of all durations in seconds.
    """

    edges: tuple[float, ...] = EDGES
    counts: tuple[int, ...] = (0,) * (len(EDGES) + 1)
    total: float = 0.0

    @property
    def count(self) -> int:
        """How many durations."""
        return sum(self.counts)

    def add(self, seconds: float) -> Histogram:
        """With one duration more."""
        counts = list(self.counts)
        counts[bisect.bisect_left(self.edges, seconds)] += 1
        return dataclasses.replace(self, counts=tuple(counts), total=self.total + seconds)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stats:
    """A conductor's counts since its start.

    Attributes:
      waiting: requests that wait now.
      running: requests on the device now.
      calls: device calls that made chunks.
      rows: chunks made, over all streams.
      places: rows that those calls had room for, padding included.
      late: chunks that were there after their deadline; to whoever plays them, underruns.
      failed: requests that ended in an error.
      cancelled: requests dropped before they began.
      work: other work done.
      seconds: how long device calls for chunks took.
      answered: how long each stream's chunk took from being asked for, waiting included.
      chunk_seconds: typical seconds of a call by bucket size, for the present engine's whole chunks.
    """

    waiting: int = 0
    running: int = 0
    calls: int = 0
    rows: int = 0
    places: int = 0
    late: int = 0
    failed: int = 0
    cancelled: int = 0
    work: int = 0
    seconds: Histogram = Histogram()
    answered: Histogram = Histogram()
    chunk_seconds: Mapping[int, float] = dataclasses.field(default_factory=dict)

    @property
    def occupancy(self) -> float:
        """Part of the places that carried a stream, 0 to 1; 0 before the first call."""
        return self.rows / self.places if self.places else 0.0


class Ledger:
    """Counts that any thread may add to and read."""

    def __init__(self) -> None:
        self._stats = Stats()
        self._lock = threading.Lock()

    def count(self, **more: int) -> None:
        """Adds to counters by name."""
        with self._lock:
            sums = {name: getattr(self._stats, name) + count for name, count in more.items()}
            self._stats = dataclasses.replace(self._stats, **sums)

    def called(self, rows: int, places: int, seconds: float) -> None:
        """A device call made `rows` chunks in a bucket of `places`."""
        self.count(calls=1, rows=rows, places=places)
        with self._lock:
            self._stats = dataclasses.replace(self._stats, seconds=self._stats.seconds.add(seconds))

    def answered(self, waits: Iterable[float]) -> None:
        """Chunks were there so long after they were asked for."""
        with self._lock:
            histogram = self._stats.answered
            for seconds in waits:
                histogram = histogram.add(seconds)
            self._stats = dataclasses.replace(self._stats, answered=histogram)

    def read(self) -> Stats:
        """All counts as they are now."""
        with self._lock:
            return self._stats


@dataclasses.dataclass(frozen=True, kw_only=True)
class Capacity:
    """How many streams a device plays in real time.

    Attributes:
      streams: at the load that was asked for; 0 if not even one.
      seconds: of a chunk, by bucket size that was tried.
    """

    streams: int
    seconds: Mapping[int, float]


def capacity(seconds: Mapping[int, float], chunk: float, load: float) -> Capacity:
    """The streams that calls of these durations serve, if the device works `load` (0 to 1) of the time.

    Args:
      seconds: of a call by bucket size.
      chunk: seconds of music in a chunk.
    """
    streams = max((size * int(load * chunk / taken) for size, taken in seconds.items()), default=0)
    return Capacity(streams=streams, seconds=dict(seconds))

"""Which bucket sizes an engine is ready for, and how long each takes. Knows no queue.

A size that has not run yet would be compiled first, for many seconds, while everyone waits; so batches use only sizes
that have run, and the smallest.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from darius.engine import Engine

_NEWEST = 0.2
"""Weight of the newest call in what is typical."""


class Programs:
    """Typical seconds of each (frames, bucket size) by engine, for any thread; an engine that is gone is forgotten."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = tuple(sorted(set(sizes)))
        self._seconds: weakref.WeakKeyDictionary[Engine, dict[tuple[int, int], float]] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def ready(self, engine: Engine, frames: int) -> list[int]:
        """Sizes that can be used at once, ascending; the smallest always."""
        with self._lock:
            known = set(self._seconds.get(engine, {}))
        return [size for size in self.sizes if size == self.sizes[0] or (frames, size) in known]

    def seconds(self, engine: Engine, frames: int) -> dict[int, float]:
        """Typical seconds of a call by size, for sizes that have run more than once."""
        with self._lock:
            known = dict(self._seconds.get(engine, {}))
        return {size: taken for (f, size), taken in known.items() if f == frames and math.isfinite(taken)}

    def ran(self, engine: Engine, frames: int, size: int, seconds: float) -> None:
        """A call has run. The first of its kind compiles, so its time says nothing of the next."""
        with self._lock:
            known = self._seconds.setdefault(engine, {})
            before = known.get((frames, size))
            if before is None:
                known[frames, size] = math.nan
            elif math.isnan(before):
                known[frames, size] = seconds
            else:
                known[frames, size] = before + _NEWEST * (seconds - before)

    def drop(self, engine: Engine, frames: int, size: int) -> None:
        """This size is not to be used."""
        with self._lock:
            self._seconds.get(engine, {}).pop((frames, size), None)

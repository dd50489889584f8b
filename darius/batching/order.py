"""Who is next, and with whom: earliest deadline first, fair among equals, as many together as deadlines allow.

Pure functions of what waits and of the time; knows no device and no threads.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence

from darius.batching.requests import Call, Request

MOST_BLOCKING = 0.5
"""Seconds of a call, at most, where there is a choice: a jam that comes meanwhile has to wait for its end."""
SURE = 0.8
"""Part of the time to its deadline in which a stream's chunk should be there if shorter calls are taken."""
SOON_DRY = 1.0
"""Seconds before its player has nothing left, at most, in which a request goes before all who have no gap to fear."""
PATIENCE = 5.0
"""Seconds after which who has no gap to fear has waited long enough, whoever else is in a hurry."""
SHARE = 8
"""Of so many calls, one at most goes to who has waited too long; the others keep to the order."""


class Turns:
    """How many chunks each key was given while others waited, so that equals take turns.

    A key that joins starts with as many as the least served one has, so it can neither jump ahead for long nor be
    made to catch up. Counts are kept only for keys that wait.
    """

    def __init__(self) -> None:
        self._given: dict[Hashable, int] = {}

    def of(self, request: Request) -> int:
        """Chunks given to this request's key."""
        return self._given.get(request.key, 0)

    def join(self, key: Hashable) -> None:
        """A key begins to wait."""
        self._given.setdefault(key, min(self._given.values(), default=0))

    def give(self, key: Hashable) -> None:
        """A key was served."""
        self._given[key] = self._given.get(key, 0) + 1

    def keep(self, waiting: set[Hashable]) -> None:
        """Forgets all keys but these."""
        self._given = {key: given for key, given in self._given.items() if key in waiting}


class Share:
    """Sees to it that who has no gap to fear is served at all beside jams that keep the device busy, or more than busy.

    Once it has waited `PATIENCE` seconds it goes first, with as many of the others as there is room for; but only if
    none of its kind went with the last `SHARE` - 1 calls. So it waits for a bounded time, and costs those in a hurry a
    bounded part.
    """

    def __init__(self) -> None:
        self._calls = SHARE

    def first(self, ordered: Sequence[Request], now: float) -> list[Request]:
        """All that waits, see `in_order`, with the one whose share it is in front."""
        if self._calls < SHARE - 1:
            return list(ordered)
        patient = (r for r in ordered if math.isinf(r.dry) and now - r.asked >= PATIENCE)
        chosen = next(patient, None)
        return [*([chosen] if chosen else []), *(request for request in ordered if request is not chosen)]

    def give(self, requests: Sequence[Request]) -> None:
        """These went to the device together."""
        self._calls = 0 if any(math.isinf(request.dry) for request in requests) else self._calls + 1


def in_order(waiting: Sequence[Request], turns: Turns, now: float) -> list[Request]:
    """All that waits, the next first: the earliest deadline, but before it whose music is about to stop.

    Without the exception, jams that begin in a rush would go before those that play: theirs are the older deadlines.
    """

    def place(request: Request) -> tuple[float, float, int, int]:
        dry = request.dry if _soon_dry(request, now) else math.inf
        return dry, request.deadline, turns.of(request), request.number

    return sorted(waiting, key=place)


def _soon_dry(request: Request, now: float) -> bool:
    """Half of the time that it had is over, and little is left."""
    return request.dry - now <= min(SOON_DRY, (request.dry - request.asked) / 2)


def batch(
    ordered: Sequence[Request], now: float, sizes: Sequence[int], seconds: Mapping[int, float]
) -> tuple[list[Request], int]:
    """The requests of the next device call, and the bucket size they go into (1 for other work, which runs alone).

    Args:
      ordered: all that waits, see `in_order` and `Share`; not empty.
      sizes: buckets that may be used for the first request, ascending.
      seconds: how long a call of each bucket usually takes, where known.
    """
    first = ordered[0]
    if not isinstance(first, Call):
        return [first], 1
    peers = [r for r in ordered if isinstance(r, Call) and r.engine is first.engine and r.frames == first.frames]
    urgent = sum(math.isfinite(peer.deadline) for peer in peers)
    if math.isfinite(first.deadline):
        in_time = [size for size in sizes if now + seconds.get(size, 0.0) <= first.deadline]
        if in_time:
            size = best_size(urgent, in_time, seconds)
            if seconds.get(size, 0.0) > MOST_BLOCKING:
                deadlines = [peer.deadline for peer in peers[:urgent]]
                short = [size for size in in_time if _short_enough(deadlines, now, size, seconds.get(size, 0.0))]
                size = best_size(urgent, short or [size], seconds)
        else:
            # Who is late does not wait for a large call that is for others, unless those would be late by that, or
            # other things are late too: calls for few serve fewer a second, so that ever more were late (64 jams on
            # an H100 never came out of it).
            soon = now + seconds.get(sizes[0], 0.0)
            late = sum(peer.deadline < soon for peer in peers)
            size = best_size(max(late, 1), sizes, seconds)
            others = [peer.deadline for peer in peers[size:urgent]]
            alone = sum(request.deadline < soon for request in ordered) <= late
            if not (alone and _surely_in_time(others, now, now + seconds.get(size, 0.0), sizes, seconds)):
                size = best_size(urgent, sizes, seconds)
    else:
        short = [size for size in sizes if seconds.get(size, 0.0) <= MOST_BLOCKING]
        size = best_size(len(peers), short or sizes[:1], seconds)
    # Others without a deadline come last in `peers`: they take the places that would have been padding.
    return list(peers[:size]), size


def _short_enough(deadlines: Sequence[float], now: float, size: int, taken: float) -> bool:
    """Calls of this size hold nobody up for long, and all that wait (deadlines ascending) are still surely in time."""
    return taken <= MOST_BLOCKING and _surely(deadlines, now, now, size, taken)


def _surely_in_time(
    deadlines: Sequence[float], now: float, begin: float, sizes: Sequence[int], seconds: Mapping[int, float]
) -> bool:
    """All of these (ascending) are surely in time if their calls, as quick as can be, begin at `begin`."""
    size = best_size(max(len(deadlines), 1), sizes, seconds)
    return _surely(deadlines, now, begin, size, seconds.get(size, 0.0))


def _surely(deadlines: Sequence[float], now: float, begin: float, size: int, taken: float) -> bool:
    done = (begin + taken * (place // size + 1) for place in range(len(deadlines)))
    return all(end - now <= SURE * (deadline - now) for end, deadline in zip(done, deadlines, strict=True))


def best_size(waiting: int, sizes: Sequence[int], seconds: Mapping[int, float]) -> int:
    """The bucket that serves the most streams a second; the larger of equals, and what holds all if speed is unknown.

    Args:
      waiting: how many streams could go.
      sizes: buckets to choose from, ascending; not empty.
    """
    holds_all = next((size for size in sizes if size >= waiting), sizes[-1])
    candidates = [size for size in sizes if size <= holds_all]
    if any(size not in seconds for size in candidates):
        return holds_all
    return max(candidates, key=lambda size: (min(waiting, size) / max(seconds[size], 1e-9), size))

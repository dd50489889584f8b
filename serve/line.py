"""One-shots wait in line: so many play at once, the others in the order in which they came. Knows no device."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import AsyncIterator, Callable

from serve.errors import Refused, shutting_down


class Line:
    """First come, first served.

    Args:
      most_playing: how many may play at once, asked anew each time.
      most_waiting: further ones are refused.
    """

    def __init__(self, most_playing: Callable[[], int], most_waiting: int) -> None:
        self._most_playing, self._most_waiting = most_playing, most_waiting
        self._waiting: collections.deque[asyncio.Future[None]] = collections.deque()
        self.playing = 0
        """How many play now."""

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return len(self._waiting)

    @contextlib.asynccontextmanager
    async def turn(self, queued: Callable[[Callable[[], int]], None]) -> AsyncIterator[None]:
        """Waits for a turn; the block is it.

        Args:
          queued: called if there is a wait, with a function that tells how many come before.

        Raises:
          Refused: 429 if too many wait already.
        """
        if self._waiting or self.playing >= self._most_playing():
            await self._wait(queued)
        else:
            self.playing += 1
        try:
            yield
        finally:
            self.playing -= 1
            self._admit()

    def refuse_when_full(self) -> None:
        """Raises Refused (429) if too many wait already."""
        if len(self._waiting) >= self._most_waiting:
            raise Refused(
                f"{len(self._waiting)} requests wait already.",
                "Try again in a moment.",
                status=429,
                code="queue_full",
                retry_after=10,
            )

    async def _wait(self, queued: Callable[[Callable[[], int]], None]) -> None:
        self.refuse_when_full()
        # Who is admitted is counted as playing from then on.
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        queued(lambda: self._waiting.index(mine) if mine in self._waiting else 0)
        try:
            await mine
        except asyncio.CancelledError:
            if mine in self._waiting:
                self._waiting.remove(mine)
            else:  # admitted and given up at the same moment: the turn is for the next
                self.playing -= 1
                self._admit()
            raise

    def close(self) -> None:
        """Sends everyone who waits away, with 503."""
        while self._waiting:
            self._waiting.popleft().set_exception(shutting_down())

    def _admit(self) -> None:
        while self._waiting and self.playing < self._most_playing():
            self.playing += 1
            self._waiting.popleft().set_result(None)

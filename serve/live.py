"""One live jam: the task that plays it, what waits to go, who waits for it, and how it ends. Knows no HTTP.

The task asks the device for music as long as the client can hold more, cuts and encodes it in a thread, and hands it to
whoever calls `next`, each chunk once and in order. Changes wait until the next chunk is begun. It ends once, for one
reason, and everyone who waits or comes later is told that reason.
"""

from __future__ import annotations

import asyncio
import collections
import contextvars
import dataclasses
import logging
import math
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from darius.errors import Busy, DariusError
from darius.jam import Delivery, Dials, Jam, KeyStroke
from serve import request_id
from serve.endings import SHUTDOWN, Ending
from serve.errors import Refused, sentence
from serve.maker import Maker
from serve.packets import Packet

if TYPE_CHECKING:
    from darius.audio.waveform import Waveform
    from darius.style.mix import StyleRequest
    from darius.style.steering import Assets
    from serve.backend import Backend

log = logging.getLogger("darius.serve")

MOST_CONTEXTS = 8
"""New contexts that may wait for the next chunk; each may hold a minute of sound."""


class Live:
    """A jam that plays. All methods belong to the event loop.

    Args:
      backend: gives the device and threads.
      jam: just started.
      delivery: its delivery rules.
      id: of the session.
      style: that it began with.
      most_ready: chunks that may wait to go, besides what `delivery` allows.
      of_socket: its chunks go to the socket that started it, and to nobody else.
      on_end: called once, when it is over.

    Attributes:
      kind: "bars" or "stream".
      style: that was last asked for.
      started_at, completed_at: wall clock (seconds since 1970) of the newest chunk's making; None before.
      late: chunks that were made after they should have gone.
      first_seconds: from the start to the first chunk; None before.
    """

    def __init__(
        self,
        backend: Backend,
        jam: Jam,
        delivery: Delivery[Packet],
        *,
        id: str,
        style: StyleRequest,
        most_ready: int,
        of_socket: bool,
        on_end: Callable[[Live], None],
    ) -> None:
        self.id, self.jam, self.delivery = id, jam, delivery
        self.kind = "stream" if jam.settings.bpm is None else "bars"
        self.style, self.of_socket = style, of_socket
        self.ending: Ending | None = None
        self.started_at: float | None = None
        self.completed_at: float | None = None
        self.late = 0
        self.first_seconds: float | None = None
        self.request_id = request_id.current()
        self._backend, self._most_ready, self._on_end = backend, most_ready, on_end
        self._dials: Dials | None = None
        self._restyle: Callable[[], None] | None = None
        self._length: Fraction | None = None
        self._contexts = 0
        self._callers: collections.deque[object] = collections.deque()
        self._pulse: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._maker = Maker(backend, jam, id)
        # A context of its own: the request's would keep its upload in memory for as long as the jam lives.
        context = contextvars.Context()
        context.run(request_id.adopt, self.request_id)
        self._task = asyncio.create_task(self._play(), name=f"jam {id}", context=context)

    # For clients.

    async def next(self, timeout: float) -> Packet | None:
        """The next chunk once it may go; None if that takes longer than `timeout` seconds. First come, first served.

        Raises:
          DariusError: the jam is over, or ends meanwhile.
        """
        turn, until = object(), time.monotonic() + timeout
        self._callers.append(turn)
        try:
            while True:
                now = time.monotonic()
                if self.ending is not None:
                    raise self.ending.error()
                self.delivery = self.delivery.touch(now)
                release = math.inf
                if self._callers[0] is turn:
                    # Taken and returned without waiting in between: whoever goes away before loses no chunk.
                    packet, self.delivery = self.delivery.take(now)
                    if packet is not None:
                        return packet
                    release = self.delivery.release_time() if self.delivery.queued else math.inf
                if now >= until:
                    return None
                await self._changed(min(until, release) - now)
        finally:
            self._callers.remove(turn)
            self._wake()

    def consume(self, index: int) -> None:
        """The client plays this chunk."""
        self.delivery = self.delivery.consume(index, time.monotonic())
        self._wake()

    def touch(self) -> None:
        """The client called."""
        self.delivery = self.delivery.touch(time.monotonic())

    @property
    def dials(self) -> Dials:
        """As they will be from the next chunk on."""
        return self._dials or self.jam.dials

    def turn(self, dials: Dials) -> None:
        """New dials, from the next chunk on. Raises InvalidOption if the model does not know one of them."""
        dials.check(self.jam.model)
        self._dials = dials

    def play_keys(self, keys: Sequence[KeyStroke]) -> None:
        """Keys that go down or up, from the next call on. Raises InvalidOption if the model takes no notes."""
        self.jam.play_keys(keys)

    def restyle(self, style: StyleRequest, *, current_mix: bool, ramp: float | None, assets: Assets | None) -> None:
        """Another style, which glides in from the next chunk on; the last one before it counts."""
        self.style = style
        self._restyle = lambda: self.jam.update(style=style, current_mix=current_mix, ramp_seconds=ramp, assets=assets)

    def pace(self, paced: bool) -> None:
        """In real time, or as fast as it is made."""
        self.delivery = dataclasses.replace(self.delivery, paced=paced)
        self._wake()

    def recut(self, frames: int) -> None:
        """Another length of chunks in codec frames, from the next one on; streams without bars only."""
        self._length = Fraction(frames, self.jam.model.frame_rate)

    async def reseed(self, loop: Waveform | None) -> None:
        """Another context from the next chunk on. Raises BadAudio."""
        await self._hear(lambda: self.jam.reseed(loop))

    async def splice(self, audio: Waveform | None, anchor_bars: float) -> float:
        """A splice at the next chunk; the bars that will be used. Raises BadAudio, InvalidOption."""
        bars = 0.0

        def work() -> None:
            nonlocal bars
            bars = self.jam.splice(audio, anchor_bars=anchor_bars)

        await self._hear(work)
        return bars

    def end(self, ending: Ending) -> None:
        """Ends it: at once for all who wait; what the device makes of it just now is dropped."""
        if self.ending is not None:
            return
        self.ending = ending
        if self._task is not asyncio.current_task():
            self._task.cancel()
        self._wake()
        self._on_end(self)

    def expired(self, now: float) -> bool:
        """The client is gone."""
        return not self._callers and self.delivery.expired(now)

    async def wait_closed(self) -> None:
        """Until the task is over; only after `end`."""
        await asyncio.wait([self._task])

    # The task.

    async def _play(self) -> None:
        try:
            while True:
                while not self._wants_more:
                    await self._changed(None)
                await self._settle()
                await self._make_chunk()
        except (asyncio.CancelledError, Busy):
            # Ended by `end`; or the device's queue was closed first, at the end of the server.
            self.end(SHUTDOWN)
        except DariusError as error:
            log.warning("jam %s is over: %s", self.id, sentence(error))
            self.end(Ending.of(error))
        except Exception as error:
            # Whatever a model raises ends this jam alone.
            number = self.request_id
            log.error("jam %s failed (request %s)", self.id, number, exc_info=error)
            message = f"The jam met a bug and is over; it is in the server's log as request {number}."
            self.end(Ending(reason="failed", message=message, status=500, code="session_failed"))

    @property
    def _wants_more(self) -> bool:
        return self.delivery.wants_more and self.delivery.queued < self._most_ready

    async def _settle(self) -> None:
        """Lets all changes act that have come until now."""
        dials, restyle, length = self._dials, self._restyle, self._length
        self._dials = self._restyle = self._length = None
        if dials is not None:
            self.jam.update(dials=dials)
        if restyle is not None:
            restyle()
        if length is not None:
            self.jam.recut(length)
            self.delivery = self.delivery.recut(float(length))
        self._contexts = 0
        while self.jam.pending:
            try:
                deadline, dry = self._wanted()
                await self._backend.on_device(self.jam.settle, deadline=deadline, dry=dry)
            except Busy:
                raise
            except DariusError as error:
                # One change alone; the music goes on as it was.
                log.warning("jam %s: a change was dropped: %s", self.id, sentence(error))

    async def _make_chunk(self) -> None:
        self.started_at = time.time()
        packet = await self._maker.make(self._wanted)
        now = time.monotonic()
        self.late += now > self.delivery.dry(now)
        if self.first_seconds is None:
            self.first_seconds = now - self.delivery.started
        self.delivery = self.delivery.offer(packet)
        self.completed_at = time.time()
        self._wake()

    def _wanted(self) -> tuple[float, float]:
        """When the next chunk is wanted, and when the music stops without it."""
        now = time.monotonic()
        return self.delivery.deadline(now), self.delivery.dry(now)

    # Within.

    async def _hear(self, change: Callable[[], None]) -> None:
        if self._contexts >= MOST_CONTEXTS:
            raise Refused(
                "Too many new contexts wait for the next chunk.", "Send the next one later.", status=429, code="busy"
            )
        self._contexts += 1
        await self._backend.in_thread(change)

    def _wake(self) -> None:
        """Something changed: everyone looks again."""
        pulse, self._pulse = self._pulse, asyncio.get_running_loop().create_future()
        pulse.set_result(None)

    async def _changed(self, timeout: float | None) -> None:
        await asyncio.wait([self._pulse], timeout=timeout)

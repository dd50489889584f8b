"""All live jams: slots, ids, leases, and the memory of those that are over. Knows no route.

A slot is taken before anything slow is done for a new jam and given back however that ends; a jam whose client is not
heard of any more ends by itself.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import contextvars
import logging
import secrets
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from darius.jam import Delivery, Jam, JamSettings
from serve.endings import EXPIRED, SHUTDOWN, STOPPED, STOPPED_ALL, Ending
from serve.errors import Refused
from serve.live import Live
from serve.packets import MOST_BYTES, Packet, wav_size

if TYPE_CHECKING:
    from darius.audio.waveform import Waveform
    from darius.engine import Model
    from darius.jam import Dials
    from darius.style.mix import StyleRequest
    from darius.style.steering import Assets
    from serve.backend import Backend

log = logging.getLogger("darius.serve")

REMEMBERED_SECONDS = 600.0
MOST_REMEMBERED = 10_000
SWEEP_SECONDS = 0.5
START_SECONDS = 0.2
"""In which hearing the loop has to have begun; jams that would run dry before go first."""
MOST_READY_BYTES = 256 << 20
"""Of WAVs that may wait for one client."""


class Sessions:
    """The live jams of one server. All methods belong to the event loop.

    Args:
      backend: settings, device, threads.
      lease_chunks, lease_seconds: a client that does not call for so many chunks, and so many seconds, is gone.

    Attributes:
      started, refused: counts since the start.
      ended: how often jams ended, by reason.
      first_seconds: of the newest jams, from the start to the first chunk.
      late: chunks that came after they should have gone, of jams that are over.
    """

    def __init__(self, backend: Backend, *, lease_chunks: float = 3.0, lease_seconds: float = 60.0) -> None:
        self._backend = backend
        self._lease_chunks, self._lease_seconds = lease_chunks, lease_seconds
        self._live: dict[str, Live] = {}
        self._starting: set[str] = set()
        self._over: collections.OrderedDict[str, tuple[float, Ending]] = collections.OrderedDict()
        self._sweeper: asyncio.Task[None] | None = None
        self.started = self.refused = self._late = 0
        self.ended: collections.Counter[str] = collections.Counter()
        self.first_seconds: collections.deque[float] = collections.deque(maxlen=1000)

    @property
    def active(self) -> int:
        """Jams that take a slot now, over HTTP and WebSocket."""
        return len(self._live) + len(self._starting)

    @property
    def capacity(self) -> int:
        """How many may live at once."""
        return self._backend.capacity

    @property
    def late(self) -> int:
        """Chunks that were made after they should have gone, since the start."""
        return self._late + sum(live.late for live in self._live.values())

    @contextlib.contextmanager
    def slot(self, wanted: str | None = None) -> Iterator[str]:
        """A slot for a jam that is being started: the block calls `begin`, or the slot is free again at its end.

        Args:
          wanted: the session's id; None for a new one.

        Raises:
          Refused: 409 if the id is in use, 429 if all slots are taken, 503 at the end of the server.
        """
        self._backend.refuse_when_closing()
        if wanted is not None and (wanted in self._live or wanted in self._starting):
            raise Refused(
                f"The session '{wanted}' is in use.",
                "Stop it, or choose another id.",
                status=409,
                code="session_exists",
            )
        if self.active >= self.capacity:
            self.refused += 1
            raise Refused(
                f"All {self.capacity} places for live jams are taken.",
                "Try again when another jam has ended.",
                status=429,
                code="at_capacity",
                retry_after=5,
            )
        name = wanted or secrets.token_hex(8)
        self._starting.add(name)
        try:
            yield name
        finally:
            self._starting.discard(name)

    async def begin(
        self,
        name: str,
        model: Model,
        settings: JamSettings,
        *,
        loop: Waveform | None,
        style: StyleRequest,
        dials: Dials,
        seed: int,
        assets: Assets,
        buffer_ahead: int = 1,
        paced: bool = True,
        most_ready: int | None = None,
        of_socket: bool = False,
    ) -> Live:
        """Starts a jam in the slot `name`; it begins to play at once.

        Args:
          buffer_ahead: chunks that the client holds beyond the playing one.
          paced: chunks go in real time.
          most_ready: chunks that may wait to go; as many as the client holds if None.
          of_socket: its chunks go to one socket only.

        Raises:
          BadAudio, InvalidOption: the jam cannot be started like this.
          Refused: 409 if all jams were stopped meanwhile.
        """
        size = wav_size(settings)
        if size > MOST_BYTES or size * buffer_ahead > MOST_READY_BYTES:
            raise Refused(
                f"A chunk would be {size >> 20} MB long.",
                "Ask for fewer bars a chunk, or a lower rate or buffer_ahead.",
                status=400,
                code="invalid_option",
            )
        chunk_seconds = float(settings.chunk_duration)
        now = time.monotonic()
        delivery: Delivery[Packet] = Delivery(
            chunk_seconds=chunk_seconds,
            started=now,
            buffer_ahead=buffer_ahead,
            paced=paced,
            lease_chunks=self._lease_chunks,
            lease_least=self._lease_seconds,
        )
        jam = await self._backend.on_device(
            await self._backend.in_thread(
                lambda: Jam.prepare(model, settings, loop=loop, style=style, dials=dials, seed=seed, assets=assets)
            ),
            deadline=now + START_SECONDS,
            then=name,  # its first call
        )
        if name not in self._starting:
            raise Refused("The jam was stopped before it began.", "Start it again.", status=409, code="session_stopped")
        self._starting.discard(name)
        self._over.pop(name, None)
        live = Live(
            self._backend,
            jam,
            delivery,
            id=name,
            style=style,
            most_ready=most_ready or buffer_ahead,
            of_socket=of_socket,
            on_end=self._ended,
        )
        self._live[name] = live
        self.started += 1
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep(), context=contextvars.Context())
        return live

    def get(self, name: str) -> Live:
        """A jam that plays; its client called.

        Raises:
          Refused: 404 if there is none of this name.
        """
        live = self._live.get(name)
        if live is None:
            raise _unknown(name)
        live.touch()
        return live

    def get_to_hear(self, name: str) -> Live:
        """As `get`, for who wants its next chunk: a jam that is over lately says why, not that it is unknown.

        Some clients take 404 as the end of everything, and calls may come in just after a stop.
        """
        over = self._over.get(name)
        if over is not None:
            raise over[1].error()
        return self.get(name)

    def stop(self, name: str) -> None:
        """Ends a jam; one that is over lately may be stopped again. Raises Refused (404) for others."""
        live = self._live.get(name)
        if live is not None:
            live.end(STOPPED)
        elif name not in self._over:
            raise _unknown(name)

    async def stop_all(self, ending: Ending = STOPPED_ALL) -> list[str]:
        """Ends all jams at once, also those that are being started; the ids of those that played."""
        self._starting.clear()
        lives = list(self._live.values())
        for live in lives:
            live.end(ending)
        return [live.id for live in lives]

    async def close(self) -> None:
        """At the end of the server."""
        lives = list(self._live.values())
        await self.stop_all(SHUTDOWN)
        if self._sweeper is not None:
            self._sweeper.cancel()
        for live in lives:
            await live.wait_closed()

    # Within.

    def _ended(self, live: Live) -> None:
        assert live.ending is not None
        self._live.pop(live.id, None)
        self._over[live.id] = (time.monotonic(), live.ending)
        self._forget()
        self.ended[live.ending.reason] += 1
        self._late += live.late
        if live.first_seconds is not None:
            self.first_seconds.append(live.first_seconds)
        log.info(
            "jam %s ended (%s): %s, model %s, %d chunks made, %d delivered, %d late, first after %s s, %.1f s in all",
            live.id,
            live.ending.reason,
            live.kind,
            live.jam.model.name,
            live.delivery.last_generated + 1,
            live.delivery.last_delivered + 1,
            live.late,
            "-" if live.first_seconds is None else f"{live.first_seconds:.2f}",
            time.monotonic() - live.delivery.started,
        )

    def _forget(self) -> None:
        before = time.monotonic() - REMEMBERED_SECONDS
        while self._over:
            name, (when, _) = next(iter(self._over.items()))
            if when > before and len(self._over) <= MOST_REMEMBERED:
                return
            del self._over[name]

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self._forget()
            now = time.monotonic()
            for live in [live for live in self._live.values() if live.expired(now)]:
                live.end(EXPIRED)


def _unknown(name: str) -> Refused:
    return Refused(f"There is no session '{name[:80]}'.", "Start one.", status=404, code="unknown_session")

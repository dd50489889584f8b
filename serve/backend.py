"""What all routes share: settings, the device's conductor, models, sessions, progress, metrics, and threads to work in.

One `Backend` an app, found with `backend()` inside a request. Knows no route.

Rules for routes: what needs the device goes through `on_device` or `conductor.advance`; what takes more than a
millisecond (decoding, resampling, base64, JSON of a megabyte) goes through `in_thread`; the event loop does the rest.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import time
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

from quart import current_app

from darius.batching import Conductor
from serve.endings import CHANGED, SHUTDOWN
from serve.errors import shutting_down
from serve.line import Line
from serve.metrics import Metrics
from serve.models import Models
from serve.progress import Progress
from serve.sessions import Sessions
from serve.settings import Settings

T = TypeVar("T")
THREADS = 4
BUCKETS = (1, 4, 16, 64)
"""Batch sizes, few, since each is several programs to compile; what a device is too slow for, or more than is wanted,
never is."""


class Backend:
    """The server's parts and its life.

    Attributes:
      settings: as given.
      conductor: owns the device's thread; all model work goes through it.
      models: which model plays.
      sessions: live jams.
      line: where one-shots wait for their turn.
      progress: how far each one-shot is.
      metrics: what is counted.
      started: time.monotonic() at the start.
      closing: the server shuts down; new work is refused.
      ending: is set then.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.started = time.monotonic()
        self.closing = False
        self.ending = asyncio.Event()
        self._hurry = asyncio.Event()
        self.pool = ThreadPoolExecutor(THREADS, thread_name_prefix="darius-work")
        self.conductor = Conductor(buckets=BUCKETS)
        self.models = Models(settings, self.conductor)
        self.sessions = Sessions(self)
        self.line = Line(lambda: self.capacity, settings.max_queue)
        self.progress = Progress()
        self.metrics = Metrics(self)

    @property
    def active_jams(self) -> int:
        """Live jams, over HTTP and WebSocket."""
        return self.sessions.active

    @property
    def capacity(self) -> int:
        """How many jams may live at once: `--max-sessions`, or what the device was measured to carry (at least 1)."""
        return self.settings.max_sessions or self.models.measured_capacity

    async def start(self) -> None:
        """Begins to load the model; does not wait for it."""
        self.models.start()

    async def drain(self, seconds: float) -> None:
        """Refuses new work, ends the jams, and lets one-shots that play finish for so long."""
        self.closing = True
        self.ending.set()
        self.line.close()
        await self.sessions.stop_all(SHUTDOWN)
        until = time.monotonic() + seconds
        while self.line.playing and time.monotonic() < until:
            await asyncio.sleep(0.05)
        self._hurry.set()

    async def unless_hurried(self, work: Awaitable[T]) -> T:
        """The work's result; once the server may wait no longer, the work is given up.

        Raises:
          Refused: 503, then.
        """
        task, hurry = asyncio.ensure_future(work), asyncio.ensure_future(self._hurry.wait())
        try:
            await asyncio.wait((task, hurry), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise shutting_down()
            return task.result()
        finally:
            hurry.cancel()
            task.cancel()

    async def close(self) -> None:
        """Ends jams, loading and the device's thread."""
        self.closing = True
        self._hurry.set()
        await self.sessions.close()
        self.models.close()
        await asyncio.to_thread(self.conductor.close, 2.0)
        self.pool.shutdown(wait=False, cancel_futures=True)

    async def stop_jams(self) -> None:
        """Ends all jams, before a model is taken away from them."""
        await self.sessions.stop_all(CHANGED)

    def refuse_when_closing(self) -> None:
        """Raises Refused (503) once the server shuts down."""
        if self.closing:
            raise shutting_down()

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Does work that needs no device in one of a few threads."""
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self.pool, lambda: context.run(work))

    async def on_device(
        self,
        work: Callable[[], T],
        *,
        deadline: float | None = None,
        dry: float = math.inf,
        then: Hashable = None,
    ) -> T:
        """Does other work for the device on its thread, between chunks; see `Conductor.run`."""
        return await asyncio.wrap_future(self.conductor.run(work, deadline=deadline, dry=dry, then=then))


def backend() -> Backend:
    """The backend of the app that serves this request."""
    return cast(Backend, current_app.extensions["darius"])

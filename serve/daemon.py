"""Slow work in threads that do not keep the process alive: a download must not hold up the server's end."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

from darius.batching.requests import Attempt

T = TypeVar("T")


async def in_daemon(work: Callable[[], T]) -> T:
    """Does work in a thread of its own and gives its result; its error is the caller's."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    results: list[T] = []

    def run() -> None:
        with Attempt() as attempt:
            results.append(work())
        with contextlib.suppress(RuntimeError):  # the loop may be gone
            loop.call_soon_threadsafe(settle, attempt.error)

    def settle(error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(results[0])

    threading.Thread(target=run, name="darius-load", daemon=True).start()
    return await future

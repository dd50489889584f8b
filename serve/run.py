"""The process: Hypercorn with sane limits, and a graceful end within ten seconds. Knows no route."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
from typing import Any

from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config, Sockets

from darius.errors import InvalidOption
from serve import logs, memory
from serve.app import create_app
from serve.backend import Backend
from serve.settings import Settings

log = logging.getLogger("darius.serve")

DRAIN_SECONDS = 4.0
"""For one-shots that play when the end is asked for; they are given up at their next chunk then."""
GRACEFUL_SECONDS = 2.0
"""For connections to close, afterwards."""
LAST_SECONDS = 9.0
"""After this the process goes, whatever still runs: a compiler cannot be interrupted."""


def run(settings: Settings) -> None:
    """Serves until SIGINT or SIGTERM.

    Raises:
      InvalidOption: the address cannot be listened on.
    """
    logs.configure(settings.log_format)
    memory.configure()
    _check_address(settings)
    app = create_app(settings)
    here: Backend = app.extensions["darius"]
    asyncio.run(_serve(app, here, settings))
    if any(thread.name.startswith("darius-") and thread.is_alive() for thread in threading.enumerate()):
        _leave()  # something still computes or compiles; the interpreter must not be torn down under it


async def _serve(app: object, here: Backend, settings: Settings) -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_report)
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, asked.set)

    async def drained() -> None:
        await asked.wait()
        log.info("shutting down")
        timer = threading.Timer(LAST_SECONDS, _leave)
        timer.daemon = True
        timer.start()
        await here.drain(DRAIN_SECONDS)

    scheme = "https" if settings.certfile else "http"
    log.info("listening on %s://%s; the tester is at /tester", scheme, _address(settings))
    trimming = asyncio.create_task(memory.keep_trimmed())
    await hypercorn_serve(app, _config(settings), shutdown_trigger=drained)  # type: ignore[arg-type]
    trimming.cancel()


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """As by default, but for connections that are cut off at the end, or that the system gave up because their clients
    took nothing any more: asyncio takes each for an error."""
    if not isinstance(context.get("exception"), asyncio.CancelledError | TimeoutError):
        loop.default_exception_handler(context)


def _leave() -> None:
    logging.shutdown()
    os._exit(0)


def _address(settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{host}:{settings.port}"


def _check_address(settings: Settings) -> None:
    """Refuses an address early and in a sentence, before a model is loaded for it."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((settings.host, settings.port))
    except OSError as error:
        raise InvalidOption(
            f"{_address(settings)} cannot be listened on: {error.strerror or error}.", "Choose another with --port."
        ) from None


class _Config(Config):
    """Hypercorn's own, but for its sockets: the system gives up a client that takes nothing of what is sent to it.

    Hypercorn waits for such a client for ever, and all that it has for it stays in memory. Accepted sockets have the
    option from the listening one; systems without it (all but Linux) keep the connection, though no place for a jam.
    """

    send_seconds = 30.0

    def create_sockets(self) -> Sockets:
        sockets = super().create_sockets()
        option = getattr(socket, "TCP_USER_TIMEOUT", None)
        if option is not None:
            for each in (*sockets.secure_sockets, *sockets.insecure_sockets):
                each.setsockopt(socket.IPPROTO_TCP, option, round(self.send_seconds * 1000))
        return sockets


def _config(settings: Settings) -> Config:
    config = _Config()
    config.send_seconds = settings.send_timeout
    config.bind = [_address(settings)]
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    config.websocket_ping_interval = 20.0
    config.websocket_max_message_size = settings.max_upload_mb << 20
    config.keep_alive_timeout = 75
    config.graceful_timeout = GRACEFUL_SECONDS
    config.shutdown_timeout = 5.0
    config.h2_max_concurrent_streams = 100
    config.include_server_header = False
    if settings.certfile:
        config.certfile, config.keyfile = settings.certfile, settings.keyfile or None
    return config

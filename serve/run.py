"""The process: Hypercorn with sane limits, and a graceful end within ten seconds. Knows no route."""

from __future__ import annotations

import asyncio
import signal

from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config

from serve.app import create_app
from serve.settings import Settings


def run(settings: Settings) -> None:
    """Serves until SIGINT or SIGTERM."""
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    app = create_app(settings)
    await hypercorn_serve(app, _config(settings), shutdown_trigger=stop.wait)


def _config(settings: Settings) -> Config:
    config = Config()
    config.bind = [f"{settings.host}:{settings.port}"]
    config.websocket_ping_interval = 20.0
    config.websocket_max_message_size = settings.max_upload_mb << 20
    config.keep_alive_timeout = 75
    config.graceful_timeout = 3.0
    config.include_server_header = False
    return config

"""`darius serve`: the server for plugins, apps and browsers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def serve(
    model: Annotated[str | None, typer.Option(help="tiny, base, large, a folder, an archive, or hf:user/repo.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, gpu, or gpu:1.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with settings.")] = None,
) -> None:
    """Serve jams and continuations over HTTP and WebSocket.

    darius serve --model tiny --port 7860
    """
    from serve.run import run
    from serve.settings import gather

    flags = {"model": model, "host": host, "port": port, "device": device}
    run(gather(flags, os.environ, config).settings)

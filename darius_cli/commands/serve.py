"""`darius serve`: the server for plugins, apps and browsers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from serve.settings import Gathered


def serve(
    model: Annotated[str | None, typer.Option(help="tiny, base, large, a folder, an archive, or hf:user/repo.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; 0.0.0.0 for all. [127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on. [7860]")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, gpu, or gpu:1.")] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32 or bfloat16.")] = None,
    offline: Annotated[bool | None, typer.Option("--offline", help="Use only what was downloaded before.")] = None,
    max_sessions: Annotated[
        int | None, typer.Option(help="Jams at once; measured on this device if not given.")
    ] = None,
    memory_limit: Annotated[
        str | None, typer.Option(help="Memory of the device to use at most, such as 6G; smaller batches if need be.")
    ] = None,
    max_queue: Annotated[
        int | None, typer.Option(help="One-shots that may wait; further ones are refused. [64]")
    ] = None,
    max_upload_mb: Annotated[int | None, typer.Option(help="Largest request, in MiB. [64]")] = None,
    max_audio_seconds: Annotated[float | None, typer.Option(help="Longest audio that is taken. [600]")] = None,
    max_music_seconds: Annotated[
        float | None, typer.Option(help="Longest music that one request may ask for. [600]")
    ] = None,
    send_timeout: Annotated[
        float | None, typer.Option(help="Seconds after which a client that takes nothing is given up. [30]")
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(help="Key that clients must send; better given as DARIUS_API_KEY.")
    ] = None,
    cors_origins: Annotated[
        str | None, typer.Option(help="Pages that may call from a browser, with commas; * for all. [*]")
    ] = None,
    model_root: Annotated[Path | None, typer.Option(help="Folder that clients may select local models from.")] = None,
    allow_repo: Annotated[
        list[str] | None, typer.Option(help="Repository that clients may select, such as someone/*. Repeatable.")
    ] = None,
    template: Annotated[
        bool | None, typer.Option("--template", help="Play nothing; say that this is a template.")
    ] = None,
    log_format: Annotated[str | None, typer.Option(help="text or json (an object a line). [text]")] = None,
    certfile: Annotated[Path | None, typer.Option(help="Certificate, for https.")] = None,
    keyfile: Annotated[Path | None, typer.Option(help="Its key.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with these options (max_sessions = 8).")] = None,
) -> None:
    """Serve jams and continuations over HTTP and WebSocket.

    A flag wins over the environment (DARIUS_MAX_SESSIONS, PORT, ...), that over the file of --config.

    darius serve --model tiny --port 7860
    """
    from serve.settings import gather

    def text(path: Path | None) -> str | None:
        return None if path is None else str(path)

    flags = {
        "model": model,
        "host": host,
        "port": port,
        "device": device,
        "dtype": dtype,
        "offline": offline,
        "max_sessions": max_sessions,
        "memory_limit": memory_limit,
        "max_queue": max_queue,
        "max_upload_mb": max_upload_mb,
        "max_audio_seconds": max_audio_seconds,
        "max_music_seconds": max_music_seconds,
        "send_timeout": send_timeout,
        "api_key": api_key,
        "cors_origins": cors_origins,
        "model_root": text(model_root),
        "allow_repo": ",".join(allow_repo) if allow_repo else None,
        "template": template,
        "log_format": log_format,
        "certfile": text(certfile),
        "keyfile": text(keyfile),
    }
    gathered = gather(flags, os.environ, config)
    _tell(gathered)
    from serve.run import run

    run(gathered.settings)


def _tell(gathered: Gathered) -> None:
    settings = gathered.settings
    shown: Mapping[str, object] = {**vars(settings), "api_key": "(set)" if settings.api_key else ""}
    for name, origin in gathered.origins.items():
        if origin != "default" or shown[name] not in ("", False):
            typer.echo(f"{name:>18} = {shown[name]}  ({origin})", err=True)
    if not settings.loopback and not settings.api_key:
        typer.secho(
            f"Anyone who can reach {settings.host} can use this server: it has no API key (DARIUS_API_KEY).",
            fg=typer.colors.YELLOW,
            err=True,
        )

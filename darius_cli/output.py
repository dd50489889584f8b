"""What people and programs see: progress bars on a terminal, one JSON object when asked, silence otherwise."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import typer

Report = Callable[[str, float], None]


def show(result: Mapping[str, Any], *, as_json: bool, human: Callable[[], None]) -> None:
    """Prints `result` as one JSON line, or calls `human` to tell it in words."""
    if as_json:
        typer.echo(json.dumps(result))
    else:
        human()


@contextlib.contextmanager
def stages(titles: Mapping[str, str], *, quiet: bool = False, music_seconds: float | None = None) -> Iterator[Report]:
    """A progress bar that goes through stages; silent when `quiet` or when stderr is no terminal.

    Args:
      titles: what each stage is called, in order.
      quiet: show nothing.
      music_seconds: how much music the stage "playing" makes; its bar then shows the real-time factor.

    Yields:
      report(stage, done) with `done` from 0 to 1.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda stage, done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}
        began: dict[str, float] = {}

        def report(stage: str, done: float) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(titles.get(stage, stage), total=1.0, note="")
                began[stage] = time.perf_counter()
            note = ""
            elapsed = time.perf_counter() - began[stage]
            if stage == "playing" and music_seconds and done and elapsed:
                note = f"{done * music_seconds / elapsed:.1f}x real time"
            bar.update(tasks[stage], completed=done, note=note)

        yield report


def human_bytes(count: float) -> str:
    """1536 -> "1.5 KiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"

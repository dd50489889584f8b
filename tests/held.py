"""What a process holds: memory, files, threads, as Linux tells it. Knows no server and no test."""

from __future__ import annotations

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Held:
    """At one moment."""

    kilobytes: int
    files: int
    threads: int


def held(pid: int) -> Held:
    """What the process holds now."""
    process = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return Held(
        kilobytes=int(status["VmRSS"].split()[0]),
        files=len(list((process / "fd").iterdir())),
        threads=int(status["Threads"]),
    )

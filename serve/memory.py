"""Memory that was let go goes back to the system, instead of lying about in the allocator. Linux with glibc only.

glibc gives each thread an arena of its own and keeps what is freed in it. A server whose chunks, uploads and replies
are megabytes, made by a dozen threads, then grows for as long as it runs by what lies between them (365 MB in its first
four minutes, measured; see docs/operations.md). Mapping every large buffer by itself would help as much, but a chunk of
`tiny` then took 18 % more of the processor, in page faults.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from typing import Any

ARENAS = max(2, os.cpu_count() or 1)
"""No more than cores, and no fewer: XLA compiles in a thread for each, and they would wait for each other's locks."""
TRIM_SECONDS = 20.0
_ARENA_MAX = -8


def configure() -> None:
    """No more arenas than that, unless the environment says how many (MALLOC_ARENA_MAX); before threads are started."""
    if (libc := _glibc()) is not None and "MALLOC_ARENA_MAX" not in os.environ:
        libc.mallopt(_ARENA_MAX, ARENAS)


async def keep_trimmed() -> None:
    """For as long as the server runs: gives free pages back now and then, in a thread."""
    libc = _glibc()
    while libc is not None:
        await asyncio.sleep(TRIM_SECONDS)
        await asyncio.to_thread(libc.malloc_trim, 0)


def _glibc() -> Any:
    """The C library, if it is one that can do this."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None

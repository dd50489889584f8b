"""Uploaded audio as waveforms: decoded off the event loop, with bounded size, length and memory. Knows no route."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from quart.datastructures import FileStorage

from darius.audio import files
from darius.audio.waveform import Waveform

if TYPE_CHECKING:
    from serve.backend import Backend


async def decode(backend: Backend, upload: FileStorage) -> Waveform:
    """The upload's audio at its own rate.

    Raises:
      BadAudio: it cannot be used; the sentence says why.
    """

    def work() -> Waveform:
        return _decode(upload, backend.settings.max_audio_seconds)

    return await backend.in_thread(work)


def _decode(upload: FileStorage, max_seconds: float) -> Waveform:
    with tempfile.TemporaryDirectory(prefix="darius-") as folder:
        path = Path(folder) / "upload"
        with path.open("wb") as target:
            shutil.copyfileobj(upload.stream, target)
        return files.load(path, max_seconds=max_seconds)

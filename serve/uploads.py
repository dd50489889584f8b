"""Uploaded audio as waveforms: decoded off the event loop, with bounded size, length and memory. Knows no route."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from quart.datastructures import FileStorage

from darius.audio import files
from darius.audio.waveform import Waveform
from darius.errors import BadAudio
from serve.errors import Refused

if TYPE_CHECKING:
    from serve.backend import Backend

MOST_SAMPLES = 64 << 20
"""Over all channels; 256 MiB once decoded. Compressed audio can be a thousand times smaller than that."""
_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"caff", b"riff", b"wvpk")


async def decode(backend: Backend, upload: FileStorage) -> Waveform:
    """The upload's audio at its own rate and channels; it may be silent.

    Raises:
      BadAudio: it is empty, damaged, too short or too long, or holds NaN.
      Refused: 413 for more samples than are taken, 415 for what is no audio at all.
    """
    name, stream = upload.name or "audio", upload.stream
    return await backend.in_thread(lambda: _decode(stream, name, backend.settings.max_audio_seconds))


async def decode_bytes(backend: Backend, data: bytes, name: str) -> Waveform:
    """The same for bytes that came another way; `name` is how errors call them."""
    import io

    return await backend.in_thread(lambda: _decode(io.BytesIO(data), name, backend.settings.max_audio_seconds))


def _decode(stream: IO[bytes], name: str, max_seconds: float) -> Waveform:
    safe = "".join(c for c in name if c.isascii() and (c.isalnum() or c in "_-"))[:64] or "audio"
    with tempfile.TemporaryDirectory(prefix="darius-") as folder:
        path = Path(folder) / safe
        with path.open("wb") as target:
            shutil.copyfileobj(stream, target, 1 << 20)
        try:
            header = files.header(path, max_seconds=max_seconds)
            if header.frames * header.channels > MOST_SAMPLES:
                raise Refused(
                    f"{safe} has {header.frames * header.channels >> 20} million samples.",
                    "Send a shorter loop, or one of a lower rate.",
                    status=413,
                    code="too_large",
                )
            return files.load(path, max_seconds=max_seconds, silence=True)
        except BadAudio as error:
            if _is_audio(path):
                raise
            raise Refused(
                f"{safe} is not an audio file.", "Send WAV, FLAC, OGG, MP3 or AIFF.", status=415, code="not_audio"
            ) from error


def _is_audio(path: Path) -> bool:
    """The file begins as audio files do (or is empty, which is another fault)."""
    with path.open("rb") as handle:
        head: Any = handle.read(4)
    # An MPEG frame begins with eleven ones.
    return not head or head.startswith(_MAGIC) or (head[0] == 0xFF and len(head) > 1 and head[1] >= 0xE0)

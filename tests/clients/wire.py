"""What the simulated clients have in common: multipart bodies byte for byte, and WAV files read chunk by chunk.

Knows no client and no server.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE


def multipart(
    fields: Sequence[tuple[str, str]], file: tuple[str, str, bytes] | None, boundary: str, *, file_headers: str
) -> bytes:
    """A body whose text parts have nothing but their name, and whose file, if there is one, comes last.

    Args:
      file: field, file name, bytes.
      file_headers: lines of the file's part after its first, each ended with CRLF.
    """
    body = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields
    )
    if file is not None:
        field, name, data = file
        disposition = f'Content-Disposition: form-data; name="{field}"; filename="{name}"'
        body += f"--{boundary}\r\n{disposition}\r\n{file_headers}\r\n".encode() + data + b"\r\n"
    return body + f"--{boundary}--\r\n".encode()


def exact_samples(bars: int, beats_per_bar: int, bpm: str | int, rate: int) -> int:
    """Samples of so many bars, from the tempo's decimal text."""
    return round(Fraction(bars * beats_per_bar * 60 * rate) / Fraction(bpm))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wav:
    """A WAV file as a DAW reads it; `kind` is PCM or FLOAT."""

    kind: int
    channels: int
    rate: int
    bits: int
    frames: int
    samples: np.ndarray


def read_wav(data: bytes) -> Wav:
    """Walks over the chunks; asserts that sizes add up and that the format is one that every client reads."""
    assert data[:4] == b"RIFF" and data[8:12] == b"WAVE"
    assert struct.unpack_from("<I", data, 4)[0] == len(data) - 8, "the RIFF's size is not the file's"
    chunks: dict[bytes, bytes] = {}
    place = 12
    while place < len(data):
        name, size = data[place : place + 4], struct.unpack_from("<I", data, place + 4)[0]
        assert place + 8 + size <= len(data), f"chunk {name!r} is cut off"
        chunks[name] = data[place + 8 : place + 8 + size]
        place += 8 + size + size % 2
    kind, channels, rate, byte_rate, block, bits = struct.unpack_from("<HHIIHH", chunks[b"fmt "])
    assert byte_rate == rate * block and block == channels * bits // 8
    assert (kind, bits) in ((PCM, 16), (PCM, 24), (PCM, 32), (FLOAT, 32))
    raw = chunks[b"data"]
    assert len(raw) % block == 0
    samples = np.frombuffer(raw, "<f4").reshape(-1, channels) if kind == FLOAT else np.zeros((len(raw) // block, 0))
    return Wav(kind=kind, channels=channels, rate=rate, bits=bits, frames=len(raw) // block, samples=samples)


def with_filler(samples: np.ndarray, rate: int) -> bytes:
    """A float32 WAV as Apple's writers make it: a filler chunk before the data.

    Args:
      samples: float32 [n, channels].
    """
    channels = samples.shape[1]
    fmt = struct.pack("<HHIIHH", FLOAT, channels, rate, rate * channels * 4, channels * 4, 32)
    data = np.ascontiguousarray(samples, "<f4").tobytes()
    parts = [(b"JUNK", bytes(28)), (b"fmt ", fmt), (b"FLLR", bytes(4044)), (b"data", data)]
    body = b"WAVE" + b"".join(name + struct.pack("<I", len(part)) + part for name, part in parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body

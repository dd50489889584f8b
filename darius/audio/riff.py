"""The WAV format: whole files from samples, and the ACID chunk in which loops state tempo, beats and meter.

Written here rather than by libsndfile so that the same samples always give the same bytes: its float files carry a
PEAK chunk with the time of day.
"""

from __future__ import annotations

import dataclasses
import math
import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from darius.audio.bars import MAX_BPM, MIN_BPM
from darius.audio.waveform import Samples, Waveform
from darius.errors import InvalidOption, OutputFailed

_ACID = struct.Struct("<IHHfIHHf")
"""flags, root note, 0x8000, 0, beats, meter's lower and upper number, tempo (24 bytes)."""
_STRETCH = 0x04
"""The flag of a loop that follows the song's tempo (bit 0 would be a one-shot)."""
_MAX_CHUNKS = 1000
_MAX_BYTES = (1 << 32) - 1
_BYTES = {"FLOAT": 4, "PCM_24": 3, "PCM_16": 2}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopInfo:
    """What an ACID chunk says of a loop."""

    tempo: float
    beats: int
    beats_per_bar: int = 4


def _encode(samples: Samples, subtype: str) -> bytes:
    if subtype == "FLOAT":
        return samples.astype("<f4").tobytes()
    full = 1 << (8 * _BYTES[subtype] - 1)
    whole = np.clip(np.rint(samples.astype(np.float64) * full), -full, full - 1).astype("<i4")
    if subtype == "PCM_16":
        return whole.astype("<i2").tobytes()
    return np.ascontiguousarray(whole).view(np.uint8).reshape(*whole.shape, 4)[..., :3].tobytes()


def _chunk(name: bytes, body: bytes) -> bytes:
    """A RIFF chunk: name, size, body, and a zero byte after a body of odd length."""
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _acid(loop: LoopInfo) -> bytes:
    return _ACID.pack(_STRETCH, 60, 0x8000, 0.0, loop.beats, 4, loop.beats_per_bar, loop.tempo)


def wav_bytes(waveform: Waveform, *, subtype: str = "FLOAT", loop: LoopInfo | None = None) -> bytes:
    """A whole WAV file.

    Args:
      subtype: "FLOAT" (32-bit), "PCM_24" or "PCM_16"; the integer ones clip at full scale.
      loop: written as an ACID chunk after the samples.
    """
    if subtype not in _BYTES:
        raise InvalidOption(f"A WAV cannot be written as {subtype}.", f"Use one of {', '.join(_BYTES)}.")
    size = _BYTES[subtype]
    frame = size * waveform.channels
    kind = 3 if subtype == "FLOAT" else 1
    header = struct.pack("<HHIIHH", kind, waveform.channels, waveform.rate, waveform.rate * frame, frame, 8 * size)
    chunks = [_chunk(b"fmt ", header + b"\0\0" if kind == 3 else header)]
    if kind == 3:
        chunks.append(_chunk(b"fact", struct.pack("<I", len(waveform))))
    chunks.append(_chunk(b"data", _encode(waveform.samples, subtype)))
    if loop:
        chunks.append(_chunk(b"acid", _acid(loop)))
    body = b"WAVE" + b"".join(chunks)
    if len(body) > _MAX_BYTES:
        raise OutputFailed("A WAV file cannot be larger than 4 GiB.", "Write a .flac instead.")
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _chunks(handle: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Names and sizes of a WAV's chunks, the handle standing at each body; stops quietly at garbage or the end."""
    head = handle.read(12)
    if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return
    for _ in range(_MAX_CHUNKS):
        header = handle.read(8)
        if len(header) < 8:
            return
        size = int.from_bytes(header[4:], "little")
        body = handle.tell()
        yield header[:4], size
        handle.seek(body + size + size % 2, os.SEEK_SET)


def read_loop_info(handle: BinaryIO) -> LoopInfo | None:
    """The ACID chunk of an open WAV; None if there is none, or it is cut short or holds no usable tempo."""
    for name, size in _chunks(handle):
        if name != b"acid" or size < _ACID.size:
            continue
        body = handle.read(_ACID.size)
        if len(body) < _ACID.size:
            return None
        flags, _, _, _, beats, _, upper, tempo = _ACID.unpack(body)
        one_shot = flags & 0x01
        if one_shot or not math.isfinite(tempo) or not MIN_BPM <= tempo <= MAX_BPM:
            return None
        return LoopInfo(tempo=float(tempo), beats=int(beats), beats_per_bar=int(upper) or 4)
    return None

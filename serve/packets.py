"""Chunks as they go to clients: WAV, metadata of exact JSON types, and both as JSON. Knows no session and no socket."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from darius.audio.bars import exact_bpm
from darius.audio.riff import wav_bytes
from darius.audio.waveform import Waveform
from darius.jam import Chunk, JamSettings

FRAME_RATE = 25
"""Codec frames a second, in which clients count chunks without bars."""
MOST_BYTES = 64 << 20
"""Of a chunk's WAV; a longer one is refused when the jam is started."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Packet:
    """A chunk, ready to go.

    Attributes:
      index: from 0.
      wav: float32 stereo.
      metadata: what is told with it.
      members: the JSON members "index", "audio_base64" and "metadata", without braces around them.
    """

    index: int
    wav: bytes
    metadata: Mapping[str, Any]
    members: bytes


def pack(chunk: Chunk, settings: JamSettings) -> Packet:
    """The chunk as it goes to clients; takes milliseconds a megabyte, so not on the event loop."""
    wav = wav_bytes(Waveform(chunk.samples, chunk.rate))
    facts = _in_bars(chunk, settings) if settings.bpm is not None else _without_bars(chunk, settings)
    told = {**facts, "start_sample": chunk.start, "seed": chunk.seed}
    members = b'"index":%d,"audio_base64":"%s","metadata":%s' % (
        chunk.index,
        base64.b64encode(wav),
        json.dumps(told, separators=(",", ":"), allow_nan=False).encode(),
    )
    return Packet(index=chunk.index, wav=wav, metadata=told, members=members)


def wav_size(settings: JamSettings) -> int:
    """Bytes of the largest chunk's samples."""
    return (round(settings.chunk_duration * settings.rate) + 1 + settings.overlap) * 8


def beats_a_minute(settings: JamSettings) -> int | float | None:
    """The tempo as JSON says it: whole numbers without a point, since some clients insist on them."""
    if settings.bpm is None:
        return None
    exact = exact_bpm(settings.bpm)
    return exact.numerator if exact.denominator == 1 else float(exact)


def _in_bars(chunk: Chunk, settings: JamSettings) -> dict[str, Any]:
    return {
        "bpm": beats_a_minute(settings),
        "bars": settings.bars_per_chunk,
        "beats_per_bar": settings.beats_per_bar,
        "sample_rate": chunk.rate,
        "channels": chunk.samples.shape[1],
        "total_samples": len(chunk.samples),
        "seconds_per_bar": float(settings.seconds_per_bar or 0),
        "loop_duration_seconds": float(settings.chunk_duration),
        **_dials(chunk),
    }


def _without_bars(chunk: Chunk, settings: JamSettings) -> dict[str, Any]:
    return {
        "sample_rate": chunk.rate,
        "channels": chunk.samples.shape[1],
        "total_samples": len(chunk.samples),
        "chunk_frames": round(settings.chunk_duration * FRAME_RATE),
        "chunk_seconds": float(settings.chunk_duration),
        "crossfade_seconds": float(settings.overlap_seconds),
        **_dials(chunk),
    }


def _dials(chunk: Chunk) -> dict[str, Any]:
    dials = chunk.dials
    return {
        "guidance_weight": float(dials.guidance),
        "temperature": float(dials.temperature),
        "topk": int(dials.top_k),
    }

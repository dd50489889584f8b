"""Finished one-shots as they go to clients: WAV, metadata of exact JSON types, both as one body. Knows no route."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

from pydantic import BaseModel

from darius import piece
from darius.audio.bars import bar_seconds
from darius.audio.loudness import Level, measure
from darius.audio.riff import wav_bytes
from darius.audio.tempo import TempoEstimate
from darius.audio.waveform import Waveform
from darius.continuation import ContinuationOptions

CROSSFADE_SECONDS = 0.04


class Loudness(BaseModel):
    """The one gain, and the levels of the first bars that it comes from (null where they cannot be measured)."""

    mode: str
    per_bar_gain_db: list[float]
    reference_lufs: float | None
    reference_rms_db: float | None
    music_lufs: float | None
    music_rms_db: float | None
    music_peak_db: float | None


class Metadata(BaseModel):
    """What was asked for, and what was made."""

    bpm: int | float
    bars: int
    beats_per_bar: int
    styles: list[str]
    style_weights: list[float]
    loop_weight: float
    loudness: Loudness
    sample_rate: int
    channels: int
    crossfade_seconds: float
    total_samples: int
    seconds_per_bar: float
    loop_duration_seconds: float
    guidance_weight: float
    temperature: float
    topk: int
    seed: int
    model: str
    detected_bpm: float | None


def body(
    take: piece.Take,
    plan: piece.Plan,
    options: ContinuationOptions,
    request_id: str,
    model: str,
    *,
    found: TempoEstimate | None,
) -> bytes:
    """The reply as JSON; takes milliseconds a megabyte, so not on the event loop.

    Args:
      found: the loop's tempo.
    """
    told = json.dumps(
        {"request_id": request_id, "metadata": metadata(take, plan, options, model, found=found)}, allow_nan=False
    )
    return b'{"audio_base64":"%s",%s' % (base64.b64encode(wav_bytes(take.waveform)), told[1:].encode())


def metadata(
    take: piece.Take, plan: piece.Plan, options: ContinuationOptions, model: str, *, found: TempoEstimate | None
) -> dict[str, Any]:
    """What is told beside the music; see `Metadata`."""
    seconds = bar_seconds(1, options.beats_per_bar, plan.bpm)
    detected = float(plan.bpm) if found is not None and options.bpm is None else None
    return {
        "bpm": plan.bpm.numerator if plan.bpm.denominator == 1 else float(plan.bpm),
        "bars": options.bars,
        "beats_per_bar": options.beats_per_bar,
        "styles": [text for text, _ in options.style.texts],
        "style_weights": [weight for _, weight in options.style.texts],
        "loop_weight": options.style.loop_weight,
        "loudness": _loudness(take, plan, options),
        "sample_rate": plan.rate,
        "channels": take.waveform.channels,
        "crossfade_seconds": CROSSFADE_SECONDS,
        "total_samples": len(take.waveform),
        "seconds_per_bar": float(seconds),
        "loop_duration_seconds": float(seconds * options.bars),
        "guidance_weight": options.guidance,
        "temperature": float(options.temperature),
        "topk": int(options.top_k),
        "seed": options.seed,
        "model": model,
        "detected_bpm": detected,
    }


def _loudness(take: piece.Take, plan: piece.Plan, options: ContinuationOptions) -> dict[str, Any]:
    reference = Level(lufs=None, rms_db=-math.inf, peak_db=-math.inf)
    if plan.loop is not None:
        reference = measure(Waveform(plan.loop.samples[: round(plan.bar * plan.loop.rate / plan.rate)], plan.loop.rate))
    music = measure(take.waveform.cut(0, plan.bar))
    gain = 20 * math.log10(take.gain) if take.gain else 0.0
    return {
        "mode": options.loudness if plan.loop is not None else "peak",
        "per_bar_gain_db": [round(gain, 3)] * options.bars,
        "reference_lufs": _number(reference.lufs),
        "reference_rms_db": _number(reference.rms_db),
        "music_lufs": _number(music.lufs),
        "music_rms_db": _number(music.rms_db),
        "music_peak_db": _number(music.peak_db),
    }


def _number(value: float | None) -> float | None:
    return round(value, 2) if value is not None and math.isfinite(value) else None

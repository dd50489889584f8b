"""What /jam/* answers, as schemas for the OpenAPI document. Knows no route."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class Done(BaseModel):
    """It is done."""

    ok: Literal[True]


class Started(Done):
    """A jam plays."""

    session_id: str
    status: Literal["started"]


class ChunkMetadata(BaseModel):
    """What is told with a chunk; `start_sample` is its place in the whole jam."""

    bpm: int | float
    bars: int
    beats_per_bar: int
    sample_rate: int
    channels: int
    total_samples: int
    seconds_per_bar: float
    loop_duration_seconds: float
    guidance_weight: float
    temperature: float
    topk: int
    start_sample: int
    seed: int


class ChunkBody(BaseModel):
    """A chunk as base64 of a float32 WAV."""

    index: int
    audio_base64: str
    metadata: ChunkMetadata


class NextChunk(Done):
    """The next chunk; it is not given again."""

    chunk: ChunkBody


class Consumed(Done):
    consumed: int


class Spliced(Done):
    """`anchor_bars`: the bars that are really used."""

    anchor_bars: float


class Stopped(Done):
    stopped: Literal[True]


class StoppedAll(Done):
    stopped_sessions: list[str]
    count: int


class JamStatus(Done):
    """How a jam is going; numbers of bars are null for a stream without bars."""

    session_id: str
    running: bool
    kind: str
    model: str
    last_generated_index: int
    last_delivered_index: int
    last_consumed_index: int
    buffer_ahead: int
    queued_chunks: int
    late_chunks: int
    bpm: int | float | None
    beats_per_bar: int
    bars_per_chunk: int
    seconds_per_bar: float | None
    chunk_duration_seconds: float
    target_sample_rate: int
    last_chunk_started_at: float | None
    last_chunk_completed_at: float | None
    running_seconds: float
    guidance_weight: float
    temperature: float
    topk: int
    styles: list[str]
    style_weights: list[float]
    loop_weight: float
    mean: float
    centroid_weights: list[float]
    style_ramp_seconds: float
    seed: int

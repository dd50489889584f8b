"""How fast an engine plays: chunk time, real-time factor, memory and compile time, for batches of streams.

Random weights of the right shape measure speed honestly: the arithmetic does not depend on the values.
"""

from __future__ import annotations

import dataclasses
import math
import resource
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from darius import session
from darius.devices import memory_errors

if TYPE_CHECKING:
    from darius.engine import Engine


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchSpeed:
    """Chunk times of one batch size, in seconds; codec included.

    Attributes:
      batch: streams decoded together.
      chunks: that were timed.
      compile_seconds: the first chunk (compilation included) less a usual one.
      p50, p95: of a whole chunk, tokens and audio.
      codec_p50: of the codec alone, measured apart.
      language_model_p50: of all the rest.
      real_time_factor: seconds of music, all streams together, per second.
      peak_bytes: the most memory in use so far: the device's own count, or the process's on a CPU.
    """

    batch: int
    chunks: int
    compile_seconds: float
    p50: float
    p95: float
    language_model_p50: float
    codec_p50: float
    real_time_factor: float
    peak_bytes: int | None


def measure(
    engine: Engine,
    batches: Sequence[int],
    *,
    chunks: int = 10,
    guidance: float = 5.0,
    seconds: float = math.inf,
    report: Callable[[str, float], None],
) -> list[BatchSpeed]:
    """Measures each batch size in turn, `chunks` chunks each after one to compile; fewer after so many `seconds`."""
    results = []
    for i, batch in enumerate(batches):
        report(f"{batch} streams", i / len(batches))
        with memory_errors(f"playing {batch} streams"):
            results.append(_measure_batch(engine, batch, chunks, guidance, seconds))
    report("done", 1.0)
    return results


def _measure_batch(engine: Engine, batch: int, chunks: int, guidance: float, seconds: float) -> BatchSpeed:
    until = time.perf_counter() + seconds
    import jax

    rng = np.random.default_rng(0)
    context = rng.integers(0, engine.codebook_size, (engine.memory_frames, engine.levels), np.int32)
    style = rng.integers(0, engine.codebook_size, engine.style_levels, np.int32)
    knobs = [session.Knobs(style=style, guidance=guidance)] * batch
    streams = session.gather([session.start(engine, context, seed) for seed in range(batch)])

    def chunk() -> None:
        nonlocal streams
        _, _, streams = session.advance(engine, streams, knobs)

    first = _seconds(chunk)
    whole = [_seconds(chunk)]
    while len(whole) < chunks and time.perf_counter() < until:
        whole.append(_seconds(chunk))
    codes = jax.device_put(streams.context[:, -engine.chunk_frames :], engine.device)  # as they come from the model
    engine.codec.step(streams.codec, codes)  # compiled, where these codes are others to the compiler than the model's
    codec_times = [
        _seconds(lambda: engine.codec.step(streams.codec, codes)) for _ in range(min(max(chunks // 2, 2), 10))
    ]
    p50, codec_p50 = float(np.median(whole)), float(np.median(codec_times))
    return BatchSpeed(
        batch=batch,
        chunks=len(whole),
        compile_seconds=max(first - p50, 0.0),
        p50=p50,
        p95=float(np.percentile(whole, 95)),
        language_model_p50=max(p50 - codec_p50, 0.0),
        codec_p50=codec_p50,
        real_time_factor=batch * engine.chunk_frames / engine.frame_rate / p50,
        peak_bytes=peak_bytes(engine),
    )


def _seconds(work: Callable[[], Any]) -> float:
    import jax

    began = time.perf_counter()
    jax.block_until_ready(work())
    return time.perf_counter() - began


def peak_bytes(engine: Engine) -> int | None:
    """The most memory in use so far: the device's own count, or the process's on a CPU."""
    device = engine.device
    if device.platform == "cpu":
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    stats = device.memory_stats() or {}
    return stats.get("peak_bytes_in_use")

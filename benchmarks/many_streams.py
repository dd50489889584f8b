"""Many streams in real time through the conductor, each with knobs and a seed of its own: how late their chunks come.

python -m benchmarks.many_streams MODEL STREAMS BUCKET SECONDS
Every stream asks for its next chunk when the last begins to play, as a jam does; its deadline is the end of that one.
"""

# ruff: noqa: T201 (a script that prints)

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

import numpy as np

import darius
from darius import session
from darius.batching import Conductor


def main() -> None:
    name, streams, bucket, seconds = sys.argv[1], *map(int, sys.argv[2:5])
    began = time.monotonic()
    engine = darius.load(name)
    loaded = time.monotonic() - began
    conductor = Conductor(engine, buckets=(bucket,))
    began = time.monotonic()
    chunk_seconds = conductor.warm().result()[bucket]
    warmed = time.monotonic() - began
    print(json.dumps({"load_s": loaded, "warm_s": warmed, "chunk_s": chunk_seconds}), flush=True)
    rng = np.random.default_rng(0)
    music = engine.chunk_frames / engine.frame_rate
    silence = session.start(engine, np.zeros((0, engine.levels), np.int32), 0)
    knobs = [own_knobs(rng, engine) for _ in range(streams)]
    asked: dict[Future[Any], tuple[int, float, float]] = {}
    start = time.monotonic()

    def ask(index: int, state: session.Streams, due: float) -> None:
        future = conductor.advance(state, knobs[index], deadline=due, key=index)
        asked[future] = (index, time.monotonic(), due)

    for index in range(streams):
        first = session.Streams(
            context=silence.context, codec=silence.codec, chunk=silence.chunk, seed=np.array([index], np.uint32)
        )
        ask(index, first, start + 2 * music)
    took, late, calls = [], 0, 0
    waiting: list[tuple[float, int, session.Streams, float]] = []
    while time.monotonic() - start < seconds:
        now = time.monotonic()
        for item in [item for item in waiting if item[0] <= now]:
            waiting.remove(item)
            ask(*item[1:])
        done, _ = wait(asked, timeout=0.01, return_when=FIRST_COMPLETED)
        for future in done:
            index, at, due = asked.pop(future)
            result, now = future.result(), time.monotonic()
            took.append(now - at)
            late += now > due
            calls += 1
            # The next is asked for when this one begins to play: at once, or when the one before it ends.
            waiting.append((max(now, due - music), index, result.streams, max(now, due) + music))
    stats = conductor.stats()
    p50, p95, p99 = np.percentile(took, [50, 95, 99])
    print(
        json.dumps(
            {
                "model": name,
                "streams": streams,
                "bucket": bucket,
                "chunks": calls,
                "late": late,
                "p50_s": round(float(p50), 3),
                "p95_s": round(float(p95), 3),
                "p99_s": round(float(p99), 3),
                "calls": stats.calls,
                "call_mean_s": round(stats.seconds.total / max(stats.calls, 1), 3),
                "peak_GiB": round((engine.device.memory_stats() or {}).get("peak_bytes_in_use", 0) / 2**30, 2),
            }
        ),
        flush=True,
    )
    conductor.close(0.1)


def own_knobs(rng: np.random.Generator, engine: Any) -> session.Knobs:
    return session.Knobs(
        style=rng.integers(0, engine.codebook_size, engine.style_levels, np.int32),
        guidance=float(rng.uniform(1, 6)),
        temperature=float(rng.uniform(0.8, 1.3)),
        top_k=int(rng.integers(10, 60)),
    )


if __name__ == "__main__":
    main()

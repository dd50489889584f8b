"""A chunk of `large` in many ways: compiler options, plans, batch sizes; where its time goes. One JSON line each.

python -m benchmarks.decode_variants STAGE... ; SMOKE=1 does the same with tiny.
"""

# ruff: noqa: T201, BLE001 (a script that prints; the next stage is worth its time whatever went wrong with this one)

from __future__ import annotations

import collections
import dataclasses
import functools
import gzip
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from darius import random_weights
from darius.depthformer import decode as decoding
from darius.depthformer import steps
from darius.depthformer.decode import DecodePlan, Decoder
from darius.depthformer.network import encode_packed
from darius.depthformer.sampling import Controls

SMOKE = bool(os.environ.get("SMOKE"))
SIZE = "tiny" if SMOKE else "large"
BUFFERS = "FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,DYNAMIC_SLICE_FUSION"
GRAPHS = {"xla_gpu_enable_command_buffer": f"{BUFFERS},WHILE,CONDITIONAL", "xla_gpu_graph_min_graph_size": "1"}
FLAGS: dict[str, dict[str, str]] = {
    "none": {},
    "graphs": GRAPHS,
    "graphs-no-cublas": {**GRAPHS, "xla_gpu_enable_triton_gemm": "true", "xla_gpu_cublas_fallback": "false"},
}


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


@functools.cache
def params() -> Any:
    return random_weights.language_model(random_weights.config_of(SIZE))


@functools.cache
def decoder() -> Decoder:
    return Decoder(random_weights.config_of(SIZE), params(), plan=DecodePlan.for_platform("gpu"))


def tokens(batch: int) -> np.ndarray:
    layout = decoder().config.layout
    codes = np.random.default_rng(0).integers(0, layout.codebook_size, (batch, layout.context_frames, 16), np.int32)
    return layout.encoder_rows(list(codes), [np.arange(12, dtype=np.int32)] * batch)


def chunk(name: str, batch: int, flags: str, chunks: int = 10, **plan: Any) -> None:
    """One way of decoding a chunk: compile time, p50 and p95."""
    base = decoder()
    chosen = dataclasses.replace(base.plan, **plan)
    rows, controls = jnp.asarray(tokens(batch)), Controls.of(batch, seed=np.arange(batch))
    controls = jax.tree.map(jnp.asarray, controls)
    run = jax.jit(
        functools.partial(decoding.decode, base.config, chosen, {}, guided=True, listed=None, frames=50),
        compiler_options=None if SMOKE else FLAGS[flags],
    )
    began = time.perf_counter()
    program = run.lower(base.packed, None, rows, controls).compile()
    compile_seconds = time.perf_counter() - began
    memory = program.memory_analysis()
    times = timed(lambda: program(base.packed, None, rows, controls), chunks)
    say(
        stage=name,
        batch=batch,
        flags=flags,
        plan=plan,
        compile_s=round(compile_seconds, 1),
        ms=round(1000 * float(np.median(times)), 2),
        p95_ms=round(1000 * float(np.percentile(times, 95)), 2),
        temp_GiB=round(getattr(memory, "temp_size_in_bytes", 0) / 2**30, 2),
        peak_GiB=peak(),
    )
    if name == "profile":
        profile(lambda: jax.block_until_ready(program(base.packed, None, rows, controls)), f"{batch}-{flags}")


def timed(work: Any, count: int) -> list[float]:
    jax.block_until_ready(work())
    times = []
    for _ in range(2 if SMOKE else count):
        began = time.perf_counter()
        jax.block_until_ready(work())
        times.append(time.perf_counter() - began)
    return times


def peak() -> float:
    return round((jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0) / 2**30, 2)


def parts(batch: int) -> None:
    """Encoder; encoder and cross keys and values; a chunk's temporal steps alone; its depth steps alone."""
    base = decoder()
    config, packed = base.config, base.packed
    rows = jnp.asarray(tokens(batch))
    both = decoding.with_unconditioned(config, rows)

    def encoder(packed: Any, rows: Any) -> Any:
        one = lambda row: encode_packed(config, packed, row[None])[0]  # noqa: E731
        return jax.lax.map(one, rows, batch_size=16) if len(rows) > 16 else encode_packed(config, packed, rows)

    def started(packed: Any, rows: Any) -> Any:
        return steps.start(config, packed, rows)

    def temporal(packed: Any, rows: Any, contexts: Any, state: Any) -> Any:
        def body(frame: Any, state: Any) -> Any:
            vector, memory = steps.temporal_step(config, packed, contexts, state, frame)
            return steps.FrameState(memory, vector)

        return jax.lax.fori_loop(0, 50, body, state)

    def report(name: str, flags: str, run: Any, *arguments: Any) -> Any:
        call = jax.jit(run, compiler_options=None if SMOKE else FLAGS[flags])
        times = timed(lambda: call(*arguments), 5)
        say(
            stage="parts", batch=batch, part=name, flags=flags, ms=round(1000 * float(np.median(times)), 2), peak=peak()
        )
        return call(*arguments)

    report("encoder", "none", encoder, packed, both)
    contexts, state = report("encoder and cross", "none", started, packed, both)
    for flags in ("none", "graphs"):
        report("temporal", flags, temporal, packed, both, contexts, state)


def codec() -> None:
    from darius import parts as model_parts  # noqa: F401

    place = jax.devices()[0]
    found = random_weights.parts_of(SIZE).load_codec(place, "float32" if SMOKE else "bfloat16")
    for batch in (1, 2) if SMOKE else (1, 16, 64, 128):
        state = found.start(batch)
        codes = jnp.asarray(np.random.default_rng(0).integers(0, 1024, (batch, 50, 16), np.int32))
        began = time.perf_counter()
        jax.block_until_ready(found.step(state, codes))
        first = time.perf_counter() - began
        times = timed(lambda s=state, c=codes: found.step(s, c), 8)
        sizes = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        say(
            stage="codec",
            batch=batch,
            first_s=round(first, 1),
            ms=round(1000 * float(np.median(times)), 2),
            state_MiB=round(sizes / 2**20, 1),
            peak_GiB=peak(),
        )


def profile(work: Any, name: str) -> None:
    """The kernels that take the most time, of a trace that JAX's profiler writes."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            work()
        for file in Path(folder).rglob("*.trace.json.gz"):
            events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
            names = {e["pid"]: e["args"]["name"] for e in events if e.get("name") == "process_name"}
            totals: dict[str, list[float]] = collections.defaultdict(lambda: [0, 0.0])
            for event in events:
                if event.get("ph") == "X" and "GPU" in str(names.get(event["pid"], "")):
                    totals[event["name"][:90]][0] += 1
                    totals[event["name"][:90]][1] += event["dur"]
            top = sorted(totals.items(), key=lambda item: -item[1][1])[:40]
            say(stage="kernels", of=name, kernels=sum(int(v[0]) for v in totals.values()))
            for kernel, (count, micros) in top:
                say(kernel=kernel, count=count, ms=round(micros / 1000, 3), us_each=round(micros / count, 2))


STAGES = {
    "one": lambda: [chunk("one", 1, flags) for flags in FLAGS],
    "unroll": lambda: [
        chunk("unroll", 1, "graphs", unroll_levels=4),
        chunk("unroll", 1, "graphs", unroll_levels=1),
        chunk("unroll", 1, "graphs", exact_frames=True),
    ],
    "parts1": lambda: parts(1),
    "parts64": lambda: parts(2 if SMOKE else 64),
    "profile1": lambda: chunk("profile", 1, "graphs", chunks=2),
    "profile64": lambda: chunk("profile", 2 if SMOKE else 64, "none", chunks=2),
    "batches": lambda: [chunk("batches", batch, "none", chunks=3) for batch in ((2,) if SMOKE else (16, 64, 128))],
    "b128": lambda: chunk("batches", 2 if SMOKE else 128, "graphs", chunks=3),
    "b256": lambda: chunk("batches", 2 if SMOKE else 256, "none", chunks=3),
    "codec": codec,
}


def run(stages: Mapping[str, Callable[[], None]]) -> None:
    """Those named on the command line, or all; each says how long it took, and whether it failed."""
    for name in sys.argv[1:] or stages:
        began = time.perf_counter()
        try:
            stages[name]()
        except Exception as error:  # the next stage is worth its time whatever went wrong with this one
            say(stage=name, failed=f"{type(error).__name__}: {error}"[:1500])
        say(stage=name, took_s=round(time.perf_counter() - began, 1), peak_GiB=peak())


if __name__ == "__main__":
    run(STAGES)

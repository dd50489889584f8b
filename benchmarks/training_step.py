"""Seconds and memory of a training step at full size, with random weights: full or LoRA, on one device or several.

python -m benchmarks.training_step --size large --batch 8 [--lora 16] [--devices 2] [--split]
Random weights of the right shape measure speed and memory honestly; the losses show that it trains at all.
"""

# ruff: noqa: T201 (a script that prints)

from __future__ import annotations

import argparse
import collections
import gzip
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from darius.depthformer import weights
from darius.depthformer.config import DepthformerConfig
from finetune import lora, loss, sharding, stacks, step

FIRST = 1_860_000
"""The pretrained model's step, from which a finetune's learning rate goes on."""
PROFILED = 3
"""Steps that a profile is taken of."""
NOISE = np.random.default_rng(0).standard_normal((1 << 24) + 77, np.float32)


def tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Noise at about the scale of a trained tensor; one stretch of noise serves all, since drawing takes longest."""
    if name.endswith("scale"):
        return np.ones(shape, np.float32)
    values = np.resize(NOISE, shape)
    if name == weights.EMBEDDING:
        return values
    values *= shape[-2] ** -0.5
    return values / 8 if name.endswith("query/kernel") else values


def batch(config: DepthformerConfig, place: Any, seed: int, size: int, micro: int) -> step.Batch:
    """Random windows of 16 codes a level, so that there is something to learn."""
    layout, rng = config.layout, np.random.default_rng(seed)

    def codes(frames: int, levels: int) -> np.ndarray:
        return rng.integers(0, layout.codebook_size, (size, frames, levels), dtype=np.int32) % 16

    context = layout.codec_ids(codes(layout.context_frames, layout.context_levels)).reshape(size, -1)
    inputs = np.concatenate([context, layout.style_ids(codes(1, layout.context_style_levels)[:, 0])], 1)
    targets = layout.codec_ids(codes(layout.chunk_frames, layout.codec_levels)).reshape(size, -1)
    parts = (part.reshape(size // micro, micro, -1) for part in (inputs, targets))
    return step.Batch(*(sharding.put(part, place.batch) for part in parts))


def main() -> None:
    args = arguments()
    micro = args.micro_batch or args.batch
    config = getattr(DepthformerConfig, args.size)()
    shapes = stacks.shapes(weights.shapes(config))
    place = sharding.place(jax.default_backend(), args.devices, split=args.split)
    params = {name: tensor(name, shape) for name, shape in shapes.items()}
    frozen: dict[str, Any] = {}
    if args.lora:
        trained = jax.tree.map(np.asarray, lora.init(shapes, args.lora, 0))
        for name, value in params.items():
            frozen |= place.put_params({name: value}, np.float32 if name == weights.LOGITS else jnp.bfloat16)
    else:
        trained = params
    dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    options = step.StepOptions(
        loss=loss.LossOptions(dtype=dtype, fused=args.attention), lora=args.lora > 0, step_offset=FIRST
    )
    state = step.start(FIRST, trained, place, lora=args.lora > 0)
    run = step.make(config, options, place, state)
    losses, seconds = [], []
    for index in range(args.steps):
        window = batch(config, place, index, args.batch, micro)
        began = time.perf_counter()
        state, metrics = run(state, frozen, window)
        losses.append(round(float(metrics.sums.cross_entropy.sum()) / (args.batch * config.layout.decoder_length), 5))
        seconds.append(time.perf_counter() - began)
    peaks = [(device.memory_stats() or {}).get("peak_bytes_in_use", 0) for device in place.mesh.devices.flat]
    facts = vars(args) | {
        "device": jax.devices()[0].device_kind,
        "peak_GiB": round(max(peaks) / 2**30, 2),
        "compile_s": round(seconds[0], 1),
        "step_s": round(float(np.median(seconds[1:])), 4),
        "losses": losses,
    }
    print(json.dumps(facts), flush=True)
    if args.profile:

        def more() -> None:
            nonlocal state
            for index in range(PROFILED):
                state, metrics = run(state, frozen, batch(config, place, index, args.batch, micro))
            jax.block_until_ready(metrics)

        profile(more, args.profile)


def profile(work: Callable[[], None], count: int) -> None:
    """The kernels that take the most time of one device, with the operation that each belongs to, a line each."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            work()
        (file,) = Path(folder).rglob("*.trace.json.gz")
        events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    devices = [e["pid"] for e in events if e.get("name") == "process_name" and "GPU" in e["args"]["name"]]
    threads = {
        (e["pid"], e["tid"]): e["args"]["name"]
        for e in events
        if e.get("name") == "thread_name" and e["pid"] in devices[:1]
    }
    # Other threads of a device show the same kernels again, by operation and by module.
    streams = {thread for thread, name in threads.items() if "Stream" in name} or set(threads)
    totals: dict[tuple[str, str], list[float]] = collections.defaultdict(lambda: [0, 0.0])
    for event in events:
        known = event.get("args", {})
        if event.get("ph") == "X" and (event["pid"], event["tid"]) in streams:
            operation = f"{known.get('hlo_op', '')} {known.get('tf_op', '')}"
            total = totals[event["name"][:60], str(operation)[-110:]]
            total[0] += 1
            total[1] += event["dur"]
    everything = sum(micros for _, micros in totals.values())
    print(json.dumps({"kernels_ms_a_step": round(everything / 1000 / PROFILED, 1)}))
    for (kernel, operation), (times, micros) in sorted(totals.items(), key=lambda item: -item[1][1])[:count]:
        ms = round(micros / 1000 / PROFILED, 2)
        print(json.dumps({"ms": ms, "times": times / PROFILED, "kernel": kernel, "of": operation}))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", default="large", choices=("tiny", "base", "large"))
    parser.add_argument("--lora", type=int, default=0, help="rank; 0 for all parameters")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--micro-batch", type=int, default=0)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--split", action="store_true", help="spread the parameters over the devices")
    parser.add_argument("--attention", choices=("cudnn", "xla"), help="the encoder's, in one kernel")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--profile", type=int, default=0, metavar="N", help="then show the N kernels that cost most")
    return parser.parse_args()


if __name__ == "__main__":
    main()

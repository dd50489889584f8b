"""One stream of `large` through its kernels: right, and how fast. One JSON line each.

python -m benchmarks.one_stream STAGE... ; NAME=VALUE among them sets a constant of the kernels, say WINDOW=3, and
BITS=8 has them read weights of 8 bits.
"""

# ruff: noqa: T201 (a script that prints)

from __future__ import annotations

import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from darius import random_weights
from darius.depthformer import fused, fused_temporal
from darius.depthformer.config import DepthformerConfig
from darius.depthformer.decode import DecodePlan, Decoder, with_unconditioned
from darius.depthformer.layers import Context, cross_key_value, padding_bias
from darius.depthformer.network import logits_packed, shift_right
from darius.depthformer.packing import Packed, pack
from darius.depthformer.sampling import Controls, guide

SIZE = "large"
CHANGES: fused.CONSTANTS = {}
BITS = [16]


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


@functools.cache
def model() -> tuple[DepthformerConfig, Packed]:
    """Both decoder stacks, and an encoder of one layer."""
    config = dataclasses.replace(random_weights.config_of(SIZE), num_encoder_layers=1)
    params = {name: np.asarray(value) for name, value in random_weights.language_model(config).items()}
    return config, jax.device_put(pack(config, params, "bfloat16", projection_dtype="bfloat16"))


def microseconds(work: Callable[[], Any], count: int = 20) -> float:
    """Of one of many launches in a row, so that the host does not count; the best of five."""
    jax.block_until_ready(work())
    times = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(count):
            made = work()
        jax.block_until_ready(made)
        times.append((time.perf_counter() - began) / count)
    return round(1e6 * min(times), 1)


def depth(rows: int) -> None:
    """A frame's levels."""
    config, packed = model()
    layout = config.layout
    compiled = fused.code(config, rows, jax.devices()[0], BITS[0], CHANGES)
    matrices = fused.prepare(config, packed, BITS[0])
    noise = jax.random.gumbel(jax.random.key(0), (layout.codec_levels, layout.codebook_size))
    known = jnp.full(layout.codec_levels, -1, jnp.int32)
    dials = jnp.asarray([5.0, 1.1, 40, layout.codec_offset], jnp.float32)
    context = jax.random.normal(jax.random.key(rows), (rows, config.embed_dim), jnp.float32)
    call = jax.jit(lambda p, k, *rest: fused.draw_frame(config, p, k, compiled, *rest))
    work = functools.partial(call, packed, matrices, context, noise, known, dials)
    us = microseconds(work)
    same = all(bool(jnp.all(a == b)) for _ in range(5) for a, b in zip(work(), work(), strict=True))
    say(stage="depth", rows=rows, us=us, us_a_level=round(us / layout.codec_levels, 2), same_again=same, **CHANGES)


def temporal(rows: int, frame: int = 25) -> None:
    """A frame's temporal stack, half way through a chunk."""
    config, packed = model()
    compiled = fused_temporal.code(config, rows, jax.devices()[0], BITS[0], CHANGES)
    length = config.layout.encoder_length
    encoded = jax.random.normal(jax.random.key(1), (rows, length, config.embed_dim), jnp.bfloat16)
    bias = padding_bias(jnp.ones((rows, length), jnp.int32), jnp.bfloat16)

    def seen(packed: Packed, encoded: jax.Array) -> Any:
        crosses = [block.cross for block in packed.temporal]
        return fused_temporal.see(config, [Context(*cross_key_value(config, c, encoded), bias) for c in crosses if c])

    arguments = (packed, fused_temporal.prepare(config, packed, BITS[0]), jax.jit(seen)(packed, encoded))
    memory = fused_temporal.empty_memory(config, rows)
    inputs = jax.random.normal(jax.random.key(2), (rows, config.embed_dim), jnp.float32)
    step = jax.jit(lambda p, k, *rest: fused_temporal.step(config, p, k, compiled, *rest), donate_argnums=3)

    def work() -> Any:
        nonlocal memory
        output, memory = step(*arguments, memory, inputs, jnp.int32(frame))
        return output

    say(stage="temporal", rows=rows, frame=frame, us=microseconds(work), **CHANGES)


def chunk(chunks: int = 50) -> None:
    """Whole chunks with the codec; and without sampling, how far from the network's most likely codes in one pass."""
    config = random_weights.config_of(SIZE)
    plan = dataclasses.replace(DecodePlan.for_platform("gpu"), kernels=True, kernel_bits=BITS[0])
    decoder = Decoder(config, random_weights.language_model(config), plan=plan)
    codec, layout = random_weights.parts_of(SIZE).load_codec(jax.devices()[0], "bfloat16"), config.layout
    codes = np.random.default_rng(0).integers(0, layout.codebook_size, (1, layout.context_frames, 16), np.int32)
    tokens = jnp.asarray(layout.encoder_rows(list(codes), [np.arange(12, dtype=np.int32)]))
    state = codec.start(1)
    for name, decode in (
        ("language model", lambda: decoder.decode_chunk(tokens, Controls.of(1, seed=3))),
        ("with the codec", lambda: codec.step(state, decoder.decode_chunk(tokens, Controls.of(1, seed=3)))),
        ("first frame", lambda: decoder.decode_chunk(tokens, Controls.of(1, seed=3), frames=1)),
    ):
        jax.block_until_ready(decode())
        times = []
        for _ in range(chunks):
            began = time.perf_counter()
            jax.block_until_ready(decode())
            times.append(1000 * (time.perf_counter() - began))
        p50, p95 = (round(float(np.percentile(times, p)), 2) for p in (50, 95))
        say(stage="chunk", what=name, chunks=chunks, p50_ms=p50, p95_ms=p95, kernels=decoder.kernels is not None)
    drawn = decoder.decode_chunk(tokens, Controls.of(1, temperature=0.0, guidance=2.0, top_k=0))
    ids = (layout.codec_offset + jnp.arange(16) * layout.codebook_size + drawn).reshape(1, -1)
    inputs = shift_right(jnp.concatenate([ids, ids]))
    network = jax.jit(functools.partial(logits_packed, config))
    both = network(
        decoder.packed if BITS[0] == 16 else fused.rounded(decoder.packed), with_unconditioned(config, tokens), inputs
    )
    together = guide(both[0], both[1], 2.0)
    short = together.max(-1) - jnp.take_along_axis(together, drawn.reshape(-1, 1), 1)[:, 0]
    say(stage="parity", short_max=float(short.max()), short_mean=float(short.mean()), std=float(together.std()))


STAGES: dict[str, Callable[[], None]] = {
    "chunk": chunk,
    "depth": lambda: depth(2),
    "depth-one": lambda: depth(1),
    "temporal": lambda: temporal(2),
    "temporal-one": lambda: temporal(1),
}


def main() -> None:
    chosen = [name for name in sys.argv[1:] if "=" not in name]
    CHANGES.update(name.split("=", 1) for name in sys.argv[1:] if "=" in name)
    BITS[0] = int(CHANGES.pop("BITS", 16))
    for name in chosen or STAGES:
        STAGES[name]()


if __name__ == "__main__":
    main()

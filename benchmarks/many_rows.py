"""What many streams of `large` cost, part by part: the encoder's attention, cross-attention, whole chunks. JSON lines.

python -m benchmarks.many_rows STAGE... ; SMOKE=1 does the same with tiny.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.decode_variants import SIZE, SMOKE, params, peak, profile, run, say, timed, tokens
from darius import hub, random_weights
from darius.depthformer import cuda, heard, steps
from darius.depthformer.decode import DecodePlan, Decoder, with_unconditioned
from darius.depthformer.heard import Heard
from darius.depthformer.layers import attend, cross_key_value, split_heads
from darius.depthformer.network import encode_packed
from darius.depthformer.packing import pack
from darius.depthformer.sampling import Controls
from darius.depthformer.steps import Attention
from darius.devices import keep_compiled_programs

LIBRARY = "xla" if SMOKE else "cudnn"
REPEATS = 2 if SMOKE else 40


@functools.cache
def decoder(**plan: Any) -> Decoder:
    usual = DecodePlan.for_platform("gpu")
    return Decoder(random_weights.config_of(SIZE), params(), plan=dataclasses.replace(usual, **plan))


def chunk(batch: int, chunks: int = 5, *, profiled: bool = False, **plan: Any) -> None:
    """Chunks of some streams: compile time, p50 and p95, memory."""
    base = decoder(**plan)
    began = time.perf_counter()
    compiled = base.lower(batch).compile()
    compile_seconds = time.perf_counter() - began
    rows, controls = tokens(batch), Controls.of(batch, seed=np.arange(batch))
    work = lambda: base.decode_chunk(rows, controls)  # noqa: E731
    times = timed(work, chunks)
    say(
        stage="chunk",
        batch=batch,
        plan=plan,
        compile_s=round(compile_seconds, 1),
        ms=round(1000 * float(np.median(times)), 2),
        p95_ms=round(1000 * float(np.percentile(times, 95)), 2),
        temp_GiB=round(compiled.memory_analysis().temp_size_in_bytes / 2**30, 2),
        peak_GiB=peak(),
    )
    if profiled:
        profile(lambda: jax.block_until_ready(work()), f"{batch}")


def check() -> None:
    """The encoder through the library, with padding too, and the kernel: how far from plain products."""
    base = decoder()
    both = np.array(with_unconditioned(base.config, jnp.asarray(tokens(2))))
    both[1, 40:60] = both[2, -7:] = 0
    expected = encode_packed(base.config, base.packed, jnp.asarray(both)).astype(jnp.float32)
    found, _ = encoded(both, Attention(fused=LIBRARY))
    far = jnp.abs(found.astype(jnp.float32) - expected)
    say(stage="check", what="encoder", max=float(far.max()), mean=float(far.mean()), std=float(expected.std()))
    layer, query = layer_and_query(4)
    plain = heard.hear(base.config, layer(None), query).astype(jnp.float32)
    keys, values = cross_key_value(base.config, base.packed.temporal[0].cross, layer(None).encoded)
    usual = attend(split_heads(base.config, query), keys, values, None, None, 0).astype(jnp.float32)
    say(stage="check", what="whole", max=float(jnp.abs(plain - usual).max()), std=float(usual.std()))
    for shape in heard.SHAPES if kernels() else ():
        kernel = heard.compiled(base.config, jax.devices()[0], shape)
        launched = jax.jit(functools.partial(heard.hear, base.config))(layer(kernel), query).astype(jnp.float32)
        say(stage="check", what=f"kernel {shape}", max=float(jnp.abs(launched - plain).max()))


def kernels() -> bool:
    return heard.possible(decoder().config, jax.devices()[0])


def encoded(rows: Any, how: Attention) -> tuple[jax.Array, float]:
    """The encoder's output, and seconds to compile."""
    base = decoder()
    run = jax.jit(lambda packed, rows: steps._encode(base.config, packed, rows, how))
    began = time.perf_counter()
    compiled = run.lower(base.packed, rows).compile()
    seconds = time.perf_counter() - began
    return compiled(base.packed, rows), seconds


def encoder() -> None:
    base = decoder()
    ways = [(None, 16), (LIBRARY, 16), (LIBRARY, 32), (LIBRARY, 64)]
    for batch in (1, 2) if SMOKE else (64, 1, 16):
        rows = with_unconditioned(base.config, jnp.asarray(tokens(batch)))
        for library, at_once in ways:
            if at_once > 16 and at_once > 2 * batch:
                continue
            how = Attention(encoder_rows=at_once, fused=library)
            run = jax.jit(lambda packed, rows, how=how: steps._encode(base.config, packed, rows, how))
            began = time.perf_counter()
            compiled = run.lower(base.packed, rows).compile()
            seconds = time.perf_counter() - began
            ms = 1000 * float(np.median(timed(lambda c=compiled, r=rows: c(base.packed, r), 5)))
            temp = compiled.memory_analysis().temp_size_in_bytes / 2**30
            say(
                stage="encoder",
                batch=batch,
                library=library,
                at_once=at_once,
                ms=round(ms, 2),
                compile_s=round(seconds, 1),
                temp_GiB=round(temp, 2),
            )


def layer_and_query(rows: int) -> tuple[Any, jax.Array]:
    config, packed = decoder().config, decoder().packed
    shape = (rows, config.layout.encoder_length, config.embed_dim)
    output = jax.random.normal(jax.random.key(1), shape, packed.embedding.dtype)
    query = jax.random.normal(jax.random.key(2), (rows, 1, config.joined_dim), packed.embedding.dtype)
    key, value = heard.matrices(config, packed.temporal[0].cross.key_value)
    bias = jnp.zeros(shape[:2], jnp.float32)
    return lambda kernel: Heard(encoded=output, bias=bias, key=key, value=value, kernel=kernel), query


def cross() -> None:
    """One layer's cross-attention, many times in one program."""
    base = decoder()
    config, device = base.config, jax.devices()[0]
    for rows in (2, 4) if SMOKE else (512, 128, 32, 2):
        layer, query = layer_and_query(rows)
        keys, values = jax.jit(functools.partial(cross_key_value, config, base.packed.temporal[0].cross))(
            layer(None).encoded
        )
        ways: dict[str, Any] = {
            "keys and values": (lambda q, kv: attend(split_heads(config, q), *kv, None, None, 0), (keys, values)),
            "whole, plain": (functools.partial(swapped, config), layer(None)),
        }
        for shape in heard.SHAPES if kernels() else ():
            ways[f"whole, kernel {shape}"] = (
                functools.partial(swapped, config),
                layer(heard.compiled(config, device, shape)),
            )
        size = layer(None).encoded.nbytes
        for name, (way, what) in ways.items():

            @jax.jit
            def many(query: jax.Array, what: Any, way: Any = way) -> jax.Array:
                return jax.lax.fori_loop(0, REPEATS, lambda _, q: way(q, what), query)

            us = 1e6 * float(np.median(timed(lambda q=query, w=what, m=many: m(q, w), 5))) / REPEATS
            say(stage="cross", rows=rows, way=name, us=round(us, 1), output_TB_per_s=round(size / us / 1e6, 2))


def swapped(config: Any, query: jax.Array, layer: Heard) -> jax.Array:
    return heard.hear(config, layer, query)


def exactness() -> None:
    """Both ways of bfloat16 against float32, two rows: which is nearer?"""
    base = decoder()
    both = with_unconditioned(base.config, jnp.asarray(tokens(1)))
    wide = pack(base.config, params(), np.float32, stacked_encoder=True)
    with jax.default_matmul_precision("highest"):
        exact = encode_packed(base.config, wide, both)
    for name, how in (("products", Attention()), ("library", Attention(fused=LIBRARY))):
        far = jnp.abs(encoded(both, how)[0].astype(jnp.float32) - exact)
        say(stage="exactness", way=name, max=float(far.max()), mean=float(far.mean()))


STAGES = {
    "check": check,
    "exactness": exactness,
    "cross": cross,
    "encoder": encoder,
    **{f"chunk{n}": functools.partial(chunk, 2 if SMOKE else n) for n in (1, 16, 32, 64, 128, 256)},
    "kv16": lambda: chunk(2 if SMOKE else 16, whole_rows=None),
    "kv32": lambda: chunk(2 if SMOKE else 32, whole_rows=None),
    "profile256": lambda: chunk(2 if SMOKE else 256, 3, profiled=True),
    "profile64": lambda: chunk(2 if SMOKE else 64, 3, profiled=True),
}


def main() -> None:
    keep_compiled_programs(hub.cache_root() / "compiled")
    say(device=jax.devices()[0].device_kind, capability=cuda.architecture(jax.devices()[0]))
    run(STAGES)


if __name__ == "__main__":
    main()

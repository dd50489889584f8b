"""A frame of the temporal stack as one CUDA kernel (`temporal_frame.cu`), for one stream in bfloat16."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from darius.depthformer import cuda
from darius.depthformer.config import DepthformerConfig
from darius.depthformer.fused import (
    CONSTANTS,
    HEAD,
    SHARED_BYTES,
    THREADS,
    code_of,
    fragments,
    input_bytes,
    pairs,
    slot_bytes,
    slot_inputs,
)
from darius.depthformer.layers import Context
from darius.depthformer.packing import MASKED, Block, Packed

WINDOW = 1
"""See `fused.WINDOW`."""

SLICE = 256
"""Keys of the encoder's output that a block attends to."""

NOWHERE = -1e30
"""Added to the scores of keys that are not there; less than MASKED."""


class TemporalKernel(NamedTuple):
    """The temporal stack's matrices in the order in which the kernel reads them; layers first."""

    query_key_value: jax.Array
    out: jax.Array
    cross_query: jax.Array
    cross_out: jax.Array
    gate_up: jax.Array
    down: jax.Array
    norm: jax.Array
    cross_norm: jax.Array
    mlp_norm: jax.Array


class Seen(NamedTuple):
    """The encoder's output as the kernel's layers see it, S slices of 256 keys."""

    keys: jax.Array  # [layers, R, S, H, 32 units of 8 keys, 2 steps of 32 dimensions, 8 keys, 4, 8 dimensions]
    values: jax.Array  # [layers, R, S, H, 8 units of 8 dimensions, 8 steps of 32 keys, 8 dimensions, 4, 8 keys]
    bias: jax.Array  # float32 [R, S * 256]


@functools.partial(jax.jit, static_argnums=(0, 2))
def prepare(config: DepthformerConfig, packed: Packed, bits: int = 16) -> TemporalKernel:
    """Orders the matrices; the temporal stack's layers must not be stacked."""
    assert not isinstance(packed.temporal, Block)
    layers: list[Block] = list(packed.temporal)
    crosses = [layer.cross for layer in layers if layer.cross is not None]

    def ordered(matrices: list[jax.Array]) -> jax.Array:
        return jnp.stack([fragments(matrix, bits) for matrix in matrices])

    return TemporalKernel(
        query_key_value=ordered([layer.query_key_value for layer in layers]),
        out=ordered([layer.out for layer in layers]),
        cross_query=ordered([cross.query for cross in crosses]),
        cross_out=ordered([cross.out for cross in crosses]),
        gate_up=jnp.stack([pairs(layer.gate_up, bits) for layer in layers]),
        down=ordered([layer.down for layer in layers]),
        norm=jnp.stack([layer.norm for layer in layers]),
        cross_norm=jnp.stack([cross.norm for cross in crosses]),
        mlp_norm=jnp.stack([layer.mlp_norm for layer in layers]),
    )


def slices(config: DepthformerConfig) -> int:
    """Slices of the encoder's output."""
    return -(-config.layout.encoder_length // SLICE)


def see(config: DepthformerConfig, contexts: Sequence[Context]) -> Seen:
    """Orders what the layers see of the encoder."""
    rows, heads, length, _ = contexts[0].keys.shape
    many = slices(config)
    missing = many * SLICE - length

    def sliced(x: jax.Array) -> jax.Array:
        x = jnp.pad(x, ((0, 0), (0, 0), (0, missing), (0, 0)))
        return x.reshape(rows, heads, many, SLICE, HEAD).swapaxes(1, 2)

    def keys(x: jax.Array) -> jax.Array:
        parts = sliced(x).reshape(rows, many, heads, SLICE // 8, 8, HEAD // 32, 4, 8)
        return parts.transpose(0, 1, 2, 3, 5, 4, 6, 7)

    def values(x: jax.Array) -> jax.Array:
        parts = sliced(x).reshape(rows, many, heads, SLICE // 32, 4, 8, HEAD // 8, 8)
        return parts.transpose(0, 1, 2, 6, 3, 7, 4, 5)

    bias = jnp.maximum(contexts[0].bias.astype(jnp.float32).reshape(rows, length), MASKED)
    return Seen(
        keys=jnp.stack([keys(context.keys) for context in contexts]),
        values=jnp.stack([values(context.values) for context in contexts]),
        bias=jnp.pad(bias, ((0, 0), (0, missing)), constant_values=NOWHERE),
    )


def empty_memory(config: DepthformerConfig, rows: int) -> jax.Array:
    """Keys and values of a chunk's frames, before the first."""
    layers, frames = config.num_temporal_layers, config.layout.chunk_frames
    return jnp.zeros((layers, 2, rows, config.num_heads, frames, HEAD), jnp.bfloat16)


def code(
    config: DepthformerConfig, rows: int, device: jax.Device, bits: int = 16, changes: CONSTANTS | None = None
) -> tuple[str, int, int]:
    """`fused.code_of` the temporal stack."""
    return code_of("temporal_frame.cu", sizes, shared_bytes, config, rows, device, bits, changes)


def sizes(config: DepthformerConfig, rows: int, blocks: int, bits: int = 16) -> CONSTANTS:
    """The kernel's constants."""
    return {
        "ROWS": rows,
        "WIDTH": config.embed_dim,
        "HEADS": config.num_heads,
        "INNER": config.mlp_dim,
        "LAYERS": config.num_temporal_layers,
        "FRAMES": config.layout.chunk_frames,
        "SLICES": slices(config),
        "BLOCKS": blocks,
        "BITS": bits,
        "SLOT_INPUTS": slot_inputs(config, bits),
        "WINDOW": WINDOW,
        "SLOTS": (SHARED_BYTES - shared_bytes(config, rows, blocks, 0, bits)) // slot_bytes(config, bits),
        "EPSILON": f"{config.norm_epsilon}f",
    }


def shared_bytes(config: DepthformerConfig, rows: int, blocks: int, slots: int, bits: int = 16) -> int:
    """Shared memory of a block; as `Shared` in the kernel."""
    units = [-(-width // 8 // blocks) for width in (3 * config.embed_dim, config.mlp_dim)]
    totals = max(units[0], 2 * units[1])
    tasks = -(-config.num_heads * rows // blocks)
    past = tasks * 2 * (2 * config.layout.chunk_frames * (HEAD + 8) + HEAD)
    floats = THREADS // 32 * (totals * rows * 8 + 2) + SLICE + 8 * HEAD
    return slots * slot_bytes(config, bits) + input_bytes(config, rows, bits) + past + 4 * floats + 256


def board_words(config: DepthformerConfig, rows: int) -> int:
    """Words that the blocks exchange."""
    many = slices(config)
    return rows * (((8 + many) * config.embed_dim + config.mlp_dim) // 2 + 4 * many * config.num_heads)


def step(
    config: DepthformerConfig,
    packed: Packed,
    kernel: TemporalKernel,
    compiled: tuple[str, int, int],
    seen: Seen,
    memory: jax.Array,
    inputs: jax.Array,
    frame: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """What the temporal stack says of a frame, and the memory with the frame in it; see `steps.temporal_step`.

    Args:
      compiled: of `code`, for as many rows as `inputs` has.
      memory: of `empty_memory`, or of the frame before.
      inputs: float32 [1 or 2, D]: the mean of the last frame's token vectors.
      frame: int32 scalar, its index within the chunk.
    """
    rows = inputs.shape[0]
    ptx, blocks, shared = compiled
    words = board_words(config, rows)
    operands = [
        *kernel,
        packed.temporal_bias,
        seen.keys,
        seen.values,
        seen.bias,
        inputs,
        frame.reshape(1),
        memory,
        jnp.zeros(words, jnp.uint32),
    ]
    results = [
        jax.ShapeDtypeStruct(inputs.shape, jnp.float32),
        jax.ShapeDtypeStruct(memory.shape, memory.dtype),
        jax.ShapeDtypeStruct((words,), jnp.uint32),
    ]
    aliases = {len(operands) - 2: 1, len(operands) - 1: 2}
    made = cuda.call(
        "temporal_frame",
        ptx,
        operands,
        results,
        grid=blocks,
        block=THREADS + 32,
        shared_bytes=shared,
        aliases=aliases,
    )
    return made[0], made[1]

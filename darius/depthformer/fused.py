"""The depth stack of a whole frame as one CUDA kernel (`depth_frame.cu`), for one stream in bfloat16. Knows no time.

In XLA's own programs a frame of one stream is some hundreds of small kernels, whose launches cost more than the work.
The kernel's blocks wait for each other's words: all must be on the device at once, one on each multiprocessor.
"""

from __future__ import annotations

import functools
import importlib.resources
import re
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from darius.depthformer import cuda
from darius.depthformer.config import DepthformerConfig
from darius.depthformer.packing import Block, Packed

HEAD = 64
THREADS = 512  # and one warp more, which sends
TILE = 256  # inputs
SHARED_BYTES = 232_448
"""What a block may have of a Hopper multiprocessor's shared memory."""

WINDOW = 2
"""Slots' worth of weights that are on their way to a block at a time."""

CONSTANTS = dict[str, int | str]


BITS = (16, 8)
"""Of a weight: bfloat16, or whole numbers with a scale an output."""


class DepthKernel(NamedTuple):
    """The depth stack's matrices in the order in which the kernel's warps read them; layers first."""

    query_key_value: jax.Array
    out: jax.Array
    gate_up: jax.Array
    down: jax.Array
    norm: jax.Array
    mlp_norm: jax.Array
    projection: jax.Array  # levels first


def fits(config: DepthformerConfig) -> bool:
    """The kernels of one stream take a model of this size."""
    layout = config.layout
    whole = config.embed_dim % 256 == 0 and config.mlp_dim % 256 == 0 and config.embed_dim <= 1024
    heads = config.head_dim == HEAD and config.joined_dim == config.embed_dim
    codes = layout.codec_levels <= 16 and layout.codebook_size <= 1024 and layout.codebook_size % 8 == 0
    return whole and heads and codes and layout.chunk_frames <= 64


def possible(config: DepthformerConfig, device: jax.Device) -> bool:
    """They can run there."""
    if cuda.architecture(device) != "90" or not fits(config) or not cuda.works(device):
        return False
    blocks = int(device.core_count)
    return all(
        _most_slots(config, blocks, bits) <= slots(config, rows, blocks, bits) for rows in (1, 2) for bits in BITS
    )


@functools.partial(jax.jit, static_argnums=(0, 2))
def prepare(config: DepthformerConfig, packed: Packed, bits: int = 16) -> DepthKernel:
    """Orders the matrices; the depth stack's layers must not be stacked."""
    assert not isinstance(packed.depth, Block)
    layers: list[Block] = list(packed.depth)

    def ordered(name: str) -> jax.Array:
        return jnp.stack([fragments(getattr(layer, name), bits) for layer in layers])

    return DepthKernel(
        query_key_value=ordered("query_key_value"),
        out=ordered("out"),
        gate_up=jnp.stack([pairs(layer.gate_up, bits) for layer in layers]),
        down=ordered("down"),
        norm=jnp.stack([layer.norm for layer in layers]),
        mlp_norm=jnp.stack([layer.mlp_norm for layer in layers]),
        projection=jnp.stack([fragments(table, bits) for table in packed.projection]),
    )


def fragments(matrix: jax.Array, bits: int = 16) -> jax.Array:
    """[inputs, outputs] -> [units of 8 outputs, tiles of 256 inputs, steps of 32, 8 outputs, 4, 8 inputs].

    A lane reads 16 bytes at once, a warp a step, as the tensor cores want them. With 8 bits steps are of 64 inputs, and
    what comes are bytes [units, 8 float32 scales and then the steps].
    """
    inputs, outputs = matrix.shape
    piece = 128 // bits
    scale, whole = quantised(matrix) if bits == 8 else (None, matrix)
    parts = whole.T.reshape(outputs // 8, 8, inputs // TILE, TILE // 4 // piece, 4, piece).transpose(0, 2, 3, 1, 4, 5)
    if scale is None:
        return parts
    weights = jax.lax.bitcast_convert_type(parts, jnp.uint8).reshape(outputs // 8, -1)
    scales = jax.lax.bitcast_convert_type(scale, jnp.uint8).reshape(outputs // 8, -1)
    return jnp.concatenate([scales, weights], axis=1)


def quantised(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    """[inputs, outputs] -> a scale float32 for each output, and int8: the nearest multiples of it, 127 at most."""
    wide = matrix.astype(jnp.float32)
    scale = jnp.maximum(jnp.abs(wide).max(axis=0), 1e-20) / 127
    return scale, jnp.round(wide / scale).astype(jnp.int8)


def rounded(packed: Packed) -> Packed:
    """Parameters whose decoder layers and projection are what 8 bits make of them: what such kernels compute with."""

    def nearest(matrix: jax.Array) -> jax.Array:
        scale, whole = quantised(matrix)
        return (whole * scale).astype(matrix.dtype)

    def each(block: Block) -> Block:
        cross = block.cross and block.cross._replace(query=nearest(block.cross.query), out=nearest(block.cross.out))
        halves = [nearest(half) for half in jnp.split(block.gate_up, 2, axis=1)]
        return block._replace(
            query_key_value=nearest(block.query_key_value),
            out=nearest(block.out),
            cross=cross,
            gate_up=jnp.concatenate(halves, axis=1),
            down=nearest(block.down),
        )

    assert isinstance(packed.temporal, tuple) and not isinstance(packed.temporal, Block)
    assert isinstance(packed.depth, tuple) and not isinstance(packed.depth, Block)
    return packed._replace(
        temporal=tuple(each(block) for block in packed.temporal),
        depth=tuple(each(block) for block in packed.depth),
        projection=jnp.stack([nearest(table) for table in packed.projection]),
    )


def pairs(gate_up: jax.Array, bits: int = 16) -> jax.Array:
    """`fragments` of two matrices side by side, their units in turns: [units, 2, ...]."""
    return jnp.stack([fragments(half, bits) for half in jnp.split(gate_up, 2, axis=1)], axis=1)


def code(
    config: DepthformerConfig, rows: int, device: jax.Device, bits: int = 16, changes: CONSTANTS | None = None
) -> tuple[str, int, int]:
    """`code_of` the depth stack."""
    return code_of("depth_frame.cu", sizes, shared_bytes, config, rows, device, bits, changes)


def code_of(
    name: str,
    sizes: Callable[[DepthformerConfig, int, int, int], CONSTANTS],
    shared_bytes: Callable[[DepthformerConfig, int, int, int, int], int],
    config: DepthformerConfig,
    rows: int,
    device: jax.Device,
    bits: int,
    changes: CONSTANTS | None = None,
) -> tuple[str, int, int]:
    """A kernel's PTX for a model on a device, how many blocks it runs in, and each one's shared memory.

    Args:
      sizes: its constants; shared_bytes: its shared memory. Both of this model, these rows, so many blocks and bits.
      bits: of a weight, see `BITS`.
      changes: constants other than the usual, to measure.

    Raises:
      CompileFailed: see `cuda.ptx`.
    """
    blocks = int(device.core_count)
    constants = {**sizes(config, rows, blocks, bits), **(changes or {})}
    return compile_for(name, constants), blocks, shared_bytes(config, rows, blocks, int(constants["SLOTS"]), bits)


def compile_for(name: str, constants: CONSTANTS) -> str:
    """PTX of one of the kernels, for Hopper."""
    options = tuple(f"-D{name}={value}" for name, value in constants.items())
    return cuda.ptx(source(name), ("--gpu-architecture=compute_90a", "--std=c++17", *options))


@functools.cache
def source(name: str) -> str:
    """A kernel's source with what it includes in its place, each once."""
    folder = importlib.resources.files("darius.depthformer")
    seen: set[str] = set()

    def read(name: str) -> str:
        if name in seen:
            return ""
        seen.add(name)
        text = (folder / name).read_text().replace("#pragma once", "")
        return re.sub(r'#include "(.+)"', lambda found: read(found[1]), text)

    return read(name)


def sizes(config: DepthformerConfig, rows: int, blocks: int, bits: int = 16) -> CONSTANTS:
    """The kernel's constants."""
    return {
        "ROWS": rows,
        "WIDTH": config.embed_dim,
        "HEADS": config.num_heads,
        "INNER": config.mlp_dim,
        "LAYERS": config.num_depth_layers,
        "LEVELS": config.layout.codec_levels,
        "CODES": config.layout.codebook_size,
        "BLOCKS": blocks,
        "BITS": bits,
        "SLOTS": slots(config, rows, blocks, bits),
        "SLOT_INPUTS": slot_inputs(config, bits),
        "WINDOW": WINDOW,
        "KEPT_LAYERS": 1,
        "EPSILON": f"{config.norm_epsilon}f",
    }


def slots(config: DepthformerConfig, rows: int, blocks: int, bits: int = 16) -> int:
    """Slots of the ring of weights: as many as fit."""
    return (SHARED_BYTES - shared_bytes(config, rows, blocks, 0, bits)) // slot_bytes(config, bits)


def slot_inputs(config: DepthformerConfig, bits: int = 16) -> int:
    """Inputs of eight outputs whose weights fill a slot: 8 KiB of them at most."""
    inputs = 8192 // bits
    while config.embed_dim % inputs:
        inputs //= 2
    return inputs


def slot_bytes(config: DepthformerConfig, bits: int) -> int:
    """A slot with its gates, and with 8 bits with its scales."""
    return bits * slot_inputs(config, bits) + 16 + (32 if bits == 8 else 0)


def input_bytes(config: DepthformerConfig, rows: int, bits: int) -> int:
    """What a product reads, in shared memory."""
    most = max(config.embed_dim, config.mlp_dim)
    return rows * (2 * (most + 64) + 4 + 4 * THREADS // 32 if bits == 8 else 2 * (most + 8))


def _most_slots(config: DepthformerConfig, blocks: int, bits: int) -> int:
    """Slots that a phase of the kernel needs at once."""
    width, inner, slot = config.embed_dim // 8, config.mlp_dim // 8, slot_inputs(config, bits)
    parts, deep = config.embed_dim // slot, -(-config.mlp_dim // slot)
    return max(-(-3 * width // blocks) * parts, -(-width // blocks) * deep, 2 * -(-inner // blocks) * parts)


def shared_bytes(config: DepthformerConfig, rows: int, blocks: int, slots: int, bits: int = 16) -> int:
    """Shared memory of a block; as `Shared` in the kernel."""
    widths = [3 * config.embed_dim, config.layout.codebook_size, config.mlp_dim]
    units = [-(-width // 8 // blocks) for width in widths]
    totals = max(units[0], units[1], 2 * units[2])
    tasks = -(-config.num_heads * rows // blocks)
    past = tasks * 2 * (2 * config.num_depth_layers * config.layout.codec_levels * (HEAD + 8) + HEAD)
    floats = THREADS // 32 * (totals * rows * 8 + 68)
    return slots * slot_bytes(config, bits) + input_bytes(config, rows, bits) + past + 4 * floats + 256


def board_words(config: DepthformerConfig, rows: int) -> int:
    """Words that the blocks exchange; the last are the logits."""
    return rows * ((6 * config.embed_dim + config.mlp_dim) // 2 + config.layout.codebook_size)


def draw_frame(
    config: DepthformerConfig,
    packed: Packed,
    kernel: DepthKernel,
    compiled: tuple[str, int, int],
    context: jax.Array,
    noise: jax.Array,
    known: jax.Array,
    dials: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """All levels of a frame.

    Args:
      compiled: of `code`, for as many rows as `context` has.
      context: the temporal stack's output, float32 [1 or 2, D]: conditioned, and unconditioned with guidance.
      noise: Gumbel noise float32 [levels, codebook_size].
      known: int32 [levels]; -1 where the code is drawn.
      dials: float32 [4]: guidance, temperature, top k, the first level's first id.

    Returns:
      codes int32 [levels]; the mean of their token vectors, float32 like `context`; the last level's logits, float32
      [rows, codebook_size], by which the kernel can be checked.
    """
    rows, layout = context.shape[0], config.layout
    ptx, blocks, shared = compiled

    def shape(dtype: jnp.dtype, *sizes: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(sizes, dtype)

    board = board_words(config, rows)
    results = [
        shape(jnp.int32, layout.codec_levels),
        shape(jnp.float32, *context.shape),
        shape(jnp.uint32, board),
    ]
    operands = [
        kernel.query_key_value,
        kernel.out,
        kernel.gate_up,
        kernel.down,
        kernel.norm,
        kernel.mlp_norm,
        packed.decoder_norm,
        kernel.projection,
        packed.embedding,
        packed.depth_bias,
        context,
        noise,
        known,
        dials,
        jnp.zeros(board, jnp.uint32),
    ]
    made = cuda.call(
        "depth_frame",
        ptx,
        operands,
        results,
        grid=blocks,
        block=THREADS + 32,
        shared_bytes=shared,
        aliases={len(operands) - 1: 2},
    )
    logits = jax.lax.bitcast_convert_type(made[2][-rows * layout.codebook_size :], jnp.float32)
    return made[0], made[1], logits.reshape(rows, layout.codebook_size)

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
STEPS = 8  # of 32 inputs: a tile
SHARED_BYTES = 232_448
"""What a block may have of a Hopper multiprocessor's shared memory."""

WINDOW = 1
"""Slots' worth of weights that are on their way to a block at a time."""

CONSTANTS = dict[str, int | str]


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
    return all(_most_slots(config, blocks) <= slots(config, rows, blocks) for rows in (1, 2))


@functools.partial(jax.jit, static_argnums=0)
def prepare(config: DepthformerConfig, packed: Packed) -> DepthKernel:
    """Orders the matrices; the depth stack's layers must not be stacked."""
    assert not isinstance(packed.depth, Block)
    layers: list[Block] = list(packed.depth)

    def ordered(name: str) -> jax.Array:
        return jnp.stack([fragments(getattr(layer, name)) for layer in layers])

    return DepthKernel(
        query_key_value=ordered("query_key_value"),
        out=ordered("out"),
        gate_up=jnp.stack([pairs(layer.gate_up) for layer in layers]),
        down=ordered("down"),
        norm=jnp.stack([layer.norm for layer in layers]),
        mlp_norm=jnp.stack([layer.mlp_norm for layer in layers]),
        projection=jax.vmap(fragments)(packed.projection),
    )


def fragments(matrix: jax.Array) -> jax.Array:
    """[inputs, outputs] -> [units of 8 outputs, tiles of 256 inputs, steps of 32, 8 outputs, 4, 8 inputs].

    A lane reads 8 inputs at once, a warp a step, as the tensor cores want them.
    """
    inputs, outputs = matrix.shape
    parts = matrix.T.reshape(outputs // 8, 8, inputs // (32 * STEPS), STEPS, 4, 8)
    return parts.transpose(0, 2, 3, 1, 4, 5)


def pairs(gate_up: jax.Array) -> jax.Array:
    """`fragments` of two matrices side by side, their units in turns: [units, 2, ...]."""
    return jnp.stack([fragments(half) for half in jnp.split(gate_up, 2, axis=1)], axis=1)


def code(
    config: DepthformerConfig, rows: int, device: jax.Device, changes: CONSTANTS | None = None
) -> tuple[str, int, int]:
    """`code_of` the depth stack."""
    return code_of("depth_frame.cu", sizes, shared_bytes, config, rows, device, changes)


def code_of(
    name: str,
    sizes: Callable[[DepthformerConfig, int, int], CONSTANTS],
    shared_bytes: Callable[[DepthformerConfig, int, int, int], int],
    config: DepthformerConfig,
    rows: int,
    device: jax.Device,
    changes: CONSTANTS | None = None,
) -> tuple[str, int, int]:
    """A kernel's PTX for a model on a device, how many blocks it runs in, and each one's shared memory.

    Args:
      sizes: its constants; shared_bytes: its shared memory. Both of this model, these rows and so many blocks.
      changes: constants other than the usual, to measure.

    Raises:
      CompileFailed: see `cuda.ptx`.
    """
    blocks = int(device.core_count)
    constants = {**sizes(config, rows, blocks), **(changes or {})}
    return compile_for(name, constants), blocks, shared_bytes(config, rows, blocks, int(constants["SLOTS"]))


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


def sizes(config: DepthformerConfig, rows: int, blocks: int) -> CONSTANTS:
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
        "SLOTS": slots(config, rows, blocks),
        "SLOT_INPUTS": slot_inputs(config),
        "WINDOW": WINDOW,
        "KEPT_LAYERS": 1,
        "EPSILON": f"{config.norm_epsilon}f",
    }


def slots(config: DepthformerConfig, rows: int, blocks: int) -> int:
    """Slots of the ring of weights: as many as fit."""
    return (SHARED_BYTES - shared_bytes(config, rows, blocks, 0)) // (16 * slot_inputs(config) + 16)


def slot_inputs(config: DepthformerConfig) -> int:
    """Inputs of eight outputs whose weights fill a slot."""
    return 512 if config.embed_dim % 512 == 0 else 256


def _most_slots(config: DepthformerConfig, blocks: int) -> int:
    """Slots that a phase of the kernel needs at once."""
    width, inner, slot = config.embed_dim // 8, config.mlp_dim // 8, slot_inputs(config)
    parts, deep = config.embed_dim // slot, -(-config.mlp_dim // slot)
    return max(-(-3 * width // blocks) * parts, -(-width // blocks) * deep, 2 * -(-inner // blocks) * parts)


def shared_bytes(config: DepthformerConfig, rows: int, blocks: int, slots: int) -> int:
    """Shared memory of a block; as `Shared` in the kernel."""
    widths = [3 * config.embed_dim, config.layout.codebook_size, config.mlp_dim]
    units = [-(-width // 8 // blocks) for width in widths]
    totals = max(units[0], units[1], 2 * units[2])
    tasks = -(-config.num_heads * rows // blocks)
    past = tasks * 2 * (2 * config.num_depth_layers * config.layout.codec_levels * (HEAD + 8) + HEAD)
    halves = rows * (max(config.embed_dim, config.mlp_dim) + 8)
    floats = THREADS // 32 * (totals * rows * 8 + 68)
    return slots * (16 * slot_inputs(config) + 16) + 2 * halves + past + 4 * floats + 256


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

    board = rows * (6 * config.embed_dim + config.mlp_dim + layout.codebook_size)
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

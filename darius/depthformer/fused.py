"""The depth stack of a whole frame as one CUDA kernel (`depth_frame.cu`), for one stream in bfloat16. Knows no time.

In XLA's own programs a frame of one stream is some hundreds of small kernels, whose launches cost more than the work.
The kernel's barriers need all its blocks on the device at once, one on each multiprocessor.
"""

from __future__ import annotations

import functools
import importlib.resources
from typing import NamedTuple

import jax
import jax.numpy as jnp

from darius.depthformer import cuda
from darius.depthformer.config import DepthformerConfig
from darius.depthformer.packing import Block, Packed

WARPS, HEAD = 8, 64


class DepthKernel(NamedTuple):
    """The depth stack's matrices in the order in which the kernel's warps read them; layers first."""

    query_key_value: jax.Array
    out: jax.Array
    gate_up: jax.Array
    down: jax.Array
    norm: jax.Array
    mlp_norm: jax.Array
    projection: jax.Array  # levels first


def possible(config: DepthformerConfig, device: jax.Device) -> bool:
    """The kernel can run there, and takes a model of this size."""
    architecture = cuda.architecture(device)
    widths = (config.embed_dim, config.joined_dim, config.mlp_dim)
    fits = all(width % (32 * WARPS) == 0 for width in widths) and config.head_dim == HEAD and config.embed_dim <= 1024
    layout = config.layout
    small = layout.codec_levels <= 16 and layout.codebook_size <= 1024 and layout.codebook_size % 8 == 0
    return architecture is not None and int(architecture) >= 80 and fits and small and cuda.available()


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
        gate_up=ordered("gate_up"),
        down=ordered("down"),
        norm=jnp.stack([layer.norm for layer in layers]),
        mlp_norm=jnp.stack([layer.mlp_norm for layer in layers]),
        projection=jax.vmap(fragments)(packed.projection),
    )


def fragments(matrix: jax.Array) -> jax.Array:
    """[inputs, outputs] -> [units of 8 outputs, warps, steps of 32 inputs, 8 outputs, 4, 8 inputs]: a lane reads 8."""
    inputs, outputs = matrix.shape
    parts = matrix.T.reshape(outputs // 8, 8, WARPS, inputs // (32 * WARPS), 4, 8)
    return parts.transpose(0, 2, 3, 1, 4, 5)


def code(config: DepthformerConfig, rows: int, device: jax.Device) -> tuple[str, int]:
    """The kernel's PTX for a model on a device, and how many blocks it runs in. Raises CompileFailed."""
    blocks = int(device.core_count)
    constants = {**sizes(config, rows), "BLOCKS": blocks}
    options = tuple(f"-D{name}={value}" for name, value in constants.items())
    source = (importlib.resources.files("darius.depthformer") / "depth_frame.cu").read_text()
    return cuda.ptx(source, (f"--gpu-architecture=compute_{cuda.architecture(device)}", *options)), blocks


def sizes(config: DepthformerConfig, rows: int) -> dict[str, int | str]:
    """The kernel's constants that the model decides."""
    return {
        "ROWS": rows,
        "WIDTH": config.embed_dim,
        "JOINED": config.joined_dim,
        "HEADS": config.num_heads,
        "INNER": config.mlp_dim,
        "LAYERS": config.num_depth_layers,
        "LEVELS": config.layout.codec_levels,
        "CODES": config.layout.codebook_size,
        "EPSILON": f"{config.norm_epsilon}f",
    }


def shared_bytes(config: DepthformerConfig, rows: int, blocks: int) -> int:
    """Shared memory of a block; as `Shared` in the kernel."""
    widest = max(config.embed_dim, config.joined_dim, config.mlp_dim) + 8
    past = config.joined_dim + 8
    units = [3 * config.joined_dim // 8, config.embed_dim // 8, config.layout.codebook_size // 8]
    most = max([-(-unit // blocks) for unit in units] + [2 * -(-(config.mlp_dim // 8) // blocks)])
    halves = rows * widest + 2 * rows * config.layout.codec_levels * past + rows * past
    return 2 * halves + 4 * WARPS * (most * rows * 8 + 4) + 64


def draw_frame(
    config: DepthformerConfig,
    packed: Packed,
    kernel: DepthKernel,
    compiled: tuple[str, int],
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
    ptx, blocks = compiled

    def shape(dtype: jnp.dtype, *sizes: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(sizes, dtype)

    half = packed.embedding.dtype
    results = [
        shape(jnp.int32, layout.codec_levels),
        shape(jnp.float32, *context.shape),
        shape(jnp.uint32, 32),
        shape(jnp.float32, *context.shape),
        shape(half, rows, config.joined_dim),
        shape(half, config.num_depth_layers, 2, rows, layout.codec_levels, config.joined_dim),
        shape(half, rows, config.mlp_dim),
        shape(jnp.float32, rows, layout.codebook_size),
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
        jnp.zeros(32, jnp.uint32),
    ]
    made = cuda.call(
        "depth_frame",
        ptx,
        operands,
        results,
        grid=blocks,
        block=32 * WARPS,
        shared_bytes=shared_bytes(config, rows, blocks),
        aliases={len(operands) - 1: 2},
    )
    return made[0], made[1], made[7]

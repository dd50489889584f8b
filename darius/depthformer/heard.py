"""Cross-attention that reads the encoder's output itself, once for all heads: no keys and values are kept for it.

A head's query goes through the transposed key matrix, so that it meets the output directly; what it hears goes through
the value matrix afterwards. In exact arithmetic this is the same, and a stream's 165 MB of keys and values (`large`,
bfloat16, with guidance) become 4 MB that a frame's layers read half as often. It pays where many rows are decoded
together; the products that it adds would hold up a single stream. Knows no time and no sampling.
"""

from __future__ import annotations

import dataclasses
import importlib.resources

import jax
import jax.numpy as jnp

from darius.depthformer import cuda
from darius.depthformer.config import DepthformerConfig

THREADS, WARPS, HEADS = 256, 8, 16
SHAPES = ((32, 3), (32, 2), (16, 2))
"""Vectors that a block takes at a time, and how many such tiles it has room for; the first that fits is taken."""
SHARED = {80: 163 << 10, 87: 163 << 10, 90: 227 << 10, 100: 227 << 10, 103: 227 << 10}
"""Shared memory that a block may have, by architecture (CUDA C++ Programming Guide, compute capabilities)."""
LEAST_SHARED = 99 << 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeardKernel:
    """`cross_attention.cu`, compiled for a model on a device.

    Attributes:
      ptx: its code.
      shared_bytes: shared memory of a block.
    """

    ptx: str
    shared_bytes: int


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Heard:
    """What one temporal layer hears of the encoder; R rows of L vectors.

    Attributes:
      encoded: the encoder's output [R, L, D]; the same array for every layer.
      bias: added to the scores, float32 [R, L].
      key, value: the layer's matrices, [H, h, D] and [H, D, h].
      kernel: reads `encoded` once; None for plain products, which read it twice.
    """

    encoded: jax.Array
    bias: jax.Array
    key: jax.Array
    value: jax.Array
    kernel: HeardKernel | None = dataclasses.field(metadata={"static": True})


def matrices(config: DepthformerConfig, key_value: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A layer's keys and values matrix [D, 2J] as `Heard` has it."""
    both = key_value.reshape(config.embed_dim, 2, config.num_heads, config.head_dim)
    return both[:, 0].transpose(1, 2, 0), both[:, 1].transpose(1, 0, 2)


def hear(config: DepthformerConfig, heard: Heard, query: jax.Array) -> jax.Array:
    """Attention of one query a row: [R, 1, J] -> [R, 1, J], heads joined."""
    rows = query.shape[0]
    heads = query.reshape(rows, config.num_heads, config.head_dim)
    queries = jnp.einsum("rhk,hkd->hrd", heads, heard.key)
    mixed = _plain(heard, queries) if heard.kernel is None else _launched(heard, queries)
    return jnp.einsum("hrd,hdk->rhk", mixed, heard.value).reshape(rows, 1, -1)


def _plain(heard: Heard, queries: jax.Array) -> jax.Array:
    scores = jnp.einsum("hrd,rsd->rhs", queries, heard.encoded, preferred_element_type=jnp.float32)
    shares = jax.nn.softmax(scores + heard.bias[:, None], axis=-1).astype(heard.encoded.dtype)
    return jnp.einsum("rhs,rsd->hrd", shares, heard.encoded)


def _launched(heard: Heard, queries: jax.Array) -> jax.Array:
    assert heard.kernel is not None
    result = jax.ShapeDtypeStruct(queries.shape, queries.dtype)
    (mixed,) = cuda.call(
        "cross_attention",
        heard.kernel.ptx,
        [queries, heard.encoded, heard.bias],
        [result],
        grid=queries.shape[1],
        block=THREADS,
        shared_bytes=heard.kernel.shared_bytes,
    )
    return mixed


def possible(config: DepthformerConfig, device: jax.Device) -> bool:
    """The kernel can run there, and takes a model of this size."""
    architecture = cuda.architecture(device)
    fits = config.embed_dim % (32 * WARPS) == 0 and config.num_heads <= HEADS
    return architecture is not None and int(architecture) >= 80 and fits and cuda.works(device)


def compiled(config: DepthformerConfig, device: jax.Device, shape: tuple[int, int] | None = None) -> HeardKernel:
    """The kernel for a model on a device. Raises CompileFailed.

    Args:
      shape: one of SHAPES; None for the first that the device has room for.
    """
    architecture = int(cuda.architecture(device) or 0)
    room = SHARED.get(architecture, LEAST_SHARED)
    tile, stages = shape or next(shape for shape in SHAPES if shared_bytes(config, *shape) <= room)
    options = tuple(f"-D{name}={value}" for name, value in sizes(config, tile, stages).items())
    source = (importlib.resources.files("darius.depthformer") / "cross_attention.cu").read_text()
    ptx = cuda.ptx(source, (f"--gpu-architecture=compute_{architecture}", *options))
    return HeardKernel(ptx=ptx, shared_bytes=shared_bytes(config, tile, stages))


def sizes(config: DepthformerConfig, tile: int, stages: int) -> dict[str, int]:
    """The kernel's constants."""
    return {
        "HEADS": config.num_heads,
        "WIDTH": config.embed_dim,
        "LENGTH": config.layout.encoder_length,
        "TILE": tile,
        "STAGES": stages,
    }


def shared_bytes(config: DepthformerConfig, tile: int, stages: int) -> int:
    """Shared memory of a block; as `Shared` in the kernel."""
    vectors = 2 * stages * WARPS * tile * (config.embed_dim // WARPS + 8)
    return vectors + 4 * WARPS * 16 * (tile + 4) + 2 * 16 * (tile + 8) + 4 * 16

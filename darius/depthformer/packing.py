"""Parameters rearranged for computing: fused matrices, sliced projections, tabulated biases. Knows no sampling.

`pack` is differentiable: the teacher-forced network packs inside the traced function, so gradients arrive at the
original names. The decoder packs once, on the host, tensor by tensor, so that a device never holds a second copy.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from darius.depthformer import weights
from darius.depthformer.config import DepthformerConfig

MASKED = -1e10
"""Added to the score of a key that must not be seen (the original adds this too, not minus infinity)."""


class Cross(NamedTuple):
    """Attention of the temporal stack to the encoder; J = all heads side by side."""

    norm: jax.Array  # [D]
    query: jax.Array  # [D, J]
    key_value: jax.Array  # [D, 2J]
    out: jax.Array  # [J, D]


class Block(NamedTuple):
    """One layer. Stacked, every array has a leading axis of layers."""

    norm: jax.Array  # [D]
    query_key_value: jax.Array  # [D, 3J]
    out: jax.Array  # [J, D]
    cross: Cross | None
    mlp_norm: jax.Array  # [D]
    gate_up: jax.Array  # [D, 2M]
    down: jax.Array  # [M, D]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Stack:
    """Layers to scan over whose blocks are made inside the scan, one at a time: for training, where memory counts.

    Attributes:
      leaves: any tree of arrays with a leading axis of layers.
      block: makes a layer's block of its slice of the leaves.
    """

    leaves: Any
    block: Callable[[Any], Block]

    def __len__(self) -> int:
        return len(jax.tree.leaves(self.leaves)[0])

    def __iter__(self) -> Iterator[Block]:
        return (self._one(index) for index in range(len(self)))

    def _one(self, index: int) -> Block:
        return self.block(jax.tree.map(lambda leaf: leaf[index], self.leaves))


Blocks: TypeAlias = "tuple[Block, ...] | Block | Stack"
"""Layers: a tuple to unroll, or stacked, to scan over."""


class Packed(NamedTuple):
    """Everything that a forward pass reads; Q levels, K codes a level, F frames a chunk."""

    embedding: jax.Array  # [vocab_rows, D]
    encoder: Blocks
    encoder_norm: jax.Array  # [D]
    temporal: Blocks
    temporal_bias: jax.Array  # [H, F, F], causal
    depth: Blocks
    depth_bias: jax.Array  # [H, Q, Q], causal
    decoder_norm: jax.Array  # [D]
    projection: jax.Array  # [Q, D, K]: each level's own codes; or [D, vocab_rows]


def pack(
    config: DepthformerConfig,
    params: Mapping[str, Any],
    dtype: DTypeLike,
    *,
    projection_dtype: DTypeLike = jnp.float32,
    legal_only: bool = True,
    stacked: bool = False,
    stacked_encoder: bool = False,
) -> Packed:
    """Fuses, slices and casts the parameters.

    Args:
      params: flat parameters; NumPy arrays stay on the host, JAX arrays may be traced.
      dtype: of everything but the projection.
      legal_only: keep of the output projection only each level's own codes, [Q, D, K].
      stacked: temporal and depth layers as one block with a leading axis each, to scan over.
      stacked_encoder: the same for the encoder's layers.
    """
    xp = np if all(isinstance(value, np.ndarray) for value in params.values()) else jnp
    reader = _Reader(params, dtype, xp)
    layout = config.layout
    encoder = [reader.block(weights.encoder_layer(i), "attention") for i in range(config.num_encoder_layers)]
    temporal = [
        reader.block(weights.temporal_layer(i), "self_attention", cross=True) for i in range(config.num_temporal_layers)
    ]
    depth = [reader.block(weights.depth_layer(i), "self_attention") for i in range(config.num_depth_layers)]
    projection = params[weights.LOGITS]
    if legal_only:
        projection = level_tables(config, projection)
    return Packed(
        embedding=reader.cast(weights.EMBEDDING),
        encoder=_stack(encoder, xp) if stacked_encoder else tuple(encoder),
        encoder_norm=reader.cast(weights.ENCODER_NORM),
        temporal=_stack(temporal, xp) if stacked else tuple(temporal),
        temporal_bias=causal_bias(reader.cast(weights.TEMPORAL_BIAS), layout.chunk_frames, xp),
        depth=_stack(depth, xp) if stacked else tuple(depth),
        depth_bias=causal_bias(reader.cast(weights.DEPTH_BIAS), layout.codec_levels, xp),
        decoder_norm=reader.cast(weights.DECODER_NORM),
        projection=projection.astype(projection_dtype),
    )


def layer_block(params: Mapping[str, Any], dtype: DTypeLike, layer: str, attention: str, *, cross: bool) -> Block:
    """One layer's parameters, fused and cast; they may be traced.

    Args:
      layer: what the names of its parameters begin with; attention: what its self-attention is called.
    """
    return _Reader(params, dtype, jnp).block(layer, attention, cross=cross)


class _Reader:
    """Reads layers out of the flat dictionary, cast to one dtype."""

    def __init__(self, params: Mapping[str, Any], dtype: DTypeLike, xp: Any) -> None:
        self._params, self._dtype, self._xp = params, dtype, xp

    def cast(self, name: str) -> Any:
        return self._params[name].astype(self._dtype)

    def fused(self, prefix: str, *names: str) -> Any:
        return self._xp.concatenate([self.cast(f"{prefix}/{name}/kernel") for name in names], axis=-1)

    def block(self, layer: str, attention: str, *, cross: bool = False) -> Block:
        return Block(
            norm=self.cast(f"{layer}/pre_{attention}_layer_norm/scale"),
            query_key_value=self.fused(f"{layer}/{attention}", "query", "key", "value"),
            out=self.cast(f"{layer}/{attention}/out/kernel"),
            cross=self._cross(layer) if cross else None,
            mlp_norm=self.cast(f"{layer}/pre_mlp_layer_norm/scale"),
            gate_up=self.fused(f"{layer}/mlp", "wi_0", "wi_1"),
            down=self.cast(f"{layer}/mlp/wo/kernel"),
        )

    def _cross(self, layer: str) -> Cross:
        attention = f"{layer}/encoder_decoder_attention"
        return Cross(
            norm=self.cast(f"{layer}/pre_cross_attention_layer_norm/scale"),
            query=self.cast(f"{attention}/query/kernel"),
            key_value=self.fused(attention, "key", "value"),
            out=self.cast(f"{attention}/out/kernel"),
        )


def _stack(blocks: list[Block], xp: Any) -> Block:
    stacked: Block = jax.tree.map(lambda *leaves: xp.stack(leaves), *blocks)
    return stacked


def level_tables(config: DepthformerConfig, kernel: Any) -> Any:
    """The output projection [D, vocab_rows] cut to each level's own codes: [levels, D, codebook_size]."""
    layout = config.layout
    first, last = layout.codec_offset, layout.codec_offset + layout.codec_levels * layout.codebook_size
    tables = kernel[:, first:last].reshape(config.embed_dim, layout.codec_levels, layout.codebook_size)
    return tables.transpose(1, 0, 2)


def causal_bias(table: Any, length: int, xp: Any = jnp) -> Any:
    """The relative bias of every query and key: [H, buckets] -> [H, length, length], MASKED where key > query."""
    distance = np.arange(length)[:, None] - np.arange(length)[None, :]
    buckets = relative_buckets(np.maximum(distance, 0), table.shape[-1])
    return xp.where(distance >= 0, table[:, buckets], xp.asarray(MASKED, table.dtype))


def relative_buckets(distance: np.ndarray[Any, Any], buckets: int) -> np.ndarray[Any, Any]:
    """T5's one-directional buckets with a maximum distance equal to their number.

    The first half is exact, the second logarithmic. Source: T5 (`_relative_position_bucket`). For v1's sizes
    (128 buckets and at most 50 frames, 16 buckets and 16 levels) a bucket is simply the distance.
    """
    exact = buckets // 2
    spread = np.log(np.maximum(distance, 1) / exact) / math.log(buckets / exact) * (buckets - exact)
    logarithmic = np.minimum(exact + spread.astype(np.int32), buckets - 1)
    return np.where(distance < exact, distance, logarithmic)

"""The teacher-forced pass over stacked parameters: layers scanned, cast and fused one at a time. Knows no loss.

Nothing here computes: it hands `darius.depthformer.network` its parameters in the leanest form. In full precision there
is only the one copy that the optimiser owns; a layer's copy in the activations' type lives as long as the layer runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from darius.depthformer import layers, network, packing, weights
from darius.depthformer.config import DepthformerConfig
from darius.depthformer.layers import Fused
from finetune.stacks import stacked_name

ENCODER, TEMPORAL, DEPTH = (
    stacked_name(f"{layer}/")[:-1]
    for layer in (weights.encoder_layer(0), weights.temporal_layer(0), weights.depth_layer(0))
)

Prepare: TypeAlias = Callable[[jax.Array, DTypeLike, Any], jax.Array]


class Hidden(NamedTuple):
    """What the loss needs: the decoder's output [B, frames, levels, D] and the output projection, float32."""

    output: jax.Array
    projection: jax.Array  # [D, vocab_rows], or [levels, D, codebook_size]


def hidden(
    config: DepthformerConfig,
    params: Mapping[str, Any],
    inputs: jax.Array,
    targets: jax.Array,
    *,
    dtype: DTypeLike,
    legal_only: bool,
    dropout_key: jax.Array | None = None,
    adapters: Mapping[str, Any] | None = None,
    prepare: Prepare | None = None,
    shard: tuple[str, int] | None = None,
    fused: Fused | None = None,
) -> Hidden:
    """The decoder's output for target tokens, given those before them.

    Args:
      params: stacked.
      inputs: int32 [B, encoder_length]; targets: int32 [B, decoder_length].
      dtype: of activations.
      legal_only: project each position on its own level's codes only.
      dropout_key: turns dropout on.
      adapters: stacked name -> a tree with a leading axis of layers, for some of the kernels.
      prepare: (a tensor or one layer's slice of a stack, the type to give it, its adapter or None) -> the tensor to
        compute with. By default it is cast.
      shard: see `layers.Dropout`.
      fused: how to compute the encoder's attention without its scores in memory, see `layers.Fused`.
    """
    packed = _pack(config, params, dtype, legal_only, adapters or {}, prepare or _cast)
    dropout = None
    if dropout_key is not None and config.dropout_rate:
        dropout = layers.Dropout(dropout_key, config.dropout_rate, shard)
    encoded = network.encode_packed(config, packed, inputs, dropout, fused=fused)
    output = network.decode_packed(config, packed, encoded, inputs, network.shift_right(targets), dropout)
    return Hidden(output, packed.projection)


def _cast(tensor: jax.Array, dtype: DTypeLike, adapter: Any) -> jax.Array:
    return tensor.astype(dtype)


def _pack(
    config: DepthformerConfig,
    params: Mapping[str, Any],
    dtype: DTypeLike,
    legal_only: bool,
    adapters: Mapping[str, Any],
    prepare: Prepare,
) -> packing.Packed:
    def stack(layer: str, attention: str, *, cross: bool = False) -> packing.Stack:
        own = {name: value for name, value in params.items() if name.startswith(f"{layer}/")}
        changes = {name: value for name, value in adapters.items() if name in own}

        def block(leaves: tuple[dict[str, jax.Array], dict[str, Any]]) -> packing.Block:
            tensors, change = leaves
            ready = {name: prepare(value, dtype, change.get(name)) for name, value in tensors.items()}
            return packing.layer_block(ready, dtype, layer, attention, cross=cross)

        return packing.Stack(leaves=(own, changes), block=block)

    def ready(name: str, kind: DTypeLike = dtype) -> jax.Array:
        return prepare(params[name], kind, None)

    layout = config.layout
    projection = ready(weights.LOGITS, jnp.float32)
    return packing.Packed(
        embedding=ready(weights.EMBEDDING),
        encoder=stack(ENCODER, "attention"),
        encoder_norm=ready(weights.ENCODER_NORM),
        temporal=stack(TEMPORAL, "self_attention", cross=True),
        temporal_bias=packing.causal_bias(ready(weights.TEMPORAL_BIAS), layout.chunk_frames),
        depth=stack(DEPTH, "self_attention"),
        depth_bias=packing.causal_bias(ready(weights.DEPTH_BIAS), layout.codec_levels),
        decoder_norm=ready(weights.DECODER_NORM),
        projection=packing.level_tables(config, projection) if legal_only else projection,
    )

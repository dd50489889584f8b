"""The loss of the language model: the network of `darius.depthformer`, each level projected on its own codes only.

The temporal stack may hear other codes of its playing than the depth stack does (slips); and on a GPU the encoder's
attention goes through the fused kernel, where there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from darius.depthformer import layers, network, packing
from darius.depthformer.config import DepthformerConfig
from recipes.tiny.lm.batches import Batch


def level_losses(
    config: DepthformerConfig,
    params: Mapping[str, Any],
    batch: Batch,
    *,
    first: int = 0,
    fused: bool = False,
    dtype: Any = jnp.float32,
) -> tuple[jax.Array, jax.Array]:
    """Cross-entropy and whether the likeliest code is right, float32 and bool [B, frames - first, levels].

    Args:
      first: frames before it are known when music is made, and not looked at.
      fused: use the fused attention kernel in the encoder (bfloat16 on a GPU).
    """
    scores, codes = level_logits(config, params, batch, first=first, fused=fused, dtype=dtype)
    losses = jax.nn.logsumexp(scores, axis=-1) - jnp.take_along_axis(scores, codes[..., None], axis=-1)[..., 0]
    return losses, jnp.argmax(scores, axis=-1) == codes


def level_logits(
    config: DepthformerConfig,
    params: Mapping[str, Any],
    batch: Batch,
    *,
    first: int = 0,
    fused: bool = False,
    dtype: Any = jnp.float32,
) -> tuple[jax.Array, jax.Array]:
    """Logits float32 [B, frames - first, levels, codes] and the codes that are right, of the same shape but the last.

    Args: those of `level_losses`.
    """
    packed = packing.pack(config, params, dtype)
    encoded = encode(config, packed, batch.encoder, fused=fused)
    vectors = network.lookup(packed.embedding, batch.targets).astype(jnp.float32)
    heard = network.lookup(packed.embedding, batch.played).astype(jnp.float32)
    temporal = temporal_outputs(config, packed, encoded, batch.encoder, heard)
    scores = depth_logits(config, packed, temporal[:, first:], vectors[:, first:])
    starts = config.layout.codec_offset + np.arange(config.layout.codec_levels) * config.layout.codebook_size
    return scores, batch.targets[:, first:] - starts


def encode(config: DepthformerConfig, packed: packing.Packed, ids: jax.Array, *, fused: bool) -> jax.Array:
    """`network.encode_packed` of rows without padding."""
    if not fused:
        return network.encode_packed(config, packed, ids)
    positions = network.sinusoids(ids.shape[1], config.embed_dim)
    x = (network.lookup(packed.embedding, ids).astype(jnp.float32) + positions).astype(packed.embedding.dtype)
    for block in _unrolled(packed.encoder):
        normed = layers.rms_norm(config, block.norm, x) @ block.query_key_value
        shape = (*x.shape[:2], config.num_heads, config.head_dim)
        query, keys, values = (part.reshape(shape) for part in jnp.split(normed, 3, axis=-1))
        mixed = jax.nn.dot_product_attention(query, keys, values, scale=1.0, implementation="cudnn")
        x = x + mixed.reshape(*x.shape[:2], -1) @ block.out
        x = x + layers.mlp(config, block, layers.rms_norm(config, block.mlp_norm, x))
    return layers.rms_norm(config, packed.encoder_norm, x)


def temporal_outputs(
    config: DepthformerConfig, packed: packing.Packed, encoded: jax.Array, encoder_ids: jax.Array, vectors: jax.Array
) -> jax.Array:
    """Of the targets' token vectors [B, F, levels, D], what the temporal stack says of each frame: [B, F, D]."""
    start = jnp.broadcast_to(packed.embedding[0].astype(jnp.float32), (len(vectors), 1, config.embed_dim))
    x = jnp.concatenate([start, jnp.mean(vectors[:, :-1], axis=2)], axis=1)
    bias = packed.temporal_bias[:, : x.shape[1], : x.shape[1]]
    hidden = layers.padding_bias(encoder_ids, encoded.dtype)
    for block in _unrolled(packed.temporal):
        assert block.cross is not None
        context = layers.Context(*layers.cross_key_value(config, block.cross, encoded), hidden)
        x, _ = layers.run_block(config, block, x, bias, context=context)
    return x


def depth_logits(
    config: DepthformerConfig, packed: packing.Packed, temporal: jax.Array, vectors: jax.Array
) -> jax.Array:
    """Logits of each level's own codes, [B, S, levels, codes], from temporal outputs [B, S, D] and token vectors."""
    inputs = jnp.concatenate([temporal[:, :, None], vectors[:, :, :-1]], axis=2)
    x = inputs.reshape(-1, *inputs.shape[2:])
    for block in _unrolled(packed.depth):
        x, _ = layers.run_block(config, block, x, packed.depth_bias)
    normed = layers.rms_norm(config, packed.decoder_norm, x).reshape(inputs.shape)
    table = packed.projection.astype(normed.dtype)
    return jnp.einsum("bsqd,qdk->bsqk", normed, table, preferred_element_type=jnp.float32)


def _unrolled(blocks: packing.Blocks) -> tuple[packing.Block, ...]:
    assert isinstance(blocks, tuple)
    return blocks

"""The loss of the language model, cheaper than the engine's whole pass but equal to it where it looks.

Two savings, for training on small machines: the depth stack runs on a few chosen frames of each example only, and
the encoder may look near by only (`near`). The second is exact as long as its heads look near by, which is how they
start (`structure`) and what `evaluate` checks with the whole attention.
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

BLOCK, BACK, AHEAD = 112, 160, 8
"""Near attention: blocks of queries see their own block, BACK positions before it and AHEAD after."""


def level_losses(
    config: DepthformerConfig, params: Mapping[str, Any], batch: Batch, *, near: bool = False, dtype: Any = jnp.float32
) -> tuple[jax.Array, jax.Array]:
    """Cross-entropy and whether the likeliest code is right, float32 and bool [B, chosen frames, levels]."""
    packed = packing.pack(config, params, dtype)
    encoder, targets, played, chosen = (jnp.asarray(part) for part in batch)
    encoded = encode_near(config, packed, encoder) if near else network.encode_packed(config, packed, encoder)
    vectors = packed.embedding[targets].astype(jnp.float32)
    heard = packed.embedding[played].astype(jnp.float32)
    temporal = temporal_outputs(config, packed, encoded, encoder, heard)
    rows = jnp.arange(len(encoder))[:, None]
    scores = depth_logits(config, packed, temporal[rows, chosen], vectors[rows, chosen])
    starts = config.layout.codec_offset + np.arange(config.layout.codec_levels) * config.layout.codebook_size
    codes = targets[rows, chosen] - starts
    logged = jax.nn.log_softmax(scores, axis=-1)
    losses = -jnp.take_along_axis(logged, codes[..., None], axis=-1)[..., 0]
    return losses, jnp.argmax(scores, axis=-1) == codes


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
    return jnp.einsum("bsqd,qdk->bsqk", normed.astype(jnp.float32), packed.projection)


def encode_near(config: DepthformerConfig, packed: packing.Packed, ids: jax.Array) -> jax.Array:
    """`network.encode_packed`, each position looking near by only."""
    positions = network.sinusoids(ids.shape[1], config.embed_dim)
    x = (packed.embedding[ids].astype(jnp.float32) + positions).astype(packed.embedding.dtype)
    for block in _unrolled(packed.encoder):
        query, keys, values = jnp.split(layers.rms_norm(config, block.norm, x) @ block.query_key_value, 3, axis=-1)
        x = x + _attend_near(config, query, keys, values) @ block.out
        x = x + layers.mlp(config, block, layers.rms_norm(config, block.mlp_norm, x))
    return layers.rms_norm(config, packed.encoder_norm, x)


def _unrolled(blocks: packing.Blocks) -> tuple[packing.Block, ...]:
    assert not isinstance(blocks, packing.Block)
    return blocks


def _attend_near(config: DepthformerConfig, query: jax.Array, keys: jax.Array, values: jax.Array) -> jax.Array:
    batch, length, width = query.shape
    blocks = -(-length // BLOCK)
    rest = blocks * BLOCK - length
    places = np.arange(blocks)[:, None] * BLOCK - BACK + np.arange(BACK + BLOCK + AHEAD)
    bias = np.where((places >= 0) & (places < length), 0.0, packing.MASKED).astype(np.float32)

    def around(x: jax.Array) -> jax.Array:
        padded = jnp.pad(x, ((0, 0), (BACK, rest + AHEAD), (0, 0)))
        return layers.split_heads(config, padded[:, places + BACK]).reshape(
            batch * blocks, config.num_heads, -1, config.head_dim
        )

    inside = jnp.pad(query, ((0, 0), (0, rest), (0, 0))).reshape(batch * blocks, BLOCK, width)
    spread = jnp.asarray(np.tile(bias, (batch, 1)), query.dtype)[:, None, None]
    mixed = layers.attend(layers.split_heads(config, inside), around(keys), around(values), spread, None, 0)
    return mixed.reshape(batch, blocks * BLOCK, width)[:, :length]

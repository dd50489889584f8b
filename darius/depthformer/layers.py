"""The building blocks of the network: norm, attention, gated MLP, dropout. Knows no tokens and no stacks.

Number types are the original's (T5.1.1 in flaxformer): norms are computed in float32 and rounded; projections,
scores, softmax and MLP are in the dtype of the weights; the caller chooses the dtype of the residual by passing it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from darius.depthformer import heard
from darius.depthformer.config import DepthformerConfig
from darius.depthformer.heard import Heard
from darius.depthformer.packing import MASKED, Block, Cross

KeyValue: TypeAlias = tuple[jax.Array, jax.Array]
"""Keys and values, each [B, H, T, h]."""


class Dropout(NamedTuple):
    """Dropout whose masks are shared along the second-last axis (length, or queries), as the original's are.

    Attributes:
      shard: where the batch is dealt to devices inside `jax.shard_map`, the axis' name and how many there are: masks
        are then drawn for the whole batch and each device takes its rows', so that devices do not change them.
    """

    key: jax.Array
    rate: float
    shard: tuple[str, int] | None = None

    def child(self, index: int | jax.Array) -> Dropout:
        return self._replace(key=jax.random.fold_in(self.key, index))

    def drop(self, x: jax.Array, site: int) -> jax.Array:
        return x * self._mask((*x.shape[:-2], 1, x.shape[-1]), x.dtype, site)

    def drop_keys(self, values: jax.Array, site: int) -> jax.Array:
        """What `drop` of attention's shares [..., T, S] does, done to the values [..., S, h]: a key is dropped for
        all queries, so it may as well be worth nothing. Scores then need not be in memory to be masked."""
        shape = (*values.shape[:-2], 1, values.shape[-2])
        return values * self._mask(shape, values.dtype, site).swapaxes(-1, -2)

    def _mask(self, shape: tuple[int, ...], dtype: DTypeLike, site: int) -> jax.Array:
        axis, count = self.shard or ("", 1)
        whole = (shape[0] * count, *shape[1:])
        keep = jax.random.bernoulli(jax.random.fold_in(self.key, site), 1.0 - self.rate, whole)
        if count > 1:
            keep = jax.lax.dynamic_slice_in_dim(keep, jax.lax.axis_index(axis) * shape[0], shape[0])
        keep = jax.lax.optimization_barrier(keep)  # drawn once, not again for every element that it masks
        mask: jax.Array = keep.astype(dtype) / jnp.asarray(1.0 - self.rate, dtype)
        return mask


def dropped(dropout: Dropout | None, x: jax.Array, site: int) -> jax.Array:
    return x if dropout is None else dropout.drop(x, site)


def rms_norm(config: DepthformerConfig, scale: jax.Array, x: jax.Array) -> jax.Array:
    """Root-mean-square norm, no mean, no bias: computed in float32, rounded to the scale's dtype, then scaled."""
    wide = x.astype(jnp.float32)
    power = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
    return (wide * jax.lax.rsqrt(power + config.norm_epsilon)).astype(scale.dtype) * scale


def split_heads(config: DepthformerConfig, x: jax.Array) -> jax.Array:
    """[B, T, J] -> [B, H, T, h]."""
    return x.reshape(*x.shape[:-1], config.num_heads, config.head_dim).swapaxes(-3, -2)


def attend(
    query: jax.Array, keys: jax.Array, values: jax.Array, bias: jax.Array | None, dropout: Dropout | None, site: int
) -> jax.Array:
    """Attention without scaling of the scores (the query initialiser holds the factor).

    Args:
      query: [B, H, T, h]; keys, values: [B, H, S, h]; bias: broadcastable to [B, H, T, S].

    Returns:
      [B, T, J], heads joined.
    """
    scores = jnp.einsum("bhtd,bhsd->bhts", query, keys)
    if bias is not None:
        scores = scores + bias
    values = values if dropout is None else dropout.drop_keys(values, site)
    mixed = jnp.einsum("bhts,bhsd->bhtd", jax.nn.softmax(scores, axis=-1), values).swapaxes(1, 2)
    return mixed.reshape(*mixed.shape[:2], -1)


class Fused(NamedTuple):
    """Self-attention in one kernel that keeps no scores in memory.

    Attributes:
      library: cuDNN's takes bfloat16 on NVIDIA cards; XLA's own way is for comparison.
      lengths: int32 [B]: how many of the keys, from the first on, are seen; None for all.
    """

    library: Literal["cudnn", "xla"]
    lengths: jax.Array | None = None


def attend_fused(
    config: DepthformerConfig,
    query: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    how: Fused,
    dropout: Dropout | None = None,
    site: int = 0,
) -> jax.Array:
    """`attend` of joined heads, [B, T, J] and [B, S, J] twice -> [B, T, J]; scores and shares are never rounded."""
    query_heads, key_heads, value_heads = (
        x.reshape(*x.shape[:-1], config.num_heads, config.head_dim) for x in (query, keys, values)
    )
    if dropout is not None:
        value_heads = dropout.drop_keys(value_heads.swapaxes(-3, -2), site).swapaxes(-3, -2)
    mixed = jax.nn.dot_product_attention(
        query_heads,
        key_heads,
        value_heads,
        scale=1.0,
        key_value_seq_lengths=how.lengths,
        implementation=how.library,
    )
    return mixed.reshape(query.shape)


def mlp(
    config: DepthformerConfig, block: Block, x: jax.Array, dropout: Dropout | None = None, site: int = 0
) -> jax.Array:
    """gelu(x gate) * (x up), then down; gelu is the tanh approximation."""
    gate, up = jnp.split(x @ block.gate_up, 2, axis=-1)
    inner = jax.nn.gelu(gate, approximate=True) * up
    return dropped(dropout, inner, site) @ block.down


def padding_bias(tokens: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Hides padding (id 0) from attention: [B, L] -> [B, 1, 1, L]. The mask, id 1, is an ordinary token."""
    return jnp.where(tokens > 0, 0.0, MASKED).astype(dtype)[:, None, None, :]


def cross_key_value(config: DepthformerConfig, cross: Cross, encoded: jax.Array) -> KeyValue:
    """The encoder's output as one temporal layer sees it: [B, L, D] -> two of [B, H, L, h]."""
    keys, values = jnp.split(encoded @ cross.key_value, 2, axis=-1)
    return split_heads(config, keys), split_heads(config, values)


class Context(NamedTuple):
    """What the temporal stack attends to: one layer's keys and values of the encoder, and the bias on them."""

    keys: jax.Array
    values: jax.Array
    bias: jax.Array


Remember: TypeAlias = Callable[[jax.Array, jax.Array], KeyValue]
"""Takes new keys and values, gives all that may be attended to: a cache. Without one, only the new ones exist."""


def run_block(
    config: DepthformerConfig,
    block: Block,
    x: jax.Array,
    bias: jax.Array | None,
    *,
    context: Context | Heard | None = None,
    remember: Remember | None = None,
    fused: Fused | None = None,
    dropout: Dropout | None = None,
    residual_dropout: Dropout | None = None,
) -> tuple[jax.Array, KeyValue]:
    """One pre-norm layer: self-attention, cross-attention where the block has it, MLP, each added to the residual.

    Args:
      x: the residual [B, T, D]; its dtype is kept.
      bias: on the self-attention scores, broadcastable to [B, H, T, S].
      fused: how to compute self-attention without it, where there is neither bias nor cache.
      dropout: of the attention weights; residual_dropout: of everything else (the depth stack has none).

    Returns:
      the residual, and the keys and values that self-attention saw.
    """
    normed = rms_norm(config, block.norm, x)
    if fused is not None:
        # Three products: the kernel wants each result in one piece, and cutting them out of one takes longer.
        query, keys, values = (normed @ part for part in jnp.split(block.query_key_value, 3, axis=-1))
        y = attend_fused(config, query, keys, values, fused, dropout) @ block.out
    else:
        parts = jnp.split(normed @ block.query_key_value, 3, axis=-1)
        query, keys, values = (split_heads(config, part) for part in parts)
        if remember is not None:
            keys, values = remember(keys, values)
        y = attend(query, keys, values, bias, dropout, 0) @ block.out
    x = x + dropped(residual_dropout, y, 1)
    if block.cross is not None and context is not None:
        query = rms_norm(config, block.cross.norm, x) @ block.cross.query
        if isinstance(context, Heard):
            mixed = heard.hear(config, context, query)
        else:
            mixed = attend(split_heads(config, query), context.keys, context.values, context.bias, dropout, 2)
        x = x + dropped(residual_dropout, mixed @ block.cross.out, 3)
    y = mlp(config, block, rms_norm(config, block.mlp_norm, x), residual_dropout, 4)
    x = x + dropped(residual_dropout, y, 5)
    return x, (keys, values)

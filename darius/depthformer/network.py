"""The teacher-forced network: all positions in one differentiable pass. Knows no sampling and no caches.

Source of every number type: Magenta RealTime v1 run as published (`darius.depthformer.layers` says which is where).
With dtype bfloat16 the encoder's residual is bfloat16, the decoder's residual and the logits are float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike
from numpy.typing import NDArray

from darius.depthformer.config import DepthformerConfig
from darius.depthformer.layers import (
    Context,
    Dropout,
    Fused,
    cross_key_value,
    dropped,
    padding_bias,
    rms_norm,
    run_block,
)
from darius.depthformer.packing import Block, Blocks, Packed, Stack, pack

Index: TypeAlias = "int | jax.Array"
"""A layer's place in its stack; traced where layers are scanned."""


def encode(
    config: DepthformerConfig,
    params: Mapping[str, Any],
    encoder_tokens: ArrayLike,
    *,
    dtype: DTypeLike = jnp.float32,
    dropout_key: jax.Array | None = None,
) -> jax.Array:
    """The encoder's output.

    Args:
      encoder_tokens: int32 [B, L]; 0 is padding, 1 (the mask) an ordinary token.
      dropout_key: turns dropout on.

    Returns:
      dtype [B, L, D], exactly 0 where the input is padding.
    """
    packed = pack(config, _on_device(params), dtype)
    return encode_packed(config, packed, jnp.asarray(encoder_tokens), _dropout(config, dropout_key))


def logits(
    config: DepthformerConfig,
    params: Mapping[str, Any],
    encoder_tokens: ArrayLike,
    decoder_input_tokens: ArrayLike,
    *,
    dtype: DTypeLike = jnp.float32,
    dropout_key: jax.Array | None = None,
    legal_only: bool = False,
) -> jax.Array:
    """Logits of every decoder position, given the tokens before it.

    Args:
      encoder_tokens: int32 [B, L].
      decoder_input_tokens: int32 [B, frames * levels]: the targets shifted right by one, id 0 in front; frame by
        frame, level by level; no padding inside.
      dropout_key: turns dropout on.
      legal_only: project each position on its own level's codes only. Cheaper by the number of levels.

    Returns:
      float32 [B, frames * levels, vocab_rows], or [..., codebook_size] with legal_only (index = RVQ code).
    """
    packed = pack(config, _on_device(params), dtype, legal_only=legal_only)
    inputs = jnp.asarray(decoder_input_tokens)
    return logits_packed(config, packed, jnp.asarray(encoder_tokens), inputs, _dropout(config, dropout_key))


def shift_right(targets: ArrayLike) -> jax.Array:
    """Decoder inputs of target tokens [B, T]: one step later, with the start token 0 in front."""
    return jnp.pad(jnp.asarray(targets)[:, :-1], ((0, 0), (1, 0)))


def _on_device(params: Mapping[str, Any]) -> dict[str, jax.Array]:
    return {name: jnp.asarray(value) for name, value in params.items()}


def _dropout(config: DepthformerConfig, key: jax.Array | None) -> Dropout | None:
    return None if key is None or config.dropout_rate == 0 else Dropout(key, config.dropout_rate)


def _child(dropout: Dropout | None, index: Index) -> Dropout | None:
    return None if dropout is None else dropout.child(index)


def sinusoids(length: int, width: int) -> NDArray[np.float32]:
    """The encoder's fixed positions, float32 [length, width]: sines in the first half, cosines in the second."""
    half = width // 2
    frequencies = 10000.0 ** (-np.arange(half) / (half - 1))
    angles = np.arange(length)[:, None] * frequencies[None, :]
    table: np.ndarray[Any, Any] = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    return table.astype(np.float32)


@jax.custom_vjp
def lookup(table: jax.Array, tokens: jax.Array) -> jax.Array:
    """Rows of a table. Its gradient is summed in float32, as the original's product with one-hot rows is.

    A plain gather's would be summed in the table's type: in bfloat16, a thousand masks in a row would count as few.
    """
    return table[tokens]


def _lookup_forward(table: jax.Array, tokens: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return table[tokens], (tokens, table)


def _lookup_backward(saved: tuple[jax.Array, jax.Array], change: jax.Array) -> tuple[jax.Array, None]:
    tokens, table = saved
    wide = jnp.zeros(table.shape, jnp.float32).at[tokens].add(change.astype(jnp.float32))
    return wide.astype(table.dtype), None


lookup.defvjp(_lookup_forward, _lookup_backward)


def encode_packed(
    config: DepthformerConfig,
    packed: Packed,
    tokens: jax.Array,
    dropout: Dropout | None = None,
    *,
    fused: Fused | None = None,
) -> jax.Array:
    """`encode` on packed parameters; the layers may be a tuple or stacked.

    Args:
      fused: how to compute attention where there is no padding, as in training; see `encode_fused` for padding.
    """
    dtype = packed.embedding.dtype
    positions = sinusoids(tokens.shape[1], config.embed_dim)
    x = (lookup(packed.embedding, tokens).astype(jnp.float32) + positions).astype(dtype)
    stack_dropout = _child(dropout, 0)
    x = dropped(stack_dropout, x, 0)
    bias = padding_bias(tokens, dtype) if fused is None else None
    x = _encoder_stack(config, packed.encoder, x, bias, fused, stack_dropout)
    x = dropped(stack_dropout, rms_norm(config, packed.encoder_norm, x), 1)
    return x * (tokens > 0)[..., None].astype(dtype)


def encode_fused(
    config: DepthformerConfig, packed: Packed, tokens: jax.Array, library: Literal["cudnn", "xla"]
) -> jax.Array:
    """`encode_packed` for players: attention through a library's fused kernel, see `layers.Fused`.

    Positions are part of the vectors, so that attention does not ask in which order these stand: padding goes to the
    end, where the kernels can leave it out, and comes back afterwards.
    """
    dtype = packed.embedding.dtype
    there = tokens > 0
    lengths = jnp.sum(there, axis=1, dtype=jnp.int32)
    place = jnp.where(there, jnp.cumsum(there, axis=1) - 1, lengths[:, None] + jnp.cumsum(~there, axis=1) - 1)
    positions = sinusoids(tokens.shape[1], config.embed_dim)
    x = (packed.embedding[tokens].astype(jnp.float32) + positions).astype(dtype)
    x = jnp.zeros_like(x).at[jnp.arange(len(x))[:, None], place].set(x, unique_indices=True)
    fused = Fused(library, lengths)
    x = _through(packed.encoder, x, lambda x, block, _: run_block(config, block, x, None, fused=fused)[0])
    x = jnp.take_along_axis(rms_norm(config, packed.encoder_norm, x), place[..., None], axis=1)
    return jnp.where(there[..., None], x, 0)


def _encoder_stack(
    config: DepthformerConfig,
    blocks: Blocks,
    x: jax.Array,
    bias: jax.Array | None,
    fused: Fused | None,
    dropout: Dropout | None,
) -> jax.Array:
    def run(x: jax.Array, block: Block, index: Index) -> jax.Array:
        own = _child(dropout, index + 2)
        return run_block(config, block, x, bias, fused=fused, dropout=own, residual_dropout=own)[0]

    return _through(blocks, x, run)


def _through(blocks: Blocks, x: jax.Array, run: Callable[[jax.Array, Block, Index], jax.Array]) -> jax.Array:
    """Layers one after another. Of stacked ones a gradient keeps the residual alone and computes the rest again."""
    if isinstance(blocks, Block | Stack):
        stack = blocks if isinstance(blocks, Stack) else Stack(leaves=blocks, block=lambda block: block)

        def step(x: jax.Array, layer: tuple[Any, jax.Array]) -> tuple[jax.Array, None]:
            return run(x, stack.block(layer[0]), layer[1]), None

        indices = jnp.arange(len(stack))
        return jax.lax.scan(jax.checkpoint(step, prevent_cse=False), x, (stack.leaves, indices))[0]
    for index, block in enumerate(blocks):
        x = run(x, block, index)
    return x


def logits_packed(
    config: DepthformerConfig,
    packed: Packed,
    encoder_tokens: jax.Array,
    decoder_input_tokens: jax.Array,
    dropout: Dropout | None = None,
) -> jax.Array:
    """`logits` on packed parameters; the layers may be a tuple or stacked."""
    encoded = encode_packed(config, packed, encoder_tokens, dropout)
    hidden = decode_packed(config, packed, encoded, encoder_tokens, decoder_input_tokens, dropout)
    return project(packed, hidden).reshape(*decoder_input_tokens.shape, -1)


def decode_packed(
    config: DepthformerConfig,
    packed: Packed,
    encoded: jax.Array,
    encoder_tokens: jax.Array,
    decoder_input_tokens: jax.Array,
    dropout: Dropout | None = None,
) -> jax.Array:
    """The decoder's output before the projection, [B, frames, levels, D]."""
    levels = config.layout.codec_levels
    batch, length = decoder_input_tokens.shape
    stack_dropout = _child(dropout, 1)
    vectors = lookup(packed.embedding, decoder_input_tokens).astype(jnp.float32)
    vectors = dropped(stack_dropout, vectors, 0)
    # Shifted left again, a frame's own token vectors stand together; what follows the last one is never read.
    frames = jnp.pad(vectors[:, 1:], ((0, 0), (0, 1), (0, 0))).reshape(batch, length // levels, levels, -1)
    temporal_inputs = jnp.concatenate([vectors[:, :1], jnp.mean(frames[:, :-1], axis=2)], axis=1)
    temporal = _temporal_stack(config, packed, temporal_inputs, encoded, encoder_tokens, stack_dropout)
    depth_inputs = jnp.concatenate([temporal[:, :, None], frames[:, :, :-1]], axis=2)
    depth = _depth_stack(config, packed, depth_inputs.reshape(-1, levels, config.embed_dim), stack_dropout)
    normed = rms_norm(config, packed.decoder_norm, depth).reshape(batch, length, -1)
    return dropped(stack_dropout, normed, 1).reshape(frames.shape)


def _temporal_stack(
    config: DepthformerConfig,
    packed: Packed,
    x: jax.Array,
    encoded: jax.Array,
    encoder_tokens: jax.Array,
    dropout: Dropout | None,
) -> jax.Array:
    frames = x.shape[1]
    bias = packed.temporal_bias[:, :frames, :frames]
    hidden = padding_bias(encoder_tokens, encoded.dtype)

    def run(x: jax.Array, block: Block, index: Index) -> jax.Array:
        assert block.cross is not None
        context = Context(*cross_key_value(config, block.cross, encoded), hidden)
        own = _child(dropout, index + 2)
        return run_block(config, block, x, bias, context=context, dropout=own, residual_dropout=own)[0]

    return _through(packed.temporal, x, run)


def _depth_stack(config: DepthformerConfig, packed: Packed, x: jax.Array, dropout: Dropout | None) -> jax.Array:
    def run(x: jax.Array, block: Block, index: Index) -> jax.Array:
        return run_block(config, block, x, packed.depth_bias, dropout=_child(dropout, 1000 + index))[0]

    return _through(packed.depth, x, run)


def project(packed: Packed, hidden: jax.Array) -> jax.Array:
    """Logits, float32: [B, frames, levels, D] -> [..., vocab_rows], or each level on its own codes [..., K]."""
    wide = hidden.astype(packed.projection.dtype)
    if packed.projection.ndim == 3:
        return jnp.einsum("bfqd,qdk->bfqk", wide, packed.projection, preferred_element_type=jnp.float32)
    return jnp.einsum("bfqd,dv->bfqv", wide, packed.projection, preferred_element_type=jnp.float32)

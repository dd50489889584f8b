"""The cached network, one frame at a time: a temporal step, then the levels one by one. Knows no sampling.

A chunk starts with `start`; `frame_step` then advances every row by one frame. What picks a token is passed in.
All rows are independent of each other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from darius.depthformer import heard
from darius.depthformer.config import DepthformerConfig
from darius.depthformer.heard import Heard, HeardKernel
from darius.depthformer.layers import Context, KeyValue, cross_key_value, padding_bias, rms_norm, run_block
from darius.depthformer.network import encode_fused, encode_packed
from darius.depthformer.packing import Block, Blocks, Packed
from darius.tokens import MASK_ID, PAD_ID


class FrameState(NamedTuple):
    """Where a chunk stands. R rows, F frames a chunk; stacked layers have one leading axis more."""

    memory: tuple[KeyValue, ...] | KeyValue
    """Keys and values of each temporal layer, [R, H, F, h]."""
    inputs: jax.Array
    """What the temporal stack reads next: the mean of the last frame's token vectors, float32 [R, 1, D]."""


Contexts: TypeAlias = "tuple[Context, ...] | tuple[Heard, ...] | Context | Heard"
"""What each temporal layer sees of the encoder, computed once a chunk."""

Pick: TypeAlias = Callable[[Any, Any, jax.Array], tuple[Any, jax.Array, Any]]
"""(state, extra of this level, decoder output [R, 1, D]) -> (state, token ids [R], anything to keep)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attention:
    """How the encoder attends, and the temporal stack to it.

    Attributes:
      encoder_rows: rows that are encoded at a time.
      fused: the library for the encoder's own attention, see `layers.Fused`; None for plain products.
      whole_rows: from this many rows on, the temporal stack hears the encoder's output itself (`heard`), not keys and
        values made of it, where its layers are written out. None: never.
      kernel: how it does so; None for plain products.
    """

    encoder_rows: int = 16
    fused: Literal["cudnn", "xla"] | None = None
    whole_rows: int | None = None
    kernel: HeardKernel | None = None


def start(
    config: DepthformerConfig, packed: Packed, encoder_tokens: ArrayLike, how: Attention = Attention()
) -> tuple[Contexts, FrameState]:
    """Encodes, and makes empty caches. encoder_tokens: int32 [R, L]."""
    encoder_tokens = jnp.asarray(encoder_tokens)
    rows = encoder_tokens.shape[0]
    encoded = _encode(config, packed, encoder_tokens, how)
    bias = padding_bias(encoder_tokens, encoded.dtype)
    whole = how.whole_rows is not None and rows >= how.whole_rows and not isinstance(packed.temporal, Block)

    def context(block: Block) -> Context | Heard:
        assert block.cross is not None
        if not whole:
            return Context(*cross_key_value(config, block.cross, encoded), bias)
        key, value = heard.matrices(config, block.cross.key_value)
        return Heard(encoded=encoded, bias=bias[:, 0, 0].astype(jnp.float32), key=key, value=value, kernel=how.kernel)

    empty = jnp.zeros((rows, config.num_heads, config.layout.chunk_frames, config.head_dim), encoded.dtype)
    contexts: Any
    memory: tuple[KeyValue, ...] | KeyValue
    if isinstance(packed.temporal, Block):
        contexts = jax.lax.map(context, packed.temporal)
        every = jnp.broadcast_to(empty, (config.num_temporal_layers, *empty.shape))
        memory = (every, every)
    else:
        contexts = tuple(context(block) for block in packed.temporal)
        memory = tuple((empty, empty) for _ in packed.temporal)
    first = packed.embedding[PAD_ID].astype(jnp.float32)
    return contexts, FrameState(memory, jnp.broadcast_to(first, (rows, 1, config.embed_dim)))


def _encode(config: DepthformerConfig, packed: Packed, tokens: jax.Array, how: Attention) -> jax.Array:
    def encode(tokens: jax.Array) -> jax.Array:
        if how.fused is not None:
            return encode_fused(config, packed, tokens, how.fused)
        return encode_packed(config, packed, tokens)

    (rows, length), at_once = tokens.shape, how.encoder_rows
    if rows <= at_once:
        return encode(tokens)
    missing = -rows % at_once
    groups = jnp.pad(tokens, ((0, missing), (0, 0)), constant_values=MASK_ID).reshape(-1, at_once, length)
    encoded: jax.Array = jax.lax.map(encode, groups).reshape(rows + missing, length, -1)
    return encoded[:rows]


def frame_step(
    config: DepthformerConfig,
    packed: Packed,
    contexts: Contexts,
    state: FrameState,
    frame: jax.Array,
    pick: Pick,
    pick_state: Any,
    extras: Any,
    *,
    unroll_levels: int = 1,
) -> tuple[FrameState, Any, jax.Array, Any]:
    """One frame of every row.

    Args:
      frame: int32 scalar, the frame's index within the chunk.
      pick: chooses each level's tokens, knowing nothing of the network.
      extras: pytree with a leading axis of levels; `pick` gets one slice at each level.
      unroll_levels: levels written out per turn of the loop over levels.

    Returns:
      the state after the frame, pick's state, the ids [R, levels], and what pick wanted kept, [levels, ...].
    """
    context_vector, memory = temporal_step(config, packed, contexts, state, frame)
    rows = context_vector.shape[0]
    empty = jnp.zeros((rows, config.num_heads, config.layout.codec_levels, config.head_dim), packed.embedding.dtype)
    if isinstance(packed.depth, Block):
        every = jnp.broadcast_to(empty, (config.num_depth_layers, *empty.shape))
        depth_memory: tuple[KeyValue, ...] | KeyValue = (every, every)
    else:
        depth_memory = tuple((empty, empty) for _ in packed.depth)

    def level_step(carry: tuple[Any, ...], at: tuple[jax.Array, jax.Array, Any]) -> tuple[tuple[Any, ...], Any]:
        x, total, depth_memory, pick_state = carry
        level, bias, extra = at

        def run(block: Block, x: jax.Array, memory: KeyValue) -> tuple[jax.Array, KeyValue]:
            return run_block(config, block, x, bias, remember=_remember(memory, level))

        x, depth_memory = _through(run, x, packed.depth, depth_memory)
        hidden = rms_norm(config, packed.decoder_norm, x)
        pick_state, ids, kept = pick(pick_state, extra, hidden)
        vectors = packed.embedding[ids].astype(jnp.float32)[:, None]
        return (vectors, total + vectors, depth_memory, pick_state), (ids, kept)

    levels = config.layout.codec_levels
    carry = (context_vector, jnp.zeros_like(context_vector), depth_memory, pick_state)
    biases = packed.depth_bias.swapaxes(0, 1)[:, :, None]  # [levels, H, 1, levels]
    (_, total, _, pick_state), (ids, kept) = jax.lax.scan(
        level_step, carry, (jnp.arange(levels), biases, extras), unroll=unroll_levels
    )
    return FrameState(memory, total / levels), pick_state, ids.T, kept


def temporal_step(
    config: DepthformerConfig, packed: Packed, contexts: Contexts, state: FrameState, frame: jax.Array
) -> tuple[jax.Array, tuple[KeyValue, ...] | KeyValue]:
    """What the temporal stack says of a frame, float32 [R, 1, D], and its caches with the frame in them."""
    bias = jax.lax.dynamic_slice_in_dim(packed.temporal_bias, frame, 1, axis=1)

    def run(block: Block, x: jax.Array, own: tuple[Context | Heard, KeyValue]) -> tuple[jax.Array, KeyValue]:
        context, memory = own
        return run_block(config, block, x, bias, context=context, remember=_remember(memory, frame))

    own: Any = (contexts, state.memory)
    if not isinstance(packed.temporal, Block):
        assert isinstance(contexts, tuple)
        own = tuple(zip(contexts, state.memory, strict=True))
    return _through(run, state.inputs, packed.temporal, own)


def _remember(memory: KeyValue, position: jax.Array) -> Callable[[jax.Array, jax.Array], KeyValue]:
    def remember(keys: jax.Array, values: jax.Array) -> KeyValue:
        update = jax.lax.dynamic_update_slice_in_dim
        return update(memory[0], keys, position, axis=2), update(memory[1], values, position, axis=2)

    return remember


def _through(
    run: Callable[..., tuple[jax.Array, KeyValue]], x: jax.Array, blocks: Blocks, own: Any
) -> tuple[jax.Array, Any]:
    """Runs layers with what each of them owns: written out for a tuple, a scan for stacked layers."""
    if isinstance(blocks, Block):
        return jax.lax.scan(lambda x, at: run(at[0], x, at[1]), x, (blocks, own))
    after = []
    for block, mine in zip(blocks, own, strict=True):
        x, theirs = run(block, x, mine)
        after.append(theirs)
    return x, tuple(after)

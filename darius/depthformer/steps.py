"""The cached network, one frame at a time: a temporal step, then the levels one by one. Knows no sampling.

A chunk starts with `start`; `frame_step` then advances every row by one frame. What picks a token is passed in.
All rows are independent of each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from darius.depthformer.config import DepthformerConfig
from darius.depthformer.layers import Context, KeyValue, cross_key_value, padding_bias, rms_norm, run_block
from darius.depthformer.network import encode_packed
from darius.depthformer.packing import Block, Blocks, Packed
from darius.tokens import PAD_ID


class FrameState(NamedTuple):
    """Where a chunk stands. R rows, F frames a chunk; stacked layers have one leading axis more."""

    memory: tuple[KeyValue, ...] | KeyValue
    """Keys and values of each temporal layer, [R, H, F, h]."""
    inputs: jax.Array
    """What the temporal stack reads next: the mean of the last frame's token vectors, float32 [R, 1, D]."""


Contexts: TypeAlias = "tuple[Context, ...] | Context"
"""What each temporal layer sees of the encoder, computed once a chunk."""

Pick: TypeAlias = Callable[[Any, Any, jax.Array], tuple[Any, jax.Array, Any]]
"""(state, extra of this level, decoder output [R, 1, D]) -> (state, token ids [R], anything to keep)."""


def start(
    config: DepthformerConfig, packed: Packed, encoder_tokens: ArrayLike, *, encoder_rows: int = 16
) -> tuple[Contexts, FrameState]:
    """Encodes, `encoder_rows` rows at a time, and makes empty caches. encoder_tokens: int32 [R, L]."""
    encoder_tokens = jnp.asarray(encoder_tokens)
    rows = encoder_tokens.shape[0]
    if rows <= encoder_rows:
        encoded = encode_packed(config, packed, encoder_tokens)
    else:
        encode_row = lambda row: encode_packed(config, packed, row[None])[0]  # noqa: E731
        encoded = jax.lax.map(encode_row, encoder_tokens, batch_size=encoder_rows)
    bias = padding_bias(encoder_tokens, encoded.dtype)

    def context(block: Block) -> Context:
        assert block.cross is not None
        return Context(*cross_key_value(config, block.cross, encoded), bias)

    empty = jnp.zeros((rows, config.num_heads, config.layout.chunk_frames, config.head_dim), encoded.dtype)
    contexts: Contexts
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

    def run(block: Block, x: jax.Array, own: tuple[Context, KeyValue]) -> tuple[jax.Array, KeyValue]:
        context, memory = own
        return run_block(config, block, x, bias, context=context, remember=_remember(memory, frame))

    own: Any = (contexts, state.memory)
    if not isinstance(packed.temporal, Block):
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

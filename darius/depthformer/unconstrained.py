"""Greedy decoding exactly as the original does it, for comparing with it. Not for making music.

Over the whole vocabulary: a token of the wrong level is accepted, and id 1 (the mask) ends the chunk, after which
everything is 0. `darius.depthformer.decode` has neither accident.
Source: Magenta RealTime v1 (`decode_with_classifier_free_guidance`) with t5x's `temperature_sample` at top-k 1.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from darius.depthformer.config import DepthformerConfig
from darius.depthformer.packing import Packed
from darius.depthformer.sampling import guide
from darius.depthformer.steps import frame_step, start
from darius.tokens import MASK_ID, PAD_ID


class Decoded(NamedTuple):
    """What a greedy decode did; T = frames * levels."""

    tokens: jax.Array
    """int32 [R, T], 0 after an end."""
    logits: jax.Array
    """float32 [R, T, vocab_rows], of each row, before guidance."""


@functools.partial(jax.jit, static_argnames=("config",))
def decode_unconstrained(
    config: DepthformerConfig,
    packed: Packed,
    encoder_tokens: ArrayLike,
    forced: ArrayLike,
    *,
    guidance: ArrayLike,
) -> Decoded:
    """The most likely token at every position.

    Args:
      packed: with the whole projection (`pack(..., legal_only=False)`).
      encoder_tokens: int32 [R, L] with R = 2: the conditioned row, then the unconditioned one.
      forced: int32 [R, T], T a whole number of frames; a token to take in place of the most likely one, -1 for none.
      guidance: weight w; both rows go on with the best token of (1 + w) row 0 - w row 1. 0: each row with its own.
    """
    levels = config.layout.codec_levels
    given = jnp.asarray(forced)
    rows = given.shape[0]
    contexts, state = start(config, packed, encoder_tokens)

    def pick(ended: jax.Array, token: jax.Array, hidden: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        logits = jnp.dot(hidden[:, 0].astype(packed.projection.dtype), packed.projection)
        guided = guide(logits[:1], logits[1:], guidance)
        best = jnp.argmax(jnp.where(jnp.asarray(guidance) != 0, guided, logits), axis=-1)
        ids = jnp.where(token >= 0, token, jnp.where(ended, PAD_ID, best).astype(jnp.int32))
        return ended | (ids == MASK_ID), ids, logits

    def frame_body(carry: tuple[Any, jax.Array], at: tuple[jax.Array, jax.Array]) -> tuple[Any, Any]:
        state, ended = carry
        frame, token = at
        state, ended, ids, logits = frame_step(config, packed, contexts, state, frame, pick, ended, token)
        return (state, ended), (ids, logits)

    by_frame = given.reshape(rows, -1, levels).transpose(1, 2, 0)
    carry = (state, jnp.zeros(rows, bool))
    _, (ids, logits) = jax.lax.scan(frame_body, carry, (jnp.arange(by_frame.shape[0]), by_frame))
    tokens = ids.transpose(1, 0, 2).reshape(rows, -1)
    return Decoded(tokens, logits.transpose(2, 0, 1, 3).reshape(rows, tokens.shape[1], -1))

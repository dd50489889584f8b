"""How Magenta RealTime 2 draws a code: the package's order of steps and its very bits, a key a stream. Pure functions.

Source: `magenta_rt.jax.depthformer` (`_sample_categorical_with_temperature`, `MultivariateDecoder.step_with_emits`),
`jax.random` with its default generator. The package draws noise for the whole vocabulary and masks all but one level's
codes; here the noise of that level alone is computed, which is the same.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from darius.depthformer.sampling import FEW, keep_top_k, threefry


class Draws(NamedTuple):
    """What each stream of a batch may choose for itself; every array is [B]."""

    temperature: ArrayLike
    """float32; noise is multiplied with it, so 0 takes the likeliest code."""
    top_k: ArrayLike
    """int32; 0: all codes."""


def first_key(seed: ArrayLike) -> jax.Array:
    """The key of a stream with this seed, uint32 [..., 2]: what `jax.random.PRNGKey` makes of it."""
    low = jnp.asarray(seed).astype(jnp.uint32)
    return jnp.stack([jnp.zeros_like(low), low], axis=-1)


def next_key(key: jax.Array, frame: jax.Array) -> jax.Array:
    """The key after one code was drawn: `jax.random.fold_in(key, frame)`, for keys [B, 2] and frames [B]."""
    zero = jnp.zeros_like(frame, jnp.uint32)
    return jnp.stack(threefry(key[:, 0], key[:, 1], zero, frame.astype(jnp.uint32)), axis=-1)


def gumbel(key: jax.Array, first: ArrayLike, count: int) -> jax.Array:
    """Values `first` to `first + count` of `jax.random.gumbel(key, (vocabulary,))`, float32 [B, count]; keys [B, 2]."""
    index = jnp.asarray(first).astype(jnp.uint32) + jnp.arange(count, dtype=jnp.uint32)
    high, low = threefry(key[:, :1], key[:, 1:], jnp.zeros_like(index), index)
    unit = jax.lax.bitcast_convert_type(((high ^ low) >> 9) | jnp.uint32(0x3F800000), jnp.float32) - 1.0
    tiny = np.finfo(np.float32).tiny
    return -jnp.log(-jnp.log(jnp.maximum(unit * (1.0 - tiny) + tiny, tiny)))


def draw(logits: jax.Array, noise: jax.Array, draws: Draws, *, sorts: bool) -> jax.Array:
    """One code a row, int32 [B].

    Args:
      logits: float32 [B, codes] of one level.
      noise: float32 [B, codes].
      sorts: how the top k are found: by sorting, which suits CPUs, or by counting (`depthformer.sampling.keep_top_k`).
    """
    kept = _sorted_out(logits, draws.top_k) if sorts else keep_top_k(logits, draws.top_k)
    return jnp.argmax(kept + noise * jnp.asarray(draws.temperature)[:, None], axis=-1).astype(jnp.int32)


def _sorted_out(logits: jax.Array, top_k: ArrayLike) -> jax.Array:
    """`keep_top_k` by a list as short as may be: which one is found when it runs, so that all are one program."""
    few, all_codes = FEW, logits.shape[-1]
    kept: jax.Array = jax.lax.cond(
        jnp.max(jnp.asarray(top_k)) <= few,
        lambda: keep_top_k(logits, top_k, listed=min(few, all_codes)),
        lambda: keep_top_k(logits, top_k, listed=all_codes),
    )
    return kept

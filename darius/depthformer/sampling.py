"""From logits to codes: guidance, temperature, top-k, Gumbel-max. Pure functions of arrays; knows no network.

A draw depends on (session seed, chunk, frame, level) only: the noise is the threefry block cipher in counter mode,
written out here so that neither JAX's settings nor its version nor the backend changes the bits.

Source of the order of steps: Magenta RealTime v1 (`decode_with_classifier_free_guidance`, t5x `temperature_sample`).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

COLDEST = 1e-4
"""At this temperature and below, the most likely code is taken."""


class Controls(NamedTuple):
    """What each stream of a batch may choose for itself; every array is [B]."""

    guidance: ArrayLike
    """float32; weight w of (1 + w) conditioned - w unconditioned. 0: no guidance."""
    temperature: ArrayLike
    """float32; 1e-4 and below: the most likely code."""
    top_k: ArrayLike
    """int32; 0: all codes."""
    seed: ArrayLike
    """uint32; the session's."""
    chunk: ArrayLike
    """uint32; index of the chunk within the session."""

    @classmethod
    def of(
        cls,
        batch: int,
        *,
        guidance: ArrayLike = 5.0,
        temperature: ArrayLike = 1.1,
        top_k: ArrayLike = 40,
        seed: ArrayLike = 0,
        chunk: ArrayLike = 0,
    ) -> Controls:
        """Controls of a batch; a scalar holds for every row. Defaults are the original system's."""

        def row(value: ArrayLike, dtype: type) -> np.ndarray:
            return np.broadcast_to(np.asarray(value, dtype), (batch,))

        return cls(
            guidance=row(guidance, np.float32),
            temperature=row(temperature, np.float32),
            top_k=row(top_k, np.int32),
            seed=row(seed, np.uint32),
            chunk=row(chunk, np.uint32),
        )


def guide(conditioned: jax.Array, unconditioned: jax.Array, weight: ArrayLike) -> jax.Array:
    """Classifier-free guidance on logits [B, K]; weight [B] or one for all."""
    weight = jnp.asarray(weight)[..., None]
    return (1 + weight) * conditioned - weight * unconditioned


FEW = 64
"""A list of the best codes this long serves usual values of top-k."""


GROUP = 128
"""Codes that are counted in one axis."""


def list_length(top_k: ArrayLike, codes: int) -> int:
    """How long the list of best codes must be for these values of top-k: short where it can be."""
    return min(FEW, codes) if np.max(np.asarray(top_k)) <= FEW else codes


def keep_top_k(logits: jax.Array, top_k: ArrayLike, *, listed: int | None = None) -> jax.Array:
    """Logits [B, K] with all but the top_k[b] largest of each row at minus infinity; ties are all kept; 0 keeps all.

    Args:
      listed: sort out the best `listed` codes (at least the largest top_k, see `list_length`). None: find who stays
        by counting larger neighbours, K * K comparisons in one kernel. The results are the same; counting is for
        GPUs, where sorting is many small kernels.
    """
    top_k = jnp.asarray(top_k)[:, None]
    if listed is None:
        # In groups: XLA takes minutes to compile the same over 128 rows and a thousand codes in one axis.
        together = GROUP if logits.shape[1] % GROUP == 0 else logits.shape[1]
        others = logits.reshape(len(logits), 1, -1, together)
        larger = jnp.sum(others > logits[:, :, None, None], axis=-1, dtype=jnp.int32)
        keep = jnp.sum(larger, axis=-1) < top_k
    else:
        best, _ = jax.lax.top_k(logits, listed)
        keep = logits >= jnp.take_along_axis(best, jnp.clip(top_k, 1, listed) - 1, axis=-1)
    return jnp.where(keep | (top_k <= 0), logits, -jnp.inf)


def choose(
    logits: jax.Array, noise: jax.Array, temperature: ArrayLike, top_k: ArrayLike, *, listed: int | None = None
) -> jax.Array:
    """One draw a row: int32 [B] of logits [B, K] and Gumbel noise [B, K]; `listed` as for `keep_top_k`."""
    temperature = jnp.asarray(temperature)[:, None]
    kept = keep_top_k(logits, top_k, listed=listed)
    noise = jnp.where(temperature > COLDEST, noise, 0.0)
    return jnp.argmax(kept / jnp.maximum(temperature, COLDEST) + noise, axis=-1).astype(jnp.int32)


def gumbel(seed: ArrayLike, chunk: ArrayLike, step: ArrayLike, codes: int) -> jax.Array:
    """Standard Gumbel noise, float32 [..., codes]; seed, chunk and step are broadcast against each other.

    Args:
      step: frame * levels + level.
    """
    seed, chunk, step = (jnp.asarray(x).astype(jnp.uint32)[..., None] for x in (seed, chunk, step))
    bits, _ = threefry(seed, chunk, step, jnp.arange(codes, dtype=jnp.uint32))
    # 23 bits and a half, so that 0 and 1 are never reached and every value is exact in float32.
    uniform = ((bits >> 9).astype(jnp.float32) + 0.5) * 2.0**-23
    return -jnp.log(-jnp.log(uniform))


_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def threefry(key0: jax.Array, key1: jax.Array, counter0: jax.Array, counter1: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Threefry-2x32 with 20 rounds: two uint32 words of a key and a counter of two words each.

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011).
    """
    keys = (key0, key1, key0 ^ key1 ^ jnp.uint32(0x1BD11BDA))
    x0, x1 = counter0 + key0, counter1 + key1
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            x0 = x0 + x1
            x1 = x0 ^ ((x1 << rotation) | (x1 >> (32 - rotation)))
        x0 = x0 + keys[(group + 1) % 3]
        x1 = x1 + keys[(group + 2) % 3] + jnp.uint32(group + 1)
    return x0, x1

"""Residual vector quantisation: embeddings <-> codes. Knows the codebooks [levels, size, features], nothing else."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def quantise(codebooks: jax.Array, embeddings: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Nearest entry of each level to what the levels before left over.

    Args:
      codebooks: float32 [levels, size, features]; as many levels as codes are wanted.
      embeddings: float32 [..., features].

    Returns:
      codes int32 [..., levels] and what remains, float32 [..., features].
    """

    def level(residual: jax.Array, codebook: jax.Array) -> tuple[jax.Array, jax.Array]:
        # In full precision: accelerators would round the products so far that other entries win.
        products = jnp.matmul(residual, codebook.T, precision=jax.lax.Precision.HIGHEST)
        nearest = jnp.argmin(jnp.sum(jnp.square(codebook), -1) - 2 * products, -1).astype(jnp.int32)
        return residual - codebook[nearest], nearest

    rest, codes = jax.lax.scan(level, embeddings, codebooks)
    return jnp.moveaxis(codes, 0, -1), rest


def dequantise(codebooks: jax.Array, codes: jax.Array) -> jax.Array:
    """Codes int32 [..., levels] -> embeddings [..., features]: the sum of each level's entry; -1 adds nothing."""
    entries = codebooks[jnp.arange(codes.shape[-1]), jnp.maximum(codes, 0)]
    return jnp.where(codes[..., None] < 0, 0, entries).sum(-2)

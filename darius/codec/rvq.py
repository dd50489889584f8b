"""Residual vector quantisation: embeddings <-> codes. Knows the codebooks [levels, size, features], nothing else."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def quantise(codebooks: jax.Array, embeddings: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Nearest entry of each level to what the levels before left over.

    Args:
      codebooks: [levels, size, features]; as many levels as codes are wanted.
      embeddings: [..., features].

    Returns:
      codes int32 [..., levels] and what remains, [..., features].
    """
    codes = []
    residual = embeddings
    for codebook in codebooks:
        distances = jnp.sum(jnp.square(codebook), -1) - 2 * residual @ codebook.T
        nearest = jnp.argmin(distances, -1).astype(jnp.int32)
        residual = residual - codebook[nearest]
        codes.append(nearest)
    return jnp.stack(codes, -1), residual


def dequantise(codebooks: jax.Array, codes: jax.Array) -> jax.Array:
    """Codes int32 [..., levels] -> embeddings [..., features]: the sum of each level's entry."""
    levels = codes.shape[-1]
    return codebooks[jnp.arange(levels), codes].sum(-2)

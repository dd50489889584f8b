"""The training pass of the residual vector quantiser: straight-through, moving-average codebooks, revived codes.

Source of the method: van den Oord et al. 2017 (VQ-VAE, moving-average codebooks), Zeghidour et al. 2021 (SoundStream:
residual levels, k-means start, revived codes, quantiser dropout).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

DECAY = 0.99
DEAD = 0.1
"""A code is dead when it is used this many times less than an even share."""

LEVEL_CHOICES = (1, 2, 3, 4, 4, 4, 6, 8, 12)
"""Depths that quantiser dropout draws from; the language model sees the first four in its context."""


class Averages(NamedTuple):
    """Moving averages of each code's uses [levels, size] and of the vectors it stood for [levels, size, features]."""

    counts: jax.Array
    sums: jax.Array


class Pass(NamedTuple):
    """What one training pass gives."""

    quantised: jax.Array
    commitment: jax.Array
    codes: jax.Array
    residuals: jax.Array


def start_averages(codebooks: jax.Array, vectors_per_step: float) -> Averages:
    """Averages under which `codebooks` are what they are and every code is used evenly."""
    share = vectors_per_step / codebooks.shape[1]
    return Averages(jnp.full(codebooks.shape[:2], share), codebooks * share)


def train_pass(codebooks: jax.Array, embeddings: jax.Array, depths: jax.Array) -> Pass:
    """Quantises with each row's own number of levels; gradients pass straight through to the embeddings.

    Args:
      codebooks: [levels, size, features], taken as constants.
      embeddings: [batch, frames, features].
      depths: int32 [batch], levels that each row's decoder gets to see.
    """
    codebooks = jax.lax.stop_gradient(codebooks)
    flat = jax.lax.stop_gradient(embeddings).reshape(-1, embeddings.shape[-1])
    codes, residuals, total = [], [], jnp.zeros_like(embeddings)
    commitment = jnp.float32(0)
    residual = flat
    for level, codebook in enumerate(codebooks):
        distances = jnp.sum(jnp.square(codebook), -1) - 2 * residual @ codebook.T
        nearest = jnp.argmin(distances, -1)
        residuals.append(residual)
        codes.append(nearest)
        chosen = codebook[nearest]
        residual = residual - chosen
        used = (level < depths)[:, None, None]
        total = total + jnp.where(used, chosen.reshape(embeddings.shape), 0)
        commitment = commitment + jnp.mean(jnp.where(used, jnp.square(embeddings - total), 0))
    quantised = embeddings + jax.lax.stop_gradient(total - embeddings)
    return Pass(quantised, commitment / len(codebooks), jnp.stack(codes), jnp.stack(residuals))


def draw_depths(key: jax.Array, batch: int, levels: int, whole: float = 0.5) -> jax.Array:
    """A share (`whole`) of the rows keep all levels, the others a few."""
    choices = jnp.array([min(choice, levels) for choice in LEVEL_CHOICES])
    few, keep = jax.random.split(key)
    return jnp.where(jax.random.bernoulli(keep, whole, (batch,)), levels, jax.random.choice(few, choices, (batch,)))


def update(averages: Averages, done: Pass, key: jax.Array) -> tuple[jax.Array, Averages]:
    """Moves every code towards the vectors it stood for, and puts dead codes on vectors of this step.

    Returns:
      the new codebooks and the new averages.
    """
    levels, size, _ = averages.sums.shape
    hot = jax.nn.one_hot(done.codes, size, dtype=jnp.float32)
    counts = DECAY * averages.counts + (1 - DECAY) * hot.sum(1)
    sums = DECAY * averages.sums + (1 - DECAY) * jnp.einsum("lnk,lnd->lkd", hot, done.residuals)
    share = done.codes.shape[1] / size
    picks = jax.random.randint(key, (levels, size), 0, done.codes.shape[1])
    fresh = jnp.take_along_axis(done.residuals, picks[..., None], axis=1)
    dead = (counts < DEAD * share)[..., None]
    counts = jnp.where(dead[..., 0], share, counts)
    sums = jnp.where(dead, fresh * share, sums)
    return sums / counts[..., None], Averages(counts, sums)


def fit(vectors: np.ndarray, levels: int, size: int, *, rounds: int = 8, seed: int = 0) -> np.ndarray:
    """Codebooks by k-means, level after level on what the levels before leave: float32 [levels, size, features]."""
    rng = np.random.default_rng(seed)
    residual, codebooks = np.asarray(vectors, np.float32), []
    for _ in range(levels):
        codebook, nearest = k_means(residual, size, rounds, rng)
        residual = residual - codebook[nearest]
        codebooks.append(codebook)
    return np.stack(codebooks)


def k_means(
    vectors: np.ndarray, size: int, rounds: int, rng: np.random.Generator, start: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Lloyd's algorithm; empty cells restart at random vectors. Returns the centres and the nearest centre of each."""
    replace = len(vectors) < size
    centres = vectors[rng.choice(len(vectors), size, replace=replace)] if start is None else start.copy()
    for _ in range(rounds):
        nearest = _nearest(vectors, centres)
        counts = np.bincount(nearest, minlength=size)
        order = np.argsort(nearest, kind="stable")
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        sums = np.add.reduceat(vectors[order], np.minimum(starts, len(vectors) - 1), axis=0)
        full = counts > 0
        centres[full] = sums[full] / counts[full, None]
        centres[~full] = vectors[rng.integers(len(vectors), size=int((~full).sum()))]
    return centres, _nearest(vectors, centres)


def _nearest(vectors: np.ndarray, centres: np.ndarray, block: int = 16384) -> np.ndarray:
    norms = np.square(centres).sum(1)
    parts = [(norms - 2 * vectors[i : i + block] @ centres.T).argmin(1) for i in range(0, len(vectors), block)]
    return np.concatenate(parts)

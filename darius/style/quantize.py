"""Residual vector quantisation of style embeddings: nearest codes, level by level.

Knows codebooks and vectors; knows neither text nor audio nor which model they came from.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def rvq_encode(codebooks: ArrayLike, x: ArrayLike) -> NDArray[np.int32]:
    """Codes of `x`: at each level the code nearest (Euclidean) to what the levels before left over.

    Args:
      codebooks: float32 [levels, codes, dim].
      x: float32 [..., dim].

    Returns:
      int32 [..., levels]. Of codes equally near, the lowest wins.
    """
    books = np.asarray(codebooks, np.float32)
    vectors = np.asarray(x, np.float32)
    residual = vectors.reshape(-1, books.shape[-1]).copy()
    codes = np.empty((len(residual), len(books)), np.int32)
    for level, book in enumerate(books):
        # argmin |r - c|^2 = argmin |c|^2 / 2 - r.c, without a [rows, codes, dim] array
        distance = 0.5 * np.sum(book * book, axis=-1) - residual @ book.T
        codes[:, level] = np.argmin(distance, axis=-1)
        residual -= book[codes[:, level]]
    return codes.reshape(*vectors.shape[:-1], len(books))


def rvq_decode(codebooks: ArrayLike, codes: ArrayLike) -> NDArray[np.float32]:
    """Sum of the chosen code vectors.

    Args:
      codebooks: float32 [levels, codes, dim].
      codes: int32 [..., levels used]; fewer levels than the codebooks have give a coarser vector.

    Returns:
      float32 [..., dim].
    """
    books = np.asarray(codebooks, np.float32)
    chosen = np.asarray(codes, np.int64)
    total = np.zeros((*chosen.shape[:-1], books.shape[-1]), np.float32)
    for level in range(chosen.shape[-1]):
        total += books[level][chosen[..., level]]
    return total

"""A finetune's own styles: its mean and its centroids, read from two .npy files. Knows no model and no weights' source.

Source: the community's finetuning notebook for Magenta RealTime v1 writes `mean_style_embed.npy` [768], the average
style of the training audio, and `cluster_centroids.npy` [K, 768], its k-means centres.
"""

from __future__ import annotations

import dataclasses
import tokenize
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darius.errors import BadCheckpoint
from darius.style.interface import STYLE_DIM, Embedding

MEAN_FILE = "mean_style_embed.npy"
CENTROIDS_FILE = "cluster_centroids.npy"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Assets:
    """Mean float32 [dim] and centroids float32 [K, dim] of a finetune; None for what it lacks."""

    mean: Embedding | None = None
    centroids: NDArray[np.float32] | None = None

    @property
    def centroid_count(self) -> int:
        """How many centroids there are, 0 without any."""
        return 0 if self.centroids is None else len(self.centroids)

    def components(self, mean: float, centroids: Sequence[float]) -> list[tuple[Embedding, float]]:
        """Embeddings with their weights, for `mix.mix`.

        Weights of what is not here are ignored: clients send a mean weight whether a finetune is loaded or not.
        """
        found = [] if self.mean is None else [(self.mean, mean)]
        if self.centroids is not None:
            found.extend(zip(self.centroids, centroids, strict=False))
        return found


def load(folder: Path, *, dim: int = STYLE_DIM) -> Assets:
    """The assets in a folder; a file that is not there is None.

    Raises:
      BadCheckpoint: a file is not a .npy array of finite floats of the right shape. Nothing is ever unpickled.
    """
    mean, centroids = folder / MEAN_FILE, folder / CENTROIDS_FILE
    return Assets(
        mean=load_mean(mean, dim=dim) if mean.exists() else None,
        centroids=load_centroids(centroids, dim=dim) if centroids.exists() else None,
    )


def load_mean(path: Path, *, dim: int = STYLE_DIM) -> Embedding:
    """A mean style, float32 [dim]. Raises BadCheckpoint as `load` does."""
    mapped = _mapped(path)
    if mapped.shape != (dim,):
        raise _bad(path, f"has shape {list(mapped.shape)}, but a mean style is [{dim}]")
    return _finite(path, mapped)


def load_centroids(path: Path, *, dim: int = STYLE_DIM) -> NDArray[np.float32]:
    """Centroids, float32 [K, dim] with K at least 1. Raises BadCheckpoint as `load` does."""
    mapped = _mapped(path)
    if mapped.ndim != 2 or mapped.shape[1] != dim or not len(mapped):
        raise _bad(path, f"has shape {list(mapped.shape)}, but centroids are [K, {dim}] with at least one")
    return _finite(path, mapped)


def _mapped(path: Path) -> NDArray[np.floating]:
    # A memory map of the .npy format alone: no pickle, no zip, and a header that promises more than the file holds is
    # refused before anything is allocated.
    try:
        mapped: NDArray[np.floating] = np.lib.format.open_memmap(path, mode="r")  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, OSError, EOFError, OverflowError, SyntaxError, tokenize.TokenError) as error:
        raise _bad(path, "is not a complete .npy array of numbers") from error
    if mapped.dtype.kind != "f":
        raise _bad(path, f"holds {mapped.dtype}, but embeddings are floats")
    return mapped


def _finite(path: Path, mapped: NDArray[np.floating]) -> NDArray[np.float32]:
    array = np.array(mapped, np.float32)
    if not np.isfinite(array).all():
        raise _bad(path, "holds values that are not finite")
    return array


def _bad(path: Path, what: str) -> BadCheckpoint:
    return BadCheckpoint(
        f"The steering file {path.name} {what}.", "Write it again from the finetune's training audio, or leave it out."
    )

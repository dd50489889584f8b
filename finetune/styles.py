"""The styles of a dataset: its mean, its clusters, and a picture of them. Knows embeddings; knows no audio.

Source: the finetuning notebook of Magenta RealTime v1: k-means with seed 0 on the clips' mean embeddings.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darius.audio.files import atomic
from darius.errors import MissingDependency
from darius.style.steering import CENTROIDS_FILE, MEAN_FILE

SEED = 0
_INSTALL = "Run `pip install 'darius[finetune]'`."
Float = NDArray[np.float32]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Styles:
    """Attributes: mean float32 [dim]; centroids float32 [K, dim], the largest cluster first; each clip's cluster."""

    mean: Float
    centroids: Float
    clusters: NDArray[np.int64]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Clips of each cluster."""
        return tuple(int(count) for count in np.bincount(self.clusters, minlength=len(self.centroids)))


def check_installed() -> None:
    """To be asked before hours of work are done. Raises MissingDependency: scikit-learn is not installed."""
    if importlib.util.find_spec("sklearn") is None:
        raise MissingDependency("Style clusters need scikit-learn, which is not installed.", _INSTALL)


def find_styles(embeddings: Float, num_clusters: int) -> Styles:
    """Mean and clusters of embeddings [clips, dim]; fewer clusters where there are fewer different clips."""
    from sklearn.cluster import KMeans

    count = min(num_clusters, len(np.unique(embeddings, axis=0)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = KMeans(n_clusters=count, random_state=SEED).fit(embeddings)
    order = np.argsort(-np.bincount(found.labels_, minlength=count), kind="stable")
    return Styles(
        mean=np.asarray(embeddings.mean(axis=0), np.float32),
        centroids=np.asarray(found.cluster_centers_[order], np.float32),
        clusters=np.argsort(order)[found.labels_],
    )


def save(folder: Path, styles: Styles) -> None:
    """Writes the two steering files, each whole or not at all. Raises OutputFailed."""
    for name, array in ((MEAN_FILE, styles.mean), (CENTROIDS_FILE, styles.centroids)):
        buffer = io.BytesIO()
        np.save(buffer, array)
        with atomic(folder / name) as temporary:
            temporary.write_bytes(buffer.getvalue())


def draw(path: Path, embeddings: Float, styles: Styles, title: str) -> bool:
    """A picture of the clips by style: the two directions in which they differ most, a colour for each cluster.

    Returns whether it was drawn: without matplotlib there is none. Raises OutputFailed: it cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    places, centres = _plane(embeddings, styles)
    figure = Figure(figsize=(8, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for cluster, size in enumerate(styles.sizes):
        mine = places[styles.clusters == cluster]
        label = f"centroid {cluster + 1}: {size} clip{'s' * (size != 1)}"
        axes.scatter(mine[:, 0], mine[:, 1], s=24, alpha=0.7, label=label, color=f"C{cluster % 10}")
        axes.annotate(str(cluster + 1), centres[cluster], fontsize=14, fontweight="bold", ha="center", va="center")
    axes.set(title=title, xlabel="first direction of style", ylabel="second direction of style")
    axes.legend()
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png", metadata={"Software": None})
    return True


def _plane(embeddings: Float, styles: Styles) -> tuple[Float, Float]:
    """Clips and centroids on the plane of the largest variance, [n, 2] and [K, 2]."""
    centred = embeddings - styles.mean
    if len(centred) < centred.shape[1]:
        directions = np.linalg.svd(centred, full_matrices=False)[2].T
    else:  # the same, of a matrix that does not grow with the clips; the largest come last
        directions = np.linalg.eigh(centred.T @ centred)[1][:, ::-1]
    axes = np.zeros((centred.shape[1], 2), np.float32)
    axes[:, : directions.shape[1]] = directions[:, :2]
    return np.asarray(centred @ axes, np.float32), np.asarray((styles.centroids - styles.mean) @ axes, np.float32)

"""Style statistics: the mean, the clusters with the largest first, and a picture."""

from pathlib import Path

import numpy as np
import pytest

from darius.style import steering
from finetune import styles


def groups(*sizes: int, dim: int = 768) -> np.ndarray:
    """Embeddings in as many far-apart groups."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((len(sizes), dim))
    rows = [centre + 0.01 * rng.standard_normal((size, dim)) for centre, size in zip(centres, sizes, strict=True)]
    return np.concatenate(rows).astype(np.float32)


def test_clusters_are_the_groups_that_there_are_largest_first() -> None:
    embeddings = groups(3, 9, 5)
    found = styles.find_styles(embeddings, 3)
    assert found.sizes == (9, 5, 3)
    np.testing.assert_allclose(found.mean, embeddings.mean(axis=0), atol=1e-6)
    for cluster, members in enumerate((embeddings[3:12], embeddings[12:], embeddings[:3])):
        np.testing.assert_allclose(found.centroids[cluster], members.mean(axis=0), atol=1e-5)
    assert found.clusters.tolist() == [2] * 3 + [0] * 9 + [1] * 5
    assert (found.mean.dtype, found.centroids.dtype) == (np.float32, np.float32)


def test_seed_0_gives_the_same_clusters_each_time() -> None:
    embeddings = np.random.default_rng(1).standard_normal((40, 768)).astype(np.float32)
    a, b = styles.find_styles(embeddings, 5), styles.find_styles(embeddings, 5)
    np.testing.assert_array_equal(a.centroids, b.centroids)


@pytest.mark.parametrize(("clips", "different", "expected"), [(1, 1, 1), (3, 3, 3), (6, 2, 2)])
def test_fewer_different_clips_give_fewer_clusters(clips: int, different: int, expected: int) -> None:
    embeddings = np.resize(groups(*[1] * different), (clips, 768))
    assert len(styles.find_styles(embeddings, 5).centroids) == expected


def test_the_files_are_those_that_steering_reads(tmp_path: Path) -> None:
    found = styles.find_styles(groups(4, 2), 2)
    styles.save(tmp_path, found)
    assets = steering.load(tmp_path)
    assert assets.mean is not None and assets.centroids is not None
    np.testing.assert_array_equal(assets.mean, found.mean)
    np.testing.assert_array_equal(assets.centroids, found.centroids)


@pytest.mark.parametrize("sizes", [(1,), (4, 2), (1, 1, 1)])
def test_the_picture_is_a_png(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    embeddings = groups(*sizes)
    styles.draw(tmp_path / "x.png", embeddings, styles.find_styles(embeddings, len(sizes)), "Styles")
    assert (tmp_path / "x.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"

"""Steering assets: a finetune's mean and centroids, from files that are never trusted."""

import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from darius.errors import BadCheckpoint
from darius.style import steering

MEAN = np.arange(768, dtype=np.float32) / 768
CENTROIDS = np.random.default_rng(0).normal(size=(5, 768)).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "mean_style_embed.npy", MEAN)
    np.save(tmp_path / "cluster_centroids.npy", CENTROIDS)
    return tmp_path


def test_both_files_are_read(folder):
    assets = steering.load(folder)
    np.testing.assert_array_equal(assets.mean, MEAN)
    np.testing.assert_array_equal(assets.centroids, CENTROIDS)
    assert assets.centroid_count == 5


def test_a_file_that_is_not_there_is_none(folder, tmp_path_factory):
    (folder / "mean_style_embed.npy").unlink()
    assets = steering.load(folder)
    assert assets.mean is None and assets.centroid_count == 5
    nothing = steering.load(tmp_path_factory.mktemp("empty"))
    assert nothing.mean is None and nothing.centroids is None and nothing.centroid_count == 0


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4"])
def test_any_float_becomes_float32(folder, dtype):
    np.save(folder / "mean_style_embed.npy", MEAN.astype(dtype))
    mean = steering.load(folder).mean
    assert mean.dtype == np.float32
    np.testing.assert_allclose(mean, MEAN, atol=1e-3)


def test_column_order_does_not_matter(folder):
    np.save(folder / "cluster_centroids.npy", np.asfortranarray(CENTROIDS))
    np.testing.assert_array_equal(steering.load(folder).centroids, CENTROIDS)


@pytest.mark.parametrize(
    ("name", "array", "says"),
    [
        ("mean_style_embed.npy", np.zeros(512, np.float32), r"\[512\].*\[768\]"),
        ("mean_style_embed.npy", np.zeros((1, 768), np.float32), r"\[1, 768\]"),
        ("mean_style_embed.npy", np.zeros(768, np.int32), "int32"),
        ("mean_style_embed.npy", np.full(768, np.nan, np.float32), "not finite"),
        ("mean_style_embed.npy", np.full(768, 1e300), "not finite"),
        ("cluster_centroids.npy", np.zeros(768, np.float32), r"\[768\].*\[K, 768\]"),
        ("cluster_centroids.npy", np.zeros((0, 768), np.float32), "at least one"),
        ("cluster_centroids.npy", np.zeros((3, 128), np.float32), r"\[3, 128\]"),
        ("cluster_centroids.npy", np.array([{"a": 1}], object), "not a complete .npy"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_a_wrong_array_is_refused_with_the_reason(folder, name, array, says):
    np.save(folder / name, array, allow_pickle=True)
    with pytest.raises(BadCheckpoint, match=says) as caught:
        steering.load(folder)
    assert name in caught.value.message and caught.value.hint


def test_nothing_is_unpickled(folder):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    with pytest.raises(BadCheckpoint):
        (folder / "mean_style_embed.npy").write_bytes(pickle.dumps(Trap()))
        steering.load(folder)
    np.save(folder / "mean_style_embed.npy", np.array([Trap()], object), allow_pickle=True)
    with pytest.raises(BadCheckpoint):
        steering.load(folder)


def test_a_header_that_promises_more_than_the_file_holds_is_refused(folder):
    path = folder / "cluster_centroids.npy"
    path.write_bytes(path.read_bytes().replace(b"(5, 768)", b"(9999999999999, 768)")[: path.stat().st_size])
    with pytest.raises(BadCheckpoint):
        steering.load(folder)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 199), st.integers(0, 255), st.integers(0, 4000))
def test_a_damaged_file_is_read_right_or_refused_in_one_sentence(folder, position, byte, length):
    path = folder / "mean_style_embed.npy"
    np.save(path, MEAN)
    data = bytearray(path.read_bytes())
    data[position] = byte
    path.write_bytes(bytes(data[:length]))
    try:
        mean = steering.load(folder).mean
    except BadCheckpoint as error:
        assert error.message.endswith(".") and "\n" not in error.message
    else:
        assert mean.shape == (768,) and np.isfinite(mean).all()


def test_components_pair_what_is_there_with_the_weights():
    assets = steering.Assets(mean=MEAN, centroids=CENTROIDS)
    components = assets.components(0.5, [0.0, 2.0])
    assert [weight for _, weight in components] == [0.5, 0.0, 2.0]
    np.testing.assert_array_equal(components[2][0], CENTROIDS[1])
    assert steering.Assets().components(1.0, [1.0]) == []

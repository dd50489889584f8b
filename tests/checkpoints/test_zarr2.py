"""Tensor folders against TensorStore, the library that the original saves with."""

import gzip
import json
import math
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import tensorstore as ts
from hypothesis import given
from hypothesis import strategies as st

from darius.checkpoints import zarr2
from darius.errors import BadCheckpoint


def save_with_tensorstore(folder: Path, array: np.ndarray, chunks: list[int], compressor: dict | None) -> None:
    spec = {
        "driver": "zarr",
        "dtype": array.dtype.name,
        "kvstore": {"driver": "file", "path": f"{folder}/"},
        "metadata": {"shape": list(array.shape), "chunks": chunks, "compressor": compressor},
    }
    ts.open(spec, create=True).result().write(array).result()


def read_with_tensorstore(folder: Path) -> np.ndarray:
    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": f"{folder}/"}}
    return np.asarray(ts.open(spec).result().read().result())


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16, np.int32])
@pytest.mark.parametrize("compressor", [{"id": "gzip", "level": 1}, {"id": "zlib", "level": 5}, None])
@pytest.mark.parametrize(
    ("shape", "chunks"),
    [([7, 5], [7, 5]), ([7, 5], [2, 3]), ([8, 6], [4, 6]), ([5], [2]), ([3, 4, 5], [3, 1, 2]), ([2], [9]), ([], [])],
)
def test_any_chunking_that_tensorstore_writes_is_read(
    tmp_path: Path, shape: list[int], chunks: list[int], compressor: dict | None, dtype: type
) -> None:
    array = np.random.default_rng(5).normal(0, 100, shape).astype(dtype)
    save_with_tensorstore(tmp_path / "t", array, chunks, compressor)
    read = zarr2.read_array(tmp_path / "t", "t")
    assert read.dtype == array.dtype
    assert read.tobytes() == array.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
@pytest.mark.parametrize("chunks", [(6, 8), (3, 8), (2, 2)])
def test_tensorstore_reads_what_is_written(tmp_path: Path, chunks: tuple[int, ...], dtype: type) -> None:
    array = np.random.default_rng(6).normal(size=(6, 8)).astype(dtype)
    zarr2.write_array(tmp_path / "t", array, chunks)
    assert read_with_tensorstore(tmp_path / "t").tobytes() == array.tobytes()


def test_format_version_2_kept_bfloat16_as_unsigned_integers(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).astype(ml_dtypes.bfloat16)
    zarr2.write_array(tmp_path / "t", array, (6,))
    file = tmp_path / "t" / ".zarray"
    file.write_text(file.read_text().replace("bfloat16", "<u2"))
    assert zarr2.read_array(tmp_path / "t", "t").tobytes() == array.tobytes()


def test_a_missing_chunk_is_the_fill_value_only_where_one_is_given(tmp_path: Path) -> None:
    zarr2.write_array(tmp_path / "t", np.ones(4, np.float32), (2,))
    (tmp_path / "t" / "1").unlink()
    with pytest.raises(BadCheckpoint, match="lacks its chunk '1'"):
        zarr2.read_array(tmp_path / "t", "t")
    file = tmp_path / "t" / ".zarray"
    file.write_text(file.read_text().replace('"fill_value":null', '"fill_value":0.5'))
    assert zarr2.read_array(tmp_path / "t", "t").tolist() == [1, 1, 0.5, 0.5]


def test_a_chunk_that_unpacks_to_more_than_it_should_is_refused_early(tmp_path: Path) -> None:
    zarr2.write_array(tmp_path / "t", np.ones(4, np.float32), (4,))
    (tmp_path / "t" / "0").write_bytes(gzip.compress(bytes(50_000_000)))
    with pytest.raises(BadCheckpoint, match=r"longer than its \.zarray says"):
        zarr2.read_array(tmp_path / "t", "t")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("zarr_format", 3),
        ("order", "F"),
        ("filters", [{"id": "delta"}]),
        ("compressor", {"id": "blosc"}),
        ("dtype", "|O"),
        ("dtype", "nonsense"),
        ("shape", [4, 4]),
        ("shape", [10**15]),
        ("chunks", [0]),
        ("chunks", "many"),
    ],
)
def test_an_encoding_that_is_not_known_is_refused_with_the_name(tmp_path: Path, key: str, value: object) -> None:
    zarr2.write_array(tmp_path / "t", np.ones(4, np.float32), (4,))
    file = tmp_path / "t" / ".zarray"
    fields = json.loads(file.read_text())
    file.write_text(json.dumps({**fields, key: value}))
    with pytest.raises(BadCheckpoint, match="'some/tensor' is not readable"):
        zarr2.read_array(tmp_path / "t", "some/tensor")


def test_chunks_of_the_released_sizes_follow_the_original() -> None:
    assert zarr2.choose_chunks((29824, 1024), 4) == (14912, 1024)
    assert zarr2.choose_chunks((1024, 29824), 4) == (1024, 14912)
    assert zarr2.choose_chunks((29824, 768), 4) == (14912, 768)
    assert zarr2.choose_chunks((1024, 2816), 4) == (1024, 2816)


@given(shape=st.lists(st.integers(1, 60), min_size=0, max_size=3), limit=st.integers(4, 4000))
def test_chunks_always_divide_the_shape_and_fit_where_they_can(shape: list[int], limit: int) -> None:
    chunks = zarr2.choose_chunks(tuple(shape), 4, limit)
    assert all(size % chunk == 0 for size, chunk in zip(shape, chunks, strict=True))
    assert math.prod(chunks) * 4 <= limit

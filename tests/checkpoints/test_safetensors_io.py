"""One-file weights: the public format, memory-mapped, with JSON metadata."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from darius.checkpoints import safetensors_io
from darius.errors import BadCheckpoint, OutputExists

RNG = np.random.default_rng(8)
TENSORS = {
    "a/float32": RNG.standard_normal((3, 5), np.float32),
    "a/bfloat16": RNG.standard_normal((7,), np.float32).astype(ml_dtypes.bfloat16),
    "b/float16": RNG.standard_normal((2, 2, 2)).astype(np.float16),
    "b/int8": RNG.integers(-128, 127, (5, 3)).astype(np.int8),
    "scalar": np.float32(3.5).reshape(()),
    "empty": np.zeros((0, 4), np.float32),
}


def test_what_is_saved_is_loaded_bit_for_bit(tmp_path: Path) -> None:
    loaded = safetensors_io.load(safetensors_io.save(tmp_path / "x.safetensors", TENSORS))
    assert loaded.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        assert loaded[name].dtype == array.dtype
        assert loaded[name].shape == array.shape
        assert loaded[name].tobytes() == array.tobytes()


def test_tensors_are_read_only_views_of_the_file_and_aligned(tmp_path: Path) -> None:
    loaded = safetensors_io.load(safetensors_io.save(tmp_path / "x.safetensors", TENSORS))
    for array in loaded.values():
        assert not array.flags.writeable
        assert not array.flags.owndata
        assert array.flags.aligned


def test_the_public_library_reads_it(tmp_path: Path) -> None:
    file = safetensors_io.save(tmp_path / "x.safetensors", TENSORS, {"step": 1})
    read = safetensors.numpy.load_file(file)
    assert read.keys() == TENSORS.keys()
    assert all(read[name].tobytes() == array.tobytes() for name, array in TENSORS.items())


def test_what_the_public_library_writes_is_read(tmp_path: Path) -> None:
    tensors = {"x": TENSORS["a/float32"], "y": TENSORS["b/int8"]}
    safetensors.numpy.save_file(tensors, tmp_path / "x.safetensors", {"format": "np"})
    loaded = safetensors_io.load(tmp_path / "x.safetensors")
    assert all(np.array_equal(loaded[name], array) for name, array in tensors.items())
    assert safetensors_io.metadata(tmp_path / "x.safetensors") == {}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(fields=st.dictionaries(st.text(), json_values, max_size=4))
def test_metadata_is_any_json_object(tmp_path_factory: pytest.TempPathFactory, fields: dict) -> None:
    file = tmp_path_factory.mktemp("meta") / "x.safetensors"
    safetensors_io.save(file, {"x": np.zeros(1, np.float32)}, fields)
    assert safetensors_io.metadata(file) == fields


def test_a_transposed_view_and_big_endian_values_are_saved_by_value(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    tensors = {"transposed": array.T, "big": array.astype(">f4")}
    loaded = safetensors_io.load(safetensors_io.save(tmp_path / "x.safetensors", tensors))
    assert np.array_equal(loaded["transposed"], array.T)
    assert np.array_equal(loaded["big"], array)


def test_a_file_is_replaced_only_when_asked(tmp_path: Path) -> None:
    file = safetensors_io.save(tmp_path / "x.safetensors", {"x": np.zeros(1, np.float32)})
    with pytest.raises(OutputExists):
        safetensors_io.save(file, {"x": np.ones(1, np.float32)})
    safetensors_io.save(file, {"x": np.ones(1, np.float32)}, overwrite=True)
    assert safetensors_io.load(file)["x"].tolist() == [1]
    assert list(tmp_path.iterdir()) == [file]


def test_a_truncated_file_names_the_tensor(tmp_path: Path) -> None:
    file = safetensors_io.save(tmp_path / "x.safetensors", {"weights/kernel": np.ones(100, np.float32)})
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BadCheckpoint, match="'weights/kernel' is truncated"):
        safetensors_io.load(file)


@pytest.mark.parametrize(
    "content", [b"", b"\x05", b"\xff" * 16, (9).to_bytes(8, "little") + b"{not json", b"\2" + bytes(7) + b"[]"]
)
def test_what_is_no_safetensors_file_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(BadCheckpoint, match="not a safetensors file"):
        safetensors_io.load(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F31", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [4, 0]},
        {"dtype": "F32", "shape": "x", "data_offsets": [0, 4]},
        "text",
    ],
)
def test_an_entry_that_makes_no_sense_names_the_tensor(tmp_path: Path, entry: object) -> None:
    header = json.dumps({"some/tensor": entry}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(BadCheckpoint, match="'some/tensor'"):
        safetensors_io.load(tmp_path / "x.safetensors")

"""T5X folders: read, written as the original writes them, and refused with the tensor's name when damaged."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from darius.checkpoints import index, t5x
from darius.checkpoints.t5x import Checkpoint
from darius.errors import BadCheckpoint, OutputExists, OutputFailed

WI, SCALE = "encoder/layers_0/mlp/wi_0/kernel", "encoder/encoder_norm/scale"
WI_FOLDER, SCALE_FOLDER = "target.encoder.layers_0.mlp.wi_0.kernel", "target.encoder.encoder_norm.scale"


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def same_arrays(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype
        and left[name].shape == right[name].shape
        and left[name].tobytes() == right[name].tobytes()
        for name in left
    )


def edit_index(folder: Path, change: Callable[[str, dict], None]) -> None:
    """Rewrites the index; `change` gets every tensor's name and its entry."""
    tree = index.decode((folder / "checkpoint").read_bytes())
    for name, leaf in index.leaves(tree["optimizer"]):
        if isinstance(leaf, dict):
            change(name, leaf)
    (folder / "checkpoint").write_bytes(index.encode(tree))


@pytest.fixture
def folder(tmp_path: Path, small: Checkpoint) -> Path:
    return t5x.write(tmp_path / "checkpoint_1863001", small)


def test_the_golden_checkpoint_has_every_parameter_of_its_configuration(golden_folder: Path) -> None:
    config = json.loads((Path(__file__).parent.parent / "golden/depthformer_test/config.json").read_text())
    shapes = {name: tuple(shape) for name, shape in config["params"].items()}
    params = t5x.read(golden_folder, shapes=shapes)
    assert params.keys() == shapes.keys()
    assert sum(array.size for array in params.values()) == config["num_params"]
    assert {array.dtype for array in params.values()} == {np.dtype(np.float32)}


def test_the_golden_checkpoint_is_written_as_the_original_wrote_it(golden_folder: Path, tmp_path: Path) -> None:
    checkpoint = t5x.read_checkpoint(golden_folder)
    written = t5x.write(tmp_path / "checkpoint_1862001", checkpoint)
    assert checkpoint.step == 1862001
    assert files_of(written) == files_of(golden_folder)
    assert (written / "checkpoint").read_bytes() == (golden_folder / "checkpoint").read_bytes()
    for file in files_of(golden_folder):
        if file.endswith(".zarray"):
            assert (written / file).read_bytes() == (golden_folder / file).read_bytes()


def test_read_write_read_is_bit_identical(golden_folder: Path, tmp_path: Path) -> None:
    before = t5x.read_checkpoint(golden_folder)
    after = t5x.read_checkpoint(t5x.write(tmp_path / "checkpoint_1862001", before))
    assert after.step == before.step
    assert same_arrays(after.params, before.params)
    assert same_arrays(after.param_states, before.param_states)


def test_factored_state_stays_in_the_index_and_full_state_gets_a_folder(folder: Path, small: Checkpoint) -> None:
    assert {path.name for path in folder.iterdir()} == {
        "checkpoint",
        WI_FOLDER,
        SCALE_FOLDER,
        "state.param_states.encoder.encoder_norm.scale.v",
    }
    assert same_arrays(t5x.read_checkpoint(folder).param_states, small.param_states)


def test_bfloat16_keeps_its_type_and_bits(tmp_path: Path, small: Checkpoint) -> None:
    params = {name: array.astype(ml_dtypes.bfloat16) for name, array in small.params.items()}
    folder = t5x.write(tmp_path / "checkpoint_1", Checkpoint(step=1, params=params))
    assert json.loads((folder / WI_FOLDER / ".zarray").read_text())["dtype"] == "bfloat16"
    assert same_arrays(t5x.read(folder), params)


def test_the_index_file_may_be_missing_for_the_parameters(folder: Path, small: Checkpoint) -> None:
    (folder / "checkpoint").unlink()
    assert same_arrays(t5x.read(folder), small.params)
    assert t5x.read_step(folder) == 1863001


def point_into_cloud(name: str, leaf: dict) -> None:
    leaf["kvstore"] = {"driver": "gcs", "bucket": "dummy", "path": f"gs/any/tmp_9/{name.replace('/', '.')}"}


def point_beside_kvstore(name: str, leaf: dict) -> None:
    leaf["path"] = leaf["kvstore"].pop("path").rstrip("/")


def point_with_gfile(name: str, leaf: dict) -> None:
    leaf["kvstore"] = {"driver": "gfile", "path": f"/cns/home/{name.replace('/', '.')}/"}


@pytest.mark.parametrize("spelling", [point_into_cloud, point_beside_kvstore, point_with_gfile])
def test_every_spelling_of_a_place_means_the_local_folder(
    folder: Path, small: Checkpoint, spelling: Callable[[str, dict], None]
) -> None:
    edit_index(folder, spelling)
    read = t5x.read_checkpoint(folder)
    assert same_arrays(read.params, small.params)
    assert same_arrays(read.param_states, small.param_states)


def test_writing_never_replaces_a_checkpoint(folder: Path, small: Checkpoint) -> None:
    with pytest.raises(OutputExists):
        t5x.write(folder, small)


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    bad = Checkpoint(step=1, params={"a/kernel": np.zeros(2, np.float32), "b": np.array(["text"])})
    with pytest.raises(TypeError, match="cannot hold values of type <U4"):
        t5x.write(tmp_path / "checkpoint_1", bad)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, small: Checkpoint) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputFailed, match="cannot be written"):
        t5x.write(tmp_path / "file" / "checkpoint_1", small)


def remove_zarray(folder: Path) -> None:
    (folder / WI_FOLDER / ".zarray").unlink()


def spoil_zarray(folder: Path) -> None:
    (folder / WI_FOLDER / ".zarray").write_text("{")


def remove_folder(folder: Path) -> None:
    shutil.rmtree(folder / WI_FOLDER)


def remove_chunk(folder: Path) -> None:
    (folder / WI_FOLDER / "0.0").unlink()


def truncate_chunk(folder: Path) -> None:
    chunk = folder / WI_FOLDER / "0.0"
    chunk.write_bytes(chunk.read_bytes()[:-20])


def cut_checksum(folder: Path) -> None:
    chunk = folder / WI_FOLDER / "0.0"
    chunk.write_bytes(chunk.read_bytes()[:-3])


def empty_chunk(folder: Path) -> None:
    (folder / WI_FOLDER / "0.0").write_bytes(b"")


def spoil_chunk(folder: Path) -> None:
    (folder / WI_FOLDER / "0.0").write_bytes(b"not gzip at all")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (remove_zarray, "has no .zarray"),
        (spoil_zarray, "not readable"),
        (remove_folder, "is missing"),
        (remove_chunk, "lacks its chunk '0.0'"),
        (truncate_chunk, "is truncated"),
        (cut_checksum, "is truncated"),
        (empty_chunk, "is truncated"),
        (spoil_chunk, "cannot be read"),
    ],
)
def test_damage_is_told_with_the_tensor_and_what_to_do(
    folder: Path, damage: Callable[[Path], None], sentence: str
) -> None:
    damage(folder)
    with pytest.raises(BadCheckpoint) as caught:
        t5x.read(folder)
    assert WI in caught.value.message
    assert sentence in caught.value.message
    assert "again" in caught.value.hint


def test_expected_shapes_are_checked_before_and_after_reading(folder: Path) -> None:
    good = {WI: (6, 8), SCALE: (6,)}
    assert t5x.read(folder, shapes=good).keys() == good.keys()
    for shapes, sentence in [
        ({**good, WI: (8, 6)}, f"'{WI}' has shape [6, 8], but [8, 6] is expected"),
        ({**good, "decoder/x": (1,)}, "lacks the tensor 'decoder/x'"),
        ({WI: (6, 8)}, f"has a tensor '{SCALE}' that this model does not know"),
    ]:
        with pytest.raises(BadCheckpoint) as caught:
            t5x.read(folder, shapes=shapes)
        assert sentence in caught.value.message


@pytest.mark.parametrize(
    "content", [b"", b"\xc1", b"garbage", b"\x80", b"\x93\x01\x02\x03", b"\x81\xa1a\xc7\x04\x01abcd"]
)
def test_an_unreadable_index_is_told(folder: Path, content: bytes) -> None:
    (folder / "checkpoint").write_bytes(content)
    with pytest.raises(BadCheckpoint, match="index file"):
        t5x.read(folder)


def test_what_is_no_checkpoint_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="not a folder"):
        t5x.read(tmp_path / "nowhere")
    with pytest.raises(BadCheckpoint, match="no model tensors"):
        t5x.read(tmp_path)
    with pytest.raises(BadCheckpoint, match="no index file"):
        t5x.read_checkpoint(tmp_path)


def test_an_index_cannot_lead_out_of_the_folder(folder: Path) -> None:
    edit_index(folder, lambda name, leaf: leaf["kvstore"].update(path="../../.."))
    with pytest.raises(BadCheckpoint, match="not readable"):
        t5x.read(folder)

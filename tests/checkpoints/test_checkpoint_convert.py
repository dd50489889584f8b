"""Conversion between T5X and safetensors, and the one loader for every format."""

import time
from pathlib import Path

import numpy as np
import pytest

from darius.checkpoints import convert, safetensors_io, t5x
from darius.checkpoints.t5x import Checkpoint
from darius.errors import BadCheckpoint

GOLDEN_STEP = 1862001


def bits(params: dict[str, np.ndarray]) -> dict[str, tuple[object, ...]]:
    return {name: (array.dtype, array.shape, array.tobytes()) for name, array in params.items()}


def test_an_archive_becomes_one_file_and_a_folder_again_bit_for_bit(
    golden_archive: Path, golden_folder: Path, tmp_path: Path
) -> None:
    file = convert.to_safetensors(
        golden_archive, tmp_path / "x.safetensors", cache_dir=tmp_path, config={"size": "test"}
    )
    facts = safetensors_io.metadata(file)
    assert (facts["step"], facts["config"], facts["source"]) == (GOLDEN_STEP, {"size": "test"}, golden_archive.name)
    assert len(facts["sha256"]) == 64
    folder = convert.to_t5x(file, tmp_path / "back")
    assert bits(t5x.read(folder)) == bits(t5x.read(golden_folder))
    assert t5x.read_checkpoint(folder).step == GOLDEN_STEP


def test_the_three_formats_load_the_same(golden_archive: Path, golden_folder: Path, tmp_path: Path) -> None:
    file = convert.to_safetensors(golden_folder, tmp_path / "x.safetensors", cache_dir=tmp_path)
    loaded = [convert.load(path, cache_dir=tmp_path) for path in (golden_folder, golden_archive, file)]
    assert [weights.step for weights in loaded] == [GOLDEN_STEP] * 3
    assert bits(loaded[0].params) == bits(loaded[1].params) == bits(loaded[2].params)


def test_an_archive_is_converted_once_and_its_unpacked_folder_is_not_kept(golden_archive: Path, tmp_path: Path) -> None:
    convert.load(golden_archive, cache_dir=tmp_path)
    file = convert.cached_safetensors(golden_archive, cache_dir=tmp_path)
    before = file.stat().st_mtime_ns
    start = time.perf_counter()
    convert.load(golden_archive, cache_dir=tmp_path)
    assert time.perf_counter() - start < 0.5
    assert file.stat().st_mtime_ns == before
    assert not list(tmp_path.rglob("target.*"))


def test_shapes_are_checked_in_every_format(tmp_path: Path, small: Checkpoint) -> None:
    folder = t5x.write(tmp_path / "checkpoint_1", small)
    file = convert.to_safetensors(folder, tmp_path / "x.safetensors", cache_dir=tmp_path)
    for path in (folder, file):
        with pytest.raises(BadCheckpoint, match="lacks the tensor 'decoder'"):
            convert.load(path, cache_dir=tmp_path, shapes={"decoder": (1,)})


def test_the_step_of_a_folder_to_write_is_in_its_name_or_in_the_file(tmp_path: Path) -> None:
    params = {"scale": np.ones(2, np.float32)}
    plain = safetensors_io.save(tmp_path / "plain.safetensors", params)
    assert t5x.read_step(convert.to_t5x(plain, tmp_path / "checkpoint_42")) == 42
    with pytest.raises(BadCheckpoint, match="does not say its training step"):
        convert.to_t5x(plain, tmp_path / "nameless")


def test_progress_goes_from_nothing_to_all(tmp_path: Path, small: Checkpoint) -> None:
    seen: list[float] = []
    folder = t5x.write(tmp_path / "checkpoint_1", small)
    convert.to_safetensors(
        folder, tmp_path / "x.safetensors", cache_dir=tmp_path, on_progress=lambda _, fraction: seen.append(fraction)
    )
    assert seen[0] == 0.0
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_other_files_are_refused_with_the_formats(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"x")
    with pytest.raises(BadCheckpoint) as caught:
        convert.load(tmp_path / "weights.bin", cache_dir=tmp_path)
    assert ".safetensors" in caught.value.hint
    for missing in ("none.tgz", "none.safetensors"):
        with pytest.raises(BadCheckpoint):
            convert.load(tmp_path / missing, cache_dir=tmp_path)

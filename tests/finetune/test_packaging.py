"""Checkpoints as archives: whole, the same bytes each time, read back; incomplete folders refused by name."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from pathlib import Path

import msgpack
import numpy as np
import pytest
from known_loops import ROOT
from typer.testing import CliRunner

from darius.checkpoints import archives, index, t5x
from darius.errors import BadCheckpoint, InvalidOption, ModelNotFound, OutputExists
from darius_cli.main import app
from finetune import packaging, places
from finetune.runs import Run, RunFacts

GOLDEN = ROOT / "tests" / "golden" / "depthformer_test" / "checkpoint_1862001.tgz"
TENSOR = "target.decoder.logits_dense.kernel"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint that the original's own saver wrote. Not to be changed."""
    return archives.unpack(GOLDEN, tmp_path_factory.mktemp("golden"))


@pytest.fixture
def checkpoint(tmp_path: Path, original: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "run" / "checkpoint_1862001"))


def names(archive: Path) -> list[str]:
    with tarfile.open(archive) as tar:
        return tar.getnames()


def test_an_archive_is_one_top_folder_with_every_file(checkpoint: Path, tmp_path: Path) -> None:
    made = packaging.package(checkpoint, tmp_path / "out")
    assert made.path == tmp_path / "out" / "checkpoint_1862001.tgz"
    inside = names(made.path)
    assert inside[0] == "checkpoint_1862001"
    files = {str(path.relative_to(checkpoint.parent)) for path in checkpoint.rglob("*")} | {"checkpoint_1862001"}
    assert set(inside) == files
    assert sum(name.endswith("/.zarray") for name in inside) == len([c for c in checkpoint.iterdir() if c.is_dir()])


def test_it_has_the_members_of_an_archive_that_the_community_made(checkpoint: Path, tmp_path: Path) -> None:
    made = packaging.package(checkpoint, tmp_path / "out")
    assert sorted(names(made.path)) == sorted(name.removeprefix("./").rstrip("/") for name in names(GOLDEN))


def test_what_comes_out_is_what_went_in(checkpoint: Path, tmp_path: Path) -> None:
    made = packaging.package(checkpoint, tmp_path / "out")
    ours, theirs = (t5x.read_checkpoint(f) for f in (archives.unpack(made.path, tmp_path / "cache"), checkpoint))
    assert ours.step == theirs.step == 1862001
    for a, b in ((ours.params, theirs.params), (ours.param_states, theirs.param_states)):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
    assert made.tensors == len(theirs.params)
    assert made.parameters == sum(array.size for array in theirs.params.values())


def test_the_manifest_tells_size_and_hash(checkpoint: Path, tmp_path: Path) -> None:
    made = packaging.package(checkpoint, tmp_path / "out", about={"task": "acid"})
    told = json.loads(made.manifest.read_text())
    assert made.manifest.name == "checkpoint_1862001.json"
    assert (told["path"], told["task"], told["optimizer_state"]) == ("checkpoint_1862001.tgz", "acid", True)
    assert told["bytes"] == made.path.stat().st_size
    assert told["sha256"] == archives.content_hash(made.path, tmp_path / "cache") == made.sha256


def test_the_same_checkpoint_gives_the_same_bytes(checkpoint: Path, tmp_path: Path) -> None:
    first = packaging.package(checkpoint, tmp_path / "a")
    other = tmp_path / "elsewhere" / "checkpoint_1862001"
    shutil.copytree(checkpoint, other, copy_function=shutil.copyfile)
    for i, path in enumerate(sorted(other.rglob("*"))):
        os.utime(path, (1_000_000 + i, 1_000_000 + i))
        path.chmod(0o700 if path.is_dir() else 0o600)
    (other / "._checkpoint").write_bytes(b"macOS")
    (other / TENSOR / ".DS_Store").write_bytes(b"macOS")
    second = packaging.package(other, tmp_path / "b")
    assert first.path.read_bytes() == second.path.read_bytes()


def test_without_the_optimisers_state_it_is_smaller_and_still_plays(checkpoint: Path, tmp_path: Path) -> None:
    whole = packaging.package(checkpoint, tmp_path / "a")
    bare = packaging.package(checkpoint, tmp_path / "b", with_optimizer=False)
    assert bare.bytes < whole.bytes and (whole.optimizer_state, bare.optimizer_state) == (True, False)
    read = t5x.read_checkpoint(archives.unpack(bare.path, tmp_path / "cache"))
    assert (read.step, read.param_states) == (1862001, {})
    assert read.params.keys() == t5x.read(checkpoint).keys()


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda c: (c / TENSOR / ".zarray").unlink(), f"{TENSOR}/.zarray"),
        (lambda c: (c / TENSOR / "0.0").unlink(), f"{TENSOR}/0.0"),
        (lambda c: shutil.rmtree(c / TENSOR), TENSOR),
        (lambda c: (c / "checkpoint").unlink(), "the index file 'checkpoint'"),
        (lambda c: [path.unlink() for path in c.rglob(".zarray")], ".zarray"),
    ],
    ids=["no .zarray", "no chunk", "no tensor", "no index", "no .zarray at all"],
)
def test_what_is_missing_is_named_and_nothing_is_written(
    checkpoint: Path, tmp_path: Path, damage: object, named: str
) -> None:
    damage(checkpoint)  # type: ignore[operator]
    with pytest.raises(BadCheckpoint, match="is not whole") as caught:
        packaging.package(checkpoint, tmp_path / "out")
    assert named in caught.value.message
    assert not (tmp_path / "out").exists()


def test_a_parameter_that_the_index_does_not_know_is_missed(checkpoint: Path, tmp_path: Path) -> None:
    tree = index.decode((checkpoint / "checkpoint").read_bytes())
    del tree["optimizer"]["target"]["encoder"]["encoder_norm"]
    (checkpoint / "checkpoint").write_bytes(index.encode(tree))
    with pytest.raises(BadCheckpoint, match="lacks encoder/encoder_norm/scale"):
        packaging.package(checkpoint, tmp_path / "out")


def test_what_is_no_checkpoint_is_told(tmp_path: Path) -> None:
    (tmp_path / "checkpoint_5").mkdir()
    with pytest.raises(BadCheckpoint, match="is not a T5X checkpoint"):
        packaging.package(tmp_path / "checkpoint_5", tmp_path / "out")


@pytest.mark.parametrize("damage", ["another value", "no tensor", "another index"])
def test_an_archive_that_is_not_the_folder_does_not_pass(checkpoint: Path, tmp_path: Path, damage: str) -> None:
    good = packaging.package(checkpoint, tmp_path / "good").path
    other = Path(shutil.copytree(checkpoint, tmp_path / "other" / "checkpoint_1862001"))
    if damage == "another value":
        data = t5x.read_checkpoint(other)
        data.params["encoder/encoder_norm/scale"][3] += 1e-6
        shutil.rmtree(other)
        t5x.write(other, data)
        words = "target.encoder.encoder_norm.scale' came out of the archive as another"
    elif damage == "no tensor":
        (other / "target.extra").mkdir()
        (other / "target.extra" / ".zarray").write_text("{}")
        words = r"lacks target\.extra"
    else:
        tree = msgpack.unpackb((other / "checkpoint").read_bytes(), strict_map_key=False)
        (other / "checkpoint").write_bytes(msgpack.packb(tree | {"more": 1}))
        words = "The index came out of the archive as another"
    packaging.verify(good, checkpoint)
    with pytest.raises(BadCheckpoint, match=words):
        packaging.verify(good, other)


def test_an_archive_is_not_replaced_unasked(checkpoint: Path, tmp_path: Path) -> None:
    packaging.package(checkpoint, tmp_path / "out")
    with pytest.raises(OutputExists, match=r"checkpoint_1862001\.tgz exists already"):
        packaging.package(checkpoint, tmp_path / "out")
    packaging.package(checkpoint, tmp_path / "out", overwrite=True)


def a_run(dataset: Path, name: str, original: Path, steps: list[int]) -> Run:
    run = Run(folder=dataset / "runs" / name)
    run.folder.mkdir(parents=True)
    run.write_facts(RunFacts(task="acid", model="large", first_step=1_860_000))
    for step in steps:
        shutil.copytree(original, run.checkpoint(step))
    return run


def test_a_run_a_checkpoint_and_a_dataset_with_one_run_are_the_same_place(tmp_path: Path, original: Path) -> None:
    run = a_run(tmp_path, "first", original, [1861001, 1861000])
    for path, steps in ((run.folder, [1861000, 1861001]), (tmp_path, [1861000, 1861001])):
        found = places.find(path)
        assert found.run.folder == run.folder and list(found.steps) == steps
    assert list(places.find(run.checkpoint(1861000)).steps) == [1861000]
    found = places.find(run.folder)
    assert list(found.choose(step=None, everything=False)) == [1861001]
    assert list(found.choose(step=1861000, everything=False)) == [1861000]
    assert list(found.choose(step=None, everything=True)) == [1861000, 1861001]
    with pytest.raises(ModelNotFound, match="There is no step 7") as caught:
        found.choose(step=7, everything=False)
    assert "1861000, 1861001" in caught.value.hint
    with pytest.raises(InvalidOption, match="exclude each other"):
        found.choose(step=7, everything=True)


def test_of_several_runs_one_has_to_be_named(tmp_path: Path, original: Path) -> None:
    a_run(tmp_path, "first", original, [5])
    a_run(tmp_path, "second", original, [5])
    with pytest.raises(ModelNotFound, match=r"There are 2 runs in .*: first, second\.") as caught:
        places.find(tmp_path)
    assert str(tmp_path / "runs" / "second") in caught.value.hint
    with pytest.raises(ModelNotFound, match="There is no checkpoint_<step> folder"):
        places.find(tmp_path / "runs")
    with pytest.raises(ModelNotFound, match="There is no folder"):
        places.find(tmp_path / "none")


def test_the_command_packages_into_the_runs_archives(tmp_path: Path, original: Path) -> None:
    run = a_run(tmp_path, "first", original, [1862001])
    result = CliRunner().invoke(app, ["package-ckpt", str(run.folder)])
    assert result.exit_code == 0, result.output
    assert "every tensor was read back" in result.output
    again = CliRunner().invoke(app, ["package-ckpt", str(run.folder)])
    assert again.exit_code == 2 and "--force" in again.stderr
    told = json.loads(CliRunner().invoke(app, ["package-ckpt", str(tmp_path), "--all", "--force", "--json"]).stdout)
    (package,) = told["packages"]
    assert package["path"] == str(run.folder / "archives" / "checkpoint_1862001.tgz")
    manifest = json.loads(Path(package["manifest"]).read_text())
    assert (manifest["task"], manifest["base_model"], manifest["steps_trained"]) == ("acid", "large", 2001)

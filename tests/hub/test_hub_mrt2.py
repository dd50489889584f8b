"""Magenta RealTime 2 by name: from the hub, from the folder of its package's own commands, from a path."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from local_hub import LocalHub, Repo, serve

from darius import hub as hub_room
from darius.errors import BadCheckpoint, DownloadFailed, InvalidOption, ModelNotFound
from darius.hub import ResolvedModel, catalogue, mrt2


def release_files() -> dict[str, bytes]:
    checkpoints = {path: path.encode() * 1000 for path in mrt2.CHECKPOINTS.values()}
    resources = {path: path.encode() for path in mrt2.resource_paths()}
    return {**checkpoints, **resources, "README.md": b"read me", "checkpoints/mrt2_small.mlxfn": b"x"}


def write_release(folder: Path, *, without: tuple[str, ...] = ()) -> Path:
    for name, content in release_files().items():
        if name not in without:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """MAGENTA_HOME, empty."""
    monkeypatch.setenv("MAGENTA_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "magenta-rt-v2"


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with serve(LocalHub(repos={mrt2.REPO: Repo({"main": release_files()})})) as running:
        yield running


def resolve(hub: LocalHub, tmp_path: Path, name: str) -> ResolvedModel:
    return hub_room.resolve(name, cache_dir=tmp_path / "cache", endpoint=hub.url)


def test_a_size_is_fetched_with_what_it_needs_and_nothing_else(hub: LocalHub, tmp_path: Path) -> None:
    model = resolve(hub, tmp_path, "mrt2-small")
    assert (model.kind, model.revision) == ("mrt2", hub.repos[mrt2.REPO].commit("main"))
    root = model.path.parent.parent
    there = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert there == {mrt2.CHECKPOINTS["mrt2-small"], *mrt2.resource_paths()}
    assert mrt2.encoder_file(mrt2.resources_beside(model.path)).is_file()
    assert mrt2.style_folder(mrt2.resources_beside(model.path)).is_dir()


def test_what_the_packages_own_commands_fetched_is_used(hub: LocalHub, tmp_path: Path, home: Path) -> None:
    write_release(home)
    assert resolve(hub, tmp_path, "mrt2-base").path == home / mrt2.CHECKPOINTS["mrt2-base"]
    assert not hub.requests
    assert {e.name for e in catalogue.known(tmp_path / "cache") if e.here} >= {"mrt2-small", "mrt2-base"}


def test_a_home_that_lacks_a_part_is_not_used(hub: LocalHub, tmp_path: Path, home: Path) -> None:
    write_release(home, without=("resources/spectrostream/encoder.safetensors",))
    assert home not in resolve(hub, tmp_path, "mrt2-base").path.parents


def test_a_folder_or_a_file_of_a_release(tmp_path: Path) -> None:
    folder = write_release(tmp_path / "mine", without=(mrt2.CHECKPOINTS["mrt2-base"],))
    small = folder / mrt2.CHECKPOINTS["mrt2-small"]
    for name in (folder, small):
        model = hub_room.resolve(str(name), cache_dir=tmp_path)
        assert (model.kind, model.path) == ("mrt2", small)


def test_a_folder_with_two_checkpoints_asks_which(tmp_path: Path) -> None:
    folder = write_release(tmp_path / "mine")
    with pytest.raises(ModelNotFound, match=r"mrt2_base.safetensors, .*mrt2_small.safetensors"):
        hub_room.resolve(str(folder), cache_dir=tmp_path)


def test_a_release_that_lacks_a_part_is_told(hub: LocalHub, tmp_path: Path) -> None:
    gone = "resources/musiccoca/music_encoder.tflite"
    del hub.repos[mrt2.REPO].revisions["main"][gone]
    with pytest.raises(DownloadFailed, match=gone):
        resolve(hub, tmp_path, "mrt2-small")


def test_a_checkpoint_outside_its_release_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="lies in no release"):
        mrt2.resources_beside(tmp_path / "mrt2_small.safetensors")


def test_the_repository_by_name_points_to_the_sizes(hub: LocalHub, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound) as caught:
        resolve(hub, tmp_path, f"hf:{mrt2.REPO}")
    assert "mrt2-small and mrt2-base" in caught.value.hint


def test_the_catalogue_and_removing(hub: LocalHub, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    shown = catalogue.describe("mrt2-small", cache_dir=cache, endpoint=hub.url)
    assert not shown.here and shown.bytes > 25_000
    for name in mrt2.NAMES:
        resolve(hub, tmp_path, name)
    known = {entry.name: entry for entry in catalogue.known(cache)}
    assert known["mrt2-small"].here and known["mrt2-base"].here and f"hf:{mrt2.REPO}" not in known
    catalogue.remove("mrt2-base", cache_dir=cache)
    known = {entry.name: entry for entry in catalogue.known(cache)}
    assert known["mrt2-small"].here and not known["mrt2-base"].here
    catalogue.remove("mrt2-small", cache_dir=cache)
    assert not list((cache / "hub").glob("*/blobs/*"))


def test_magenta_realtime_2_is_not_for_finetuning() -> None:
    from darius import parts

    with pytest.raises(InvalidOption, match="cannot finetune"):
        parts.of_model("mrt2-small")

"""What a finetune's place offers, and checkpoints that lie there as folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from local_hub import LocalHub, Repo, serve

from darius import hub as hub_room
from darius.errors import ModelNotFound
from darius.hub import catalogue, finetunes

REPO = "someone/finetune"
FILES = {
    "checkpoint_300.tgz": b"archive 300",
    "archives/checkpoint_100.tar.gz": b"archive 100",
    "checkpoint_200/checkpoint": b"meta",
    "checkpoint_200/target.decoder/.zarray": b"{}",
    "checkpoint_300/checkpoint": b"the same step, unpacked",
    "styles/mean_style_embed.npy": b"mean",
    "cluster_centroids.npy": b"centroids",
    "notes/checkpoint_900.txt": b"no checkpoint",
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    with serve(LocalHub(repos={REPO: Repo({"main": FILES})})) as running:
        monkeypatch.setenv("DARIUS_CACHE", str(tmp_path / "cache"))
        yield running


def test_steps_are_archives_and_folders_at_the_root_or_under_archives(hub: LocalHub) -> None:
    assert finetunes.steps(REPO, endpoint=hub.url) == (100, 200, 300)


def test_a_checkpoint_folder_is_fetched_whole(hub: LocalHub, tmp_path: Path) -> None:
    model = hub_room.resolve(f"hf:{REPO}#200", endpoint=hub.url)
    found = {str(file.relative_to(model.path)) for file in model.path.rglob("*") if file.is_file()}
    assert (model.path.name, found) == ("checkpoint_200", {"checkpoint", "target.decoder/.zarray"})
    assert catalogue.describe(f"hf:{REPO}", endpoint=hub.url).steps == (100, 200, 300)


def test_an_archive_wins_over_a_folder_of_the_same_step(hub: LocalHub) -> None:
    assert hub_room.resolve(f"hf:{REPO}#300", endpoint=hub.url).path.name == "checkpoint_300.tgz"


def test_assets_come_from_wherever_they_lie_in_the_repository(hub: LocalHub) -> None:
    found = finetunes.assets(REPO, endpoint=hub.url)
    assert found.mean is not None and found.mean.read_bytes() == b"mean"
    assert found.centroids is not None and found.centroids.read_bytes() == b"centroids"


def test_a_folder_of_checkpoints_offers_the_same(tmp_path: Path) -> None:
    for name in ("checkpoint_100.tgz", "archives/checkpoint_200.tar.gz", "mean_style_embed.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert finetunes.steps(tmp_path) == (100, 200)
    assert finetunes.assets(tmp_path).mean == tmp_path / "mean_style_embed.npy"
    with pytest.raises(ModelNotFound):
        finetunes.steps(tmp_path / "nowhere")

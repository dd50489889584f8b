"""Names resolved to files: against a hub on loopback with a community repository and a stock release, and on disk."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from local_hub import LocalHub, Repo, serve

from darius import hub as hub_room
from darius.checkpoints import convert, t5x
from darius.checkpoints.t5x import Checkpoint
from darius.convert import layout
from darius.errors import BadCheckpoint, DownloadFailed, ModelNotFound
from darius.hub import ResolvedModel, catalogue, resolving, stock
from darius.style.musiccoca import V1_VOCABULARY

USER_REPO = "musician/acid-finetune"


def checkpoint_archive(tmp_path: Path, step: int) -> bytes:
    rng = np.random.default_rng(step)
    params = {"encoder/encoder_norm/scale": rng.standard_normal(3000, np.float32)}
    folder = t5x.write(tmp_path / f"made_{step}" / f"checkpoint_{step}", Checkpoint(step=step, params=params))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(folder, arcname=folder.name)
    return buffer.getvalue()


def npy(*shape: int) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(shape, np.float32))
    return buffer.getvalue()


def stock_files() -> dict[str, bytes]:
    saved = {f"{folder}/saved_model.pb": folder.encode() for folder in layout.SAVED_MODELS}
    variables = {f"{folder}/variables/variables.index": b"i" for folder in layout.SAVED_MODELS}
    weights = {path: path.encode() * 1000 for path in stock.LANGUAGE_MODELS.values()}
    return {**saved, **variables, **weights, V1_VOCABULARY: b"pieces", "README.md": b"read me", "other/x": b"x"}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    community = {
        "checkpoint_1861001.tgz": checkpoint_archive(tmp_path, 1861001),
        "archives/checkpoint_1863001.tar.gz": checkpoint_archive(tmp_path, 1863001),
        "elsewhere/checkpoint_1999999.tgz": b"not at root or under archives",
        "cluster_centroids.npy": npy(5, 768),
        "mean_style_embed.npy": npy(768),
        "README.md": b"hello",
    }
    old = {"checkpoint_1860500.tar": b"older", "README.md": b"hello"}
    repos = {USER_REPO: Repo({"main": community, "v0": old}), stock.REPO: Repo({"main": stock_files()})}
    with serve(LocalHub(repos=repos)) as running:
        yield running


def resolve(hub: LocalHub, tmp_path: Path, name: str, *, offline: bool = False) -> ResolvedModel:
    return hub_room.resolve(name, cache_dir=tmp_path / "cache", endpoint=hub.url, offline=offline)


def test_the_newest_step_of_a_repository_with_its_style_files(hub: LocalHub, tmp_path: Path) -> None:
    model = resolve(hub, tmp_path, f"hf:{USER_REPO}")
    assert (model.kind, model.step, model.revision) == ("hub", 1863001, hub.repos[USER_REPO].commit("main"))
    assert model.path.name == "checkpoint_1863001.tar.gz"
    assert model.assets.mean is not None and np.load(model.assets.mean).shape == (768,)
    assert model.assets.centroids is not None and np.load(model.assets.centroids).shape == (5, 768)
    assert convert.load(model.path, cache_dir=tmp_path / "c").step == 1863001


def test_a_chosen_step_fetches_only_that_archive(hub: LocalHub, tmp_path: Path) -> None:
    assert resolve(hub, tmp_path, f"{USER_REPO}#1861001").path.name == "checkpoint_1861001.tgz"
    assert hub.transfers("checkpoint_1863001.tar.gz") == []


def test_a_chosen_revision(hub: LocalHub, tmp_path: Path) -> None:
    model = resolve(hub, tmp_path, f"hf:{USER_REPO}@v0")
    assert (model.step, model.revision) == (1860500, hub.repos[USER_REPO].commit("v0"))
    assert model.assets == resolving.Assets()


def test_a_commit_is_a_revision_too(hub: LocalHub, tmp_path: Path) -> None:
    assert resolve(hub, tmp_path, f"{USER_REPO}@{hub.repos[USER_REPO].commit('v0')}").step == 1860500


def test_an_unknown_step_lists_the_steps_there_are(hub: LocalHub, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound) as caught:
        resolve(hub, tmp_path, f"{USER_REPO}#5")
    assert "no step 5" in caught.value.message
    assert "1861001, 1863001" in caught.value.hint


def test_a_repository_without_checkpoints_is_told(hub: LocalHub, tmp_path: Path) -> None:
    hub.repos["a/text-model"] = Repo({"main": {"model.bin": b"x"}})
    with pytest.raises(ModelNotFound, match=r"no checkpoint_<step> archive in a/text-model"):
        resolve(hub, tmp_path, "a/text-model")


def test_a_misspelt_repository_gets_the_near_ones(hub: LocalHub, tmp_path: Path) -> None:
    resolve(hub, tmp_path, USER_REPO)
    with pytest.raises(ModelNotFound) as caught:
        resolve(hub, tmp_path, "musician/acid-finetun")
    assert f"Did you mean {USER_REPO}?" in caught.value.hint


def test_offline_the_newest_step_is_the_newest_that_is_here(hub: LocalHub, tmp_path: Path) -> None:
    resolve(hub, tmp_path, f"{USER_REPO}#1861001")
    asked = len(hub.requests)
    model = resolve(hub, tmp_path, USER_REPO, offline=True)
    assert model.step == 1861001
    assert model.note.startswith("Offline")
    assert len(hub.requests) == asked
    with pytest.raises(DownloadFailed, match="offline"):
        resolve(hub, tmp_path, f"{USER_REPO}#1863001", offline=True)


def test_base_brings_its_weights_and_what_codec_and_style_are_made_from(hub: LocalHub, tmp_path: Path) -> None:
    model = resolve(hub, tmp_path, "base")
    assert (model.kind, model.size, model.step) == ("stock", "base", 1_860_000)
    assert model.path.name == "llm_base_x4286_c1860k.tar"
    assert model.v1_source is not None
    for folder in layout.SAVED_MODELS:
        assert (model.v1_source / folder / "saved_model.pb").read_bytes() == folder.encode()
        assert (model.v1_source / folder / "variables/variables.index").is_file()
    assert (model.v1_source / V1_VOCABULARY).is_file()
    assert hub.transfers("llm_large_x3047_c1860k.tar") == []
    assert not list((tmp_path / "cache").rglob("README.md"))


def test_once_codec_and_style_are_converted_only_the_weights_are_fetched(hub: LocalHub, tmp_path: Path) -> None:
    converted = tmp_path / "cache" / "v1"
    converted.mkdir(parents=True)
    (converted / "manifest.json").write_text("{}")
    model = resolve(hub, tmp_path, "large")
    assert model.v1_source is None
    assert not list((tmp_path / "cache").rglob("saved_model.pb"))
    assert hub_room.v1_parts(cache_dir=tmp_path / "cache", offline=True) == converted


def test_codec_and_style_are_fetched_and_handed_to_the_conversion(hub: LocalHub, tmp_path: Path) -> None:
    gone = f"{layout.DECODER}/variables/variables.index"  # the conversion misses it in the folder that it is given
    del hub.repos[stock.REPO].revisions["main"][gone]
    stages: list[str] = []
    with pytest.raises(BadCheckpoint, match=f"has no {gone}"):
        hub_room.v1_parts(
            cache_dir=tmp_path / "cache", endpoint=hub.url, on_progress=lambda stage, _: stages.append(stage)
        )
    assert f"downloading {V1_VOCABULARY}" in stages
    assert not (tmp_path / "cache" / "v1").exists()


def test_a_release_that_lacks_a_part_is_told(hub: LocalHub, tmp_path: Path) -> None:
    del hub.repos[stock.REPO].revisions["main"][V1_VOCABULARY]
    with pytest.raises(DownloadFailed, match=r"has no vocabularies/musiccoca_mv212f_vocab\.model"):
        resolve(hub, tmp_path, "base")


def test_the_stock_repository_by_name_points_to_base_and_large(hub: LocalHub, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound) as caught:
        resolve(hub, tmp_path, f"hf:{stock.REPO}")
    assert "base and large" in caught.value.hint


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """What a finetune leaves: checkpoint folders, an archive of an older one, and the style files beside them."""
    folder = tmp_path / "run"
    params = {"encoder/encoder_norm/scale": np.ones(4, np.float32)}
    for step in (1861001, 1862001):
        t5x.write(folder / f"checkpoint_{step}", Checkpoint(step=step, params=params))
    (folder / "archives").mkdir()
    (folder / "archives" / "checkpoint_1860500.tgz").write_bytes(checkpoint_archive(tmp_path, 1860500))
    (folder / "mean_style_embed.npy").write_bytes(npy(768))
    return folder


def test_a_folder_of_checkpoints_gives_the_newest_or_the_chosen(run: Path, tmp_path: Path) -> None:
    newest = hub_room.resolve(str(run), cache_dir=tmp_path)
    assert (newest.kind, newest.step, newest.path.name) == ("folder", 1862001, "checkpoint_1862001")
    assert newest.assets.mean == run.absolute() / "mean_style_embed.npy"
    chosen = hub_room.resolve(f"{run}#1860500", cache_dir=tmp_path)
    assert (chosen.kind, chosen.path.name) == ("archive", "checkpoint_1860500.tgz")
    assert chosen.assets.mean == run.absolute() / "mean_style_embed.npy"
    with pytest.raises(ModelNotFound) as caught:
        hub_room.resolve(f"{run}#7", cache_dir=tmp_path)
    assert "1860500, 1861001, 1862001" in caught.value.hint


def test_a_checkpoint_itself_in_every_format(run: Path, tmp_path: Path) -> None:
    file = convert.to_safetensors(run / "checkpoint_1861001", tmp_path / "x.safetensors", cache_dir=tmp_path)
    for path, kind in [
        (run / "checkpoint_1861001", "folder"),
        (run / "archives" / "checkpoint_1860500.tgz", "archive"),
        (file, "safetensors"),
    ]:
        model = hub_room.resolve(str(path), cache_dir=tmp_path)
        assert (model.kind, model.path) == (kind, path)


def test_a_folder_like_the_embedded_model_is_a_package(tmp_path: Path) -> None:
    for name in resolving.PACKAGE_FILES:
        (tmp_path / name).write_bytes(b"{}")
    assert hub_room.resolve(str(tmp_path)).kind == "package"


def test_a_path_that_is_there_wins_over_a_repository_of_that_name(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    assert hub_room.resolve("run/checkpoint_1861001", cache_dir=tmp_path, offline=True).kind == "folder"


@pytest.mark.parametrize(("name", "meant"), [("tinny", "tiny"), ("bas", "base"), ("lage", "large")])
def test_a_misspelt_name_gets_the_near_ones(tmp_path: Path, name: str, meant: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        hub_room.resolve(name, cache_dir=tmp_path)
    assert f"Did you mean {meant}" in caught.value.hint


def test_a_misspelt_path_gets_its_neighbours(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound) as caught:
        hub_room.resolve(str(run / "checkpoint_1862002"), cache_dir=tmp_path)
    assert str(run / "checkpoint_1862001") in caught.value.hint


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="no checkpoint_<step> archive"):
        hub_room.resolve(str(tmp_path), cache_dir=tmp_path)


def test_tiny_is_the_folder_inside_the_package() -> None:
    assert hub_room.resolve("tiny").path == resolving.embedded_folder()


def test_a_package_that_lacks_a_part_of_tiny_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "embedded_folder", lambda: tmp_path)
    with pytest.raises(ModelNotFound, match="lacks its embedded model"):
        hub_room.resolve("tiny")


def test_the_catalogue_tells_what_is_here(hub: LocalHub, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert [entry.name for entry in catalogue.known(cache)] == ["tiny", "base", "large", "mrt2-small", "mrt2-base"]
    resolve(hub, tmp_path, f"{USER_REPO}#1861001")
    resolve(hub, tmp_path, "base")
    known = {entry.name: entry for entry in catalogue.known(cache)}
    assert known[f"hf:{USER_REPO}"].steps == (1861001,)
    assert known["base"].here and not known["large"].here
    shown = catalogue.describe(USER_REPO, cache_dir=cache, endpoint=hub.url)
    assert shown.steps == (1861001, 1863001)


def test_removing_frees_what_was_downloaded_and_nothing_shared(hub: LocalHub, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for name in ("base", "large", USER_REPO):
        resolve(hub, tmp_path, name)
    assert catalogue.remove(USER_REPO, cache_dir=cache) > 0
    catalogue.remove("base", cache_dir=cache)
    known = {entry.name: entry.here for entry in catalogue.known(cache)}
    assert known["large"] and not known["base"] and f"hf:{USER_REPO}" not in known
    catalogue.remove("large", cache_dir=cache)
    assert not list((cache / "hub").rglob("saved_model.pb"))
    with pytest.raises(ModelNotFound, match="not in the cache"):
        catalogue.remove("base", cache_dir=cache)


def test_the_one_run_of_a_dataset_is_its_model(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "first"
    checkpoint_folder(run, 1861000)
    checkpoint_folder(run, 1862000)
    (run / "mean_style_embed.npy").write_bytes(npy(768))
    model = hub_room.resolve(str(tmp_path), cache_dir=tmp_path / "cache")
    assert (model.path, model.step) == (run / "checkpoint_1862000", 1862000)
    assert model.assets.mean == run / "mean_style_embed.npy"
    assert hub_room.resolve(f"{tmp_path}#1861000", cache_dir=tmp_path / "cache").step == 1861000
    checkpoint_folder(tmp_path / "runs" / "second", 1861000)
    with pytest.raises(ModelNotFound, match=r"There are 2 runs in .*: first, second\.") as caught:
        hub_room.resolve(str(tmp_path), cache_dir=tmp_path / "cache")
    assert str(run) in caught.value.hint


def checkpoint_folder(run: Path, step: int) -> None:
    params = {"encoder/encoder_norm/scale": np.ones(3, np.float32)}
    t5x.write(run / f"checkpoint_{step}", Checkpoint(step=step, params=params))

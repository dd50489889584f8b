"""Uploads to a hub on loopback over HTTP: what is sent, what is not, what is not sent twice, and every refusal."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from known_loops import ROOT
from local_hub import LARGE, LocalHub, Repo, serve
from typer.testing import CliRunner

from darius import hub as hub_room
from darius.checkpoints import archives, convert, t5x
from darius.errors import InvalidOption, UploadFailed
from darius_cli.main import app
from finetune import manifest, packaging, places, uploading
from finetune.manifest import Manifest, SourceFile
from finetune.places import Place
from finetune.runs import Run, RunFacts

GOLDEN = ROOT / "tests" / "golden" / "depthformer_test" / "checkpoint_1862001.tgz"
REPO = "musician/acid"
STEP = 1862001


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """A hub where the musician's token may write. The client speaks plain LFS, as with hubs that know no Xet."""
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_musician")
    monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)  # the client's own pauses between tries
    with serve(LocalHub(tokens={"hf_musician": ("musician",), "hf_reader": ()})) as running:
        yield running


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with one run of two checkpoints, all it leaves behind, and the archive of the newest."""
    folder = tmp_path_factory.mktemp("dataset")
    described = Manifest(
        task="acid",
        model="large",
        codec_sha256="c",
        style_sha256="s",
        examples=240,
        hours=2.5,
        cluster_sizes=(150, 90),
        tempi={"120": 3},
        licence="CC BY 4.0",
        files=(SourceFile(path="my secret song.wav", sha256="f", seconds=9000, clips=240),),
    )
    described.save(folder)
    (folder / manifest.CLUSTERS_PICTURE).write_bytes(b"png")
    run = Run(folder=folder / "runs" / "first")
    run.folder.mkdir(parents=True)
    run.write_facts(RunFacts(task="acid", model="large", first_step=1_860_000))
    unpacked = archives.unpack(GOLDEN, folder / "cache")
    unpacked.rename(run.checkpoint(STEP))
    t5x.write(run.checkpoint(1861000), dataclasses.replace(t5x.read_checkpoint(run.checkpoint(STEP)), step=1861000))
    np.save(run.folder / "mean_style_embed.npy", np.ones(768, np.float32))
    np.save(run.folder / "cluster_centroids.npy", np.ones((2, 768), np.float32))
    (run.folder / "training_curves.png").write_bytes(b"curves" * LARGE)
    (run.folder / "metrics.jsonl").write_text("{}\n")
    packaging.package(run.checkpoint(STEP), run.folder / "archives")
    return folder


@pytest.fixture
def place(dataset: Path) -> Place:
    return places.find(dataset)


def planned(place: Place, hub: LocalHub, **options: object) -> uploading.Plan:
    packages = uploading.packages_of(place, place.choose(step=None, everything=False))
    repo = str(options.pop("repo", REPO))
    return uploading.plan(place, packages, repo, endpoint=hub.url, **options)  # type: ignore[arg-type]


def send(plan: uploading.Plan, hub: LocalHub) -> str:
    return uploading.send(plan, endpoint=hub.url)


def on_hub(hub: LocalHub, repo: str = REPO) -> dict[str, bytes]:
    return hub.repos[repo].files("main")


def test_archives_steering_files_pictures_and_card_and_nothing_else_are_sent(hub: LocalHub, place: Place) -> None:
    address = send(planned(place, hub), hub)
    assert address.startswith(f"{hub.url}/{REPO}/commit/")
    sent = on_hub(hub)
    assert set(sent) == {
        f"checkpoint_{STEP}.tgz",
        "mean_style_embed.npy",
        "cluster_centroids.npy",
        "training_curves.png",
        "style_clusters.png",
        "README.md",
    }
    for name in ("mean_style_embed.npy", "training_curves.png"):
        assert sent[name] == (place.run.folder / name).read_bytes()
    assert sent[f"checkpoint_{STEP}.tgz"] == (place.archives / f"checkpoint_{STEP}.tgz").read_bytes()


def test_what_was_uploaded_is_resolved_with_its_styles(hub: LocalHub, place: Place, tmp_path: Path) -> None:
    send(planned(place, hub), hub)
    found = hub_room.resolve(f"hf:{REPO}", cache_dir=tmp_path / "cache", endpoint=hub.url)
    assert found.step == STEP and found.assets.mean is not None and found.assets.centroids is not None
    assert convert.load(found.path, cache_dir=tmp_path / "c").step == STEP


def test_the_card_tells_what_people_ask_and_no_file_names(hub: LocalHub, place: Place) -> None:
    send(planned(place, hub), hub)
    card = on_hub(hub)["README.md"].decode()
    head, _, text = card.removeprefix("---\n").partition("\n---\n")
    assert "license: cc-by-4.0" in head and "base_model: google/magenta-realtime" in head
    for fact in (
        "2.5 hours in 240 clips",
        "120 bpm (3)",
        "2,001 steps of batch 8 from step 1,860,000",
        f"darius generate loop.wav --model hf:{REPO}#{STEP}",
        "gary4juce",
        packaging.hashlib.sha256((place.archives / f"checkpoint_{STEP}.tgz").read_bytes()).hexdigest(),
        "![Training curves](training_curves.png)",
        "![Clips by style](style_clusters.png)",
    ):
        assert fact in text, fact
    assert "secret" not in card


def test_a_second_upload_sends_only_what_changed(hub: LocalHub, place: Place) -> None:
    send(planned(place, hub), hub)
    assert planned(place, hub).sending == ()
    mean = place.run.folder / "mean_style_embed.npy"
    before = mean.read_bytes()
    try:
        np.save(mean, np.zeros(768, np.float32))
        plan = planned(place, hub)
        assert {item.name: item.state for item in plan.items if item.state != "the same"} == {mean.name: "changed"}
        uploads = len([1 for method, path, _ in hub.requests if method == "PUT"])
        send(plan, hub)
        assert len([1 for method, path, _ in hub.requests if method == "PUT"]) == uploads
        assert on_hub(hub)[mean.name] == mean.read_bytes() != before
    finally:
        mean.write_bytes(before)


def test_an_upload_that_broke_goes_on_where_it_was(hub: LocalHub, place: Place) -> None:
    hub.statuses["commit"] = [500] * 20
    with pytest.raises(UploadFailed, match=r"failed to take musician/acid \(HTTP 500\)") as caught:
        send(planned(place, hub), hub)
    assert "Give the same command again" in caught.value.hint
    arrived = [path for method, path, _ in hub.requests if method == "PUT"]
    assert len(arrived) == 3 and on_hub(hub) == {}
    hub.statuses.clear()
    send(planned(place, hub), hub)
    assert [path for method, path, _ in hub.requests if method == "PUT"] == arrived
    assert f"checkpoint_{STEP}.tgz" in on_hub(hub)


def test_a_transfer_that_fails_for_a_moment_is_tried_again(hub: LocalHub, place: Place) -> None:
    hub.statuses["upload"] = [503]
    send(planned(place, hub), hub)
    assert f"checkpoint_{STEP}.tgz" in on_hub(hub)


def test_a_new_repository_can_be_private(hub: LocalHub, place: Place) -> None:
    send(planned(place, hub, private=True), hub)
    assert hub.private == {REPO}


def test_a_pull_request_leaves_the_repository_as_it_is(hub: LocalHub, place: Place) -> None:
    hub.repos["someone/else"] = Repo({"main": {"README.md": b"theirs"}})
    address = send(planned(place, hub, repo="someone/else", create_pr=True), hub)
    assert address == f"{hub.url}/someone/else/discussions/1"
    assert on_hub(hub, "someone/else") == {"README.md": b"theirs"}
    ((repo, files),) = hub.pull_requests
    assert repo == "someone/else" and f"checkpoint_{STEP}.tgz" in files


def test_a_card_written_by_hand_can_be_left_alone(hub: LocalHub, place: Place) -> None:
    hub.repos[REPO] = Repo({"main": {"README.md": b"by hand"}})
    send(planned(place, hub, with_card=False), hub)
    assert on_hub(hub)["README.md"] == b"by hand"


def test_without_a_token_it_is_told_how_to_get_one(
    hub: LocalHub, place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    plan = planned(place, hub)
    with pytest.raises(UploadFailed, match="You are not logged in") as caught:
        send(plan, hub)
    assert "hf auth login" in caught.value.hint and "HF_TOKEN" in caught.value.hint
    assert not [path for method, path, _ in hub.requests if method in ("POST", "PUT")]


@pytest.mark.parametrize(
    ("token", "words"), [("hf_wrong", "does not accept your token"), ("hf_reader", "may not write to musician/acid")]
)
def test_a_wrong_token_and_missing_rights_are_told_apart(
    hub: LocalHub, place: Place, monkeypatch: pytest.MonkeyPatch, token: str, words: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    plan = planned(place, hub)
    with pytest.raises(UploadFailed, match=words) as caught:
        send(plan, hub)
    assert "write access" in caught.value.hint
    assert REPO not in hub.repos


def test_a_pull_request_needs_a_repository(hub: LocalHub, place: Place) -> None:
    with pytest.raises(UploadFailed, match="There is no repository someone/else"):
        send(planned(place, hub, repo="someone/else", create_pr=True), hub)


def test_no_connection_is_one_sentence(place: Place) -> None:
    with pytest.raises(UploadFailed, match="broke off"):
        planned(place, LocalHub(url="http://127.0.0.1:9"))


@pytest.mark.parametrize("repo", ["acid", "a/b/c", "hf:a/b", "a/b@main", "../x"])
def test_only_user_name_is_a_repository(hub: LocalHub, place: Place, repo: str) -> None:
    with pytest.raises(InvalidOption):
        planned(place, hub, repo=repo)


def test_archives_are_made_where_there_are_none_and_made_again_when_damaged(dataset: Path, place: Place) -> None:
    archive = place.archives / "checkpoint_1861000.tgz"
    steps = place.choose(step=1861000, everything=False)
    (made,) = uploading.packages_of(place, steps)
    assert made.path == archive and made.optimizer_state
    good = archive.read_bytes()
    archive.write_bytes(good[:-10])
    (again,) = uploading.packages_of(place, steps)
    assert archive.read_bytes() == good and again == made


def test_the_command_shows_first_and_a_dry_run_sends_nothing(
    hub: LocalHub, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", hub.url)  # HF_ENDPOINT is read when the client is imported
    command = ["upload", str(dataset), "--repo", REPO, "--step", str(STEP)]
    result = CliRunner().invoke(app, [*command, "--dry-run"])
    assert result.exit_code == 0, result.output
    assert f"checkpoint_{STEP}.tgz" in result.output and "will be made" in result.output
    assert "nothing was sent" in result.output
    assert not hub.repos and not hub.stored
    told = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert {file["state"] for file in told["files"]} == {"new"} and "/commit/" in told["address"]
    assert "everything is there already" in CliRunner().invoke(app, command).output

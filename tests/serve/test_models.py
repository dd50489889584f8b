"""Models selected, swapped and refused on a running server: nothing but success changes what plays."""

from __future__ import annotations

import concurrent.futures
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import Server, heard, loop_bytes, running_server

from darius.checkpoints import compact, safetensors_io, t5x
from darius.depthformer.config import DepthformerConfig
from darius.hub.resolving import embedded_folder

CONFIG_TYPES = {
    "size": str,
    "revision": str,
    "loaded": bool,
    "active_jam": bool,
    "mean_loaded": bool,
    "centroids_loaded": bool,
    "warmup_done": bool,
}
"""What the app decodes strictly; the rest may be null."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of local models: a finetune of `tiny` with two steps and styles of its own, and a damaged one."""
    root = tmp_path_factory.mktemp("models")
    params = compact.unpack(
        DepthformerConfig.tiny(), safetensors_io.load(embedded_folder() / "depthformer.safetensors")
    )
    t5x.write(root / "mine" / "checkpoint_1861000", t5x.Checkpoint(step=1861000, params=params))
    shutil.copytree(root / "mine" / "checkpoint_1861000", root / "mine" / "checkpoint_1862000")
    rng = np.random.default_rng(1)
    np.save(root / "mine" / "mean_style_embed.npy", rng.normal(size=768).astype(np.float32))
    np.save(root / "mine" / "cluster_centroids.npy", rng.normal(size=(7, 768)).astype(np.float32))
    shutil.copytree(root / "mine" / "checkpoint_1861000", root / "broken" / "checkpoint_5")
    for array in list((root / "broken" / "checkpoint_5").rglob("0.0"))[:3]:
        array.write_bytes(array.read_bytes()[: array.stat().st_size // 2])
    (root / "odd").mkdir()
    np.save(root / "odd" / "mean_style_embed.npy", np.ones(5, np.float32))
    (root / "evil").mkdir()
    np.save(root / "evil" / "cluster_centroids.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return root


@pytest.fixture(scope="module")
def models(root: Path, own_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    flags = ("--max-sessions", "1", "--model-root", str(root), "--allow-repo", "someone/*")
    unreachable = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    with running_server(*flags, output=tmp_path_factory.mktemp("log") / "log.txt", env=unreachable) as server:
        yield server


def select(server: Server, **fields: Any) -> tuple[int, dict[str, Any]]:
    reply = server.post("/model/select", json=fields)
    return reply.status_code, reply.json()


def test_config_has_the_keys_and_types_that_the_app_insists_on(models: Server) -> None:
    config = models.get("/model/config").json()
    assert {key: type(config[key]) for key in CONFIG_TYPES} == CONFIG_TYPES
    assert config["selected_step"] is None and config["centroid_count"] is None and config["size"] == "tiny"


def test_a_dry_run_says_what_would_be_loaded_and_changes_nothing(models: Server) -> None:
    before = models.get("/model/config").json()
    status, told = select(models, repo_id="mine", step="latest", size="tiny", dry_run=True)
    assert (status, told["ok"], told["dry_run"], told["target_step"]) == (200, True, True, 1862000)
    status, told = select(models, size="base", step="none", dry_run=True, sync_assets=False)
    assert (status, told["target_size"], told["target_step"], told["target_repo"]) == (200, "base", None, None)
    assert models.get("/model/config").json() == before


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({}, 400, "invalid_option"),
        ({"step": 5}, 400, "invalid_option"),
        ({"size": "huge", "step": "none"}, 400, "invalid_option"),
        ({"repo_id": "someone/finetune", "step": "soon"}, 400, "invalid_option"),
        ({"repo_id": "stranger/finetune"}, 403, "repo_not_allowed"),
        ({"repo_id": "../../etc"}, 404, "model_not_found"),
        ({"repo_id": "/etc/passwd"}, 404, "model_not_found"),
        ({"repo_id": "mine", "step": 99}, 404, "model_not_found"),
        ({"repo_id": "someone/finetune"}, 502, "download_failed"),
        ({"repo_id": "broken", "step": 5, "prewarm": True}, 422, "bad_checkpoint"),
        ({"repo_id": "mine", "assets_repo_id": "odd"}, 422, "bad_checkpoint"),
        ({"repo_id": 5}, 422, "invalid_field"),
    ],
)
def test_what_cannot_be_loaded_is_said_and_the_old_model_plays_on(
    models: Server, fields: dict[str, Any], status: int, code: str
) -> None:
    found, told = select(models, **fields)
    assert (found, told["code"], told["ok"]) == (status, code, False), told
    config = models.get("/model/config").json()
    assert (config["loaded"], config["warmup_done"], config["size"], config["repo"]) == (True, True, "tiny", None)


def test_a_body_that_is_no_object_is_422(models: Server) -> None:
    for body in (b"[]", b"{", b"\xff", b"null"):
        reply = models.post("/model/select", content=body, headers={"Content-Type": "application/json"})
        assert (reply.status_code, reply.json()["code"]) == (422, "invalid_field")


def test_a_select_is_not_warm_until_it_is_over_and_then_plays_with_its_own_styles(models: Server) -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        body = {"size": "tiny", "ckpt_repo": "mine", "ckpt_step": "1861000", "prewarm": True, "stop_active": True}
        selecting = pool.submit(select, models, **body)
        warm = []
        while not selecting.done():
            warm.append(models.get("/model/config").json()["warmup_done"])
        status, told = selecting.result()
    assert (status, told["ok"], told["warmup_done"], told["target_step"]) == (200, True, True, 1861000)
    assert False in warm and told["assets_probe"]["ok"]
    config = models.get("/model/config").json()
    assert (config["selected_step"], config["mean_loaded"], config["centroid_count"]) == ("1861000", True, 7)
    assert models.get("/model/assets/status").json()["centroid_count"] == 7
    files = {"loop_audio": ("x.wav", loop_bytes())}
    steered = {"bpm": "240", "bars": "1", "seed": "1", "centroid_weights": "0,0,2.0", "mean": "1.0"}
    one = models.post("/generate", data=steered, files=files).json()
    other = models.post("/generate", data=steered | {"mean": "0", "centroid_weights": ""}, files=files).json()
    assert len(heard(one["audio_base64"])) == 44100 and one["audio_base64"] != other["audio_base64"]


def test_swap_takes_another_step_of_the_same_place(models: Server) -> None:
    assert models.post("/model/swap", data={"step": "1862000"}).json() == {"reloaded": True, "step": 1862000}
    assert models.get("/model/config").json()["selected_step"] == "1862000"
    listed = models.get("/model/checkpoints", params={"repo_id": "mine", "revision": "main"}).json()
    assert listed == {"repo": "mine", "revision": "main", "steps": [1861000, 1862000], "latest": 1862000}


@pytest.mark.parametrize(("place", "status"), [("odd", 422), ("evil", 422), ("broken", 404), ("nowhere/at/all", 404)])
def test_assets_of_a_wrong_shape_or_kind_are_refused_and_the_old_ones_stay(
    models: Server, place: str, status: int
) -> None:
    before = models.get("/model/assets/status").json()
    reply = models.post("/model/assets/load", json={"repo_id": place})
    assert (reply.status_code, reply.json()["ok"]) == (status, False), reply.text
    assert models.get("/model/assets/status").json() == before


def test_assets_can_be_loaded_by_form_or_json(models: Server) -> None:
    for body in ({"data": {"repo_id": "mine"}}, {"json": {"repo_id": "mine"}}):
        assert {"ok": True, "mean": True, "centroids": 7}.items() <= models.post(
            "/model/assets/load", **body
        ).json().items()


def test_a_running_jam_is_stopped_or_keeps_the_model_as_asked(models: Server) -> None:
    started = models.post("/jam/start", data={"bpm": "240", "bars_per_chunk": "1"}, files={"loop_audio": loop_bytes()})
    session = started.json()["session_id"]
    status, told = select(models, size="tiny", step="none", stop_active=False)
    assert (status, told["code"]) == (409, "jam_running") and models.get("/model/config").json()["active_jam"]
    status, told = select(models, size="tiny", step="none", stop_active=True, prewarm=True, sync_assets=False)
    assert (status, told["target_step"], told["active_jam"]) == (200, None, False)
    assert models.get("/jam/next", params={"session_id": session}).status_code == 408
    config = models.get("/model/config").json()
    assert (config["mean_loaded"], config["assets_repo"], config["selected_step"]) == (False, None, None)

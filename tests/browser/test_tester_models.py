"""The tester chooses models and steers finetunes, on a server with a key of its own and a folder of models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import Server, running_server

from .wire import messages, wait_until

KEY = {"X-API-Key": "secret"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the key "secret", three checkpoints in mine/ and a finetune's assets in assets/."""
    root: Path = tmp_path_factory.mktemp("models")
    for folder in ("mine", "assets"):
        (root / folder).mkdir()
    for step in (100, 300, 200):
        (root / "mine" / f"checkpoint_{step}.tgz").write_bytes(b"cut off")
    rng = np.random.default_rng(0)
    np.save(root / "assets" / "mean_style_embed.npy", rng.normal(size=768).astype(np.float32))
    np.save(root / "assets" / "cluster_centroids.npy", rng.normal(size=(3, 768)).astype(np.float32))
    env = {"DARIUS_API_KEY": "secret", "DARIUS_MODEL_ROOT": str(root)}
    with running_server(output=root / "log.txt", env=env) as running:
        yield running


@pytest.fixture
def page(visit: Callable[..., Any], guarded: Server) -> Iterator[Any]:
    """The tester with its model card open and the key given."""
    page = visit(f"{guarded.url}/tester")
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert "asks for a key" in alert.inner_text()
    assert page.get_by_role("button", name="Start").is_disabled()
    page.get_by_label("Server's key").fill("secret")
    page.get_by_label("Server's key").blur()
    page.get_by_text("tiny, ready").wait_for()
    wait_until(page, lambda: alert.count() == 0)
    yield page


def test_checkpoints_are_listed_newest_first(page: Any) -> None:
    page.get_by_label("Finetune's repository").fill("mine")
    page.get_by_role("button", name="List checkpoints").click()
    page.get_by_text("3 checkpoints, the newest is step 300.").wait_for()
    options = page.locator("#step option").all_inner_texts()
    assert options == ["latest", "step 300", "step 200", "step 100"]


def test_assets_bring_sliders_that_steer(page: Any) -> None:
    assert page.get_by_text("Steer the finetune").is_hidden()
    page.get_by_label("Assets from").fill("assets")
    page.get_by_role("button", name="Load assets alone").click()
    page.get_by_text("Steer the finetune").wait_for()
    page.get_by_label("Centroid 2").fill("1.5")
    page.get_by_role("radio", name="Words alone").check()
    page.get_by_role("button", name="Start").click()
    wait_until(page, lambda: messages(page, sent=False, kind="started"))
    assert messages(page, sent=False, kind="started")[0]["steering_assets"] == "loaded"
    params = messages(page, sent=True, kind="start")[0]["params"]
    assert (params["mean"], params["centroid_weights"]) == (1, "0,1.5,0")
    page.get_by_label("Mean of the finetune").fill("0.2")
    wait_until(page, lambda: [m for m in messages(page, sent=False, kind="status") if m.get("updated")])
    assert messages(page, sent=True, kind="update")[-1]["mean"] == 0.2
    assert page.get_by_role("alert").count() == 0
    page.get_by_role("button", name="Stop").click()


def test_another_model_is_loaded_and_said_and_one_that_cannot_be_leaves_the_old_one(page: Any, guarded: Server) -> None:
    page.get_by_label("Finetune's repository").fill("mine")  # its checkpoints are damaged
    page.get_by_role("button", name="Load and warm up").click()
    page.get_by_role("alert").wait_for()
    assert guarded.get("/model/config", headers=KEY).json()["loaded"]
    page.get_by_role("button", name="Close").click()
    page.get_by_label("Finetune's repository").fill("")
    page.get_by_role("button", name="Load and warm up").click()
    page.get_by_text("tiny plays from now on.").wait_for()
    assert page.get_by_text("Steer the finetune").is_hidden()  # the stock model has no assets
    wait_until(page, lambda: page.locator("#server-line").inner_text() == "tiny, ready")


def test_a_server_that_goes_away_is_missed(page: Any, guarded: Server) -> None:
    assert guarded.stop() == 0
    page.get_by_role("alert").wait_for()
    assert "cannot be reached" in page.get_by_role("alert").inner_text()
    assert page.get_by_role("button", name="Start").is_disabled()

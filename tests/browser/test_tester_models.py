"""The tester chooses models, steers finetunes, and gives a guarded server its key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serving import Server, running_server

from .wire import messages, wait_until


@pytest.fixture
def page(visit: Callable[..., Any]) -> Any:
    """The tester with its model card open."""
    page = visit()
    page.locator("#model-details summary").click()
    page.get_by_text("tiny, ready").wait_for()
    return page


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


def test_another_model_is_loaded_and_said_and_one_that_cannot_be_leaves_the_old_one(page: Any, server: Server) -> None:
    page.get_by_label("Finetune's repository").fill("mine")  # its checkpoints are damaged
    page.get_by_role("button", name="Load and warm up").click()
    page.get_by_role("alert").wait_for()
    assert server.get("/model/config").json()["loaded"]
    page.get_by_role("button", name="Close").click()
    page.get_by_label("Finetune's repository").fill("")
    page.get_by_role("button", name="Load and warm up").click()
    page.get_by_text("tiny plays from now on.").wait_for()
    assert page.get_by_text("Steer the finetune").is_hidden()  # the stock model has no assets
    wait_until(page, lambda: page.locator("#server-line").inner_text() == "tiny, ready")


def test_a_guarded_server_gets_its_key_and_one_that_goes_away_is_missed(
    visit: Callable[..., Any], tmp_path: Path
) -> None:
    with running_server(output=tmp_path / "log.txt", env={"DARIUS_API_KEY": "secret"}, ready=None) as guarded:
        page = visit(f"{guarded.url}/tester")
        alert = page.get_by_role("alert")
        alert.wait_for()
        assert "asks for a key" in alert.inner_text()
        assert page.get_by_role("button", name="Start").is_disabled()
        page.get_by_label("Server's key").fill("secret")
        page.get_by_label("Server's key").blur()
        wait_until(page, lambda: alert.count() == 0)
    alert.wait_for()
    assert "cannot be reached" in alert.inner_text()
    assert page.get_by_role("button", name="Start").is_disabled()

"""What a select means, and what the owner allows: pure decisions, nothing loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from darius.errors import DariusError, InvalidOption
from serve.choice import Allowed, Choice, at_start, choose, finetune, parse_step, stock
from serve.settings import Settings

FINETUNE = finetune("someone/acid", size="large", step=7, assets="someone/acid")


def chosen(*, now: Choice | None = None, allowed: Allowed | None = None, **fields: Any) -> Choice:
    unsaid = {"size": None, "repo": None, "step": None, "revision": None, "assets_repo": None, "sync_assets": True}
    return choose(**(unsaid | fields), now=now, allowed=allowed or Allowed())


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"size": "large", "step": "none"}, "large"),
        ({"size": "base"}, "base"),
        ({"size": "large", "repo": "a/b", "step": "none"}, "large"),  # the plugin's menu entry "none"
        ({"size": "large", "repo": "a/b", "step": "latest"}, "hf:a/b"),
        ({"size": "large", "repo": "a/b"}, "hf:a/b"),
        ({"size": "large", "repo": "a/b", "step": "1863001", "revision": "main"}, "hf:a/b#1863001"),
        ({"repo": "a/b", "step": 3, "revision": "v2"}, "hf:a/b@v2#3"),
        ({"step": 9}, "hf:someone/acid#9"),
        ({"step": "NONE"}, "large"),
        ({"repo": None, "step": "latest"}, "hf:someone/acid"),
    ],
)
def test_a_select_names_a_model(fields: dict[str, Any], name: str) -> None:
    assert chosen(now=FINETUNE, **fields).name == name


def test_assets_come_from_the_repository_from_elsewhere_or_not_at_all() -> None:
    assert chosen(repo="a/b").assets == "a/b"
    assert chosen(repo="a/b", assets_repo="c/d").assets == "c/d"
    assert chosen(repo="a/b", sync_assets=False).assets is None
    assert chosen(size="base", step="none").assets is None


@pytest.mark.parametrize("step", ["soon", "-1", "1.5", "9" * 13, "٣"])
def test_a_step_is_a_number_latest_or_none(step: str) -> None:
    with pytest.raises(InvalidOption):
        parse_step(step)


@pytest.mark.parametrize(
    ("step", "meant"), [("", None), (None, None), (0, 0), ("0", 0), (" Latest ", "latest"), (5, 5)]
)
def test_steps_are_forgiving_in_their_form(step: str | int | None, meant: object) -> None:
    assert parse_step(step) == meant


@pytest.mark.parametrize(
    "name", ["../x", "/etc", "~/x", ".", "a/b/c", "a\\b", "a/../b", "a/b@main", "a/b#5", "a--b/c", "", "hf:", "a/b\0"]
)
def test_a_repository_has_a_strict_name_and_paths_need_a_root(name: str) -> None:
    with pytest.raises(DariusError) as caught:
        Allowed().place(name)
    assert caught.value.http_status in (400, 403)


def test_a_root_holds_its_models_and_nothing_outside_it(tmp_path: Path) -> None:
    (tmp_path / "root" / "mine").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "secret")
    allowed = Allowed(root=(tmp_path / "root").resolve())
    assert allowed.place("mine") == allowed.place(str(tmp_path / "root" / "mine")) == allowed.root / "mine"
    for outside in ("../secret", str(tmp_path / "secret"), "link", "mine/../../secret"):
        with pytest.raises(DariusError) as caught:
            allowed.place(outside)
        assert caught.value.http_status in (400, 404), outside


def test_listed_repositories_alone_are_loaded() -> None:
    allowed = Allowed.by(Settings(allow_repo="someone/*, other/one", repo="own/model"))
    assert [allowed.place(name) for name in ("someone/x", "other/one", "own/model")]
    with pytest.raises(DariusError) as caught:
        allowed.place("other/two")
    assert (caught.value.http_status, caught.value.code) == (403, "repo_not_allowed")


@pytest.mark.parametrize("size", ["huge", "a/b", "/etc", "hf:a/b", ""])
def test_a_size_is_a_models_own_name(size: str) -> None:
    with pytest.raises(InvalidOption):
        stock(size)


def test_the_start_follows_the_originals_environment_and_darius_own() -> None:
    assert at_start(Settings()).name == "tiny"
    assert at_start(Settings(size="base")).name == "base"
    ours = at_start(Settings(size="large", repo="a/b", step="12", revision="main", assets_repo="c/d"))
    assert (ours.name, ours.assets, ours.size) == ("hf:a/b#12", "c/d", "large")
    named = at_start(Settings(model="hf:a/b@v1#3"))
    assert (named.repo, named.revision, named.step, named.assets) == ("a/b", "v1", 3, "a/b")

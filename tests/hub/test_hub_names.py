"""The grammar of model names."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darius.errors import InvalidOption
from darius.hub.names import ModelRef, parse

letters = "aZ09"
part = st.builds(
    "{}{}{}".format, st.sampled_from(letters), st.text(letters + "._-", max_size=6), st.sampled_from(letters)
).filter(lambda text: "--" not in text and ".." not in text)
revision = st.none() | st.builds("{}{}".format, st.sampled_from(letters), st.text(letters + "._/-", max_size=8))
step = st.none() | st.integers(0, 10**12 - 1)


@pytest.mark.parametrize("name", ["tiny", " tiny "])
def test_tiny_is_embedded(name: str) -> None:
    assert parse(name) == ModelRef(kind="embedded", text="tiny")


@pytest.mark.parametrize("name", ["base", "large"])
def test_base_and_large_are_stock(name: str) -> None:
    assert parse(name).kind == "stock"


def test_a_repository_with_revision_and_step() -> None:
    ref = parse("hf:user/my.finetune_2@v1.0#1863001")
    assert (ref.kind, ref.repo, ref.revision, ref.step) == ("hub", "user/my.finetune_2", "v1.0", 1863001)


def test_a_revision_may_be_a_pull_request() -> None:
    assert parse("user/repo@refs/pr/3").revision == "refs/pr/3"


def test_hf_may_be_left_out_and_then_a_path_of_that_name_is_possible() -> None:
    assert parse("hf:user/repo").explicit
    assert not parse("user/repo").explicit
    assert parse("user/repo").kind == "hub"


@pytest.mark.parametrize(
    "name",
    ["./a/b", "../b", "/a/b", "~/b", "a/b/", "a/checkpoint_7.tgz", "a/c.tar", "a/c.TAR.GZ", "a/b.safetensors", "a\\b"],
)
def test_what_cannot_be_a_repository_is_a_path(name: str) -> None:
    assert parse(name) == ModelRef(kind="path", text=name, path=Path(name))


@pytest.mark.parametrize("name", ["checkpoint_7", "a/b/c", "-a/b"])
def test_other_words_are_paths_too(name: str) -> None:
    assert parse(name).path == Path(name)


def test_a_path_may_have_a_step() -> None:
    ref = parse("./runs#1862001")
    assert (ref.path, ref.step) == (Path("./runs"), 1862001)
    assert parse("a/c.tgz#7").kind == "path"


@pytest.mark.parametrize(
    "name", ["", "  ", "hf:", "hf:user", "hf:user/", "hf:a/b/c", "hf:a/b#x", "hf:a b/c", "hf:a/../b"]
)
def test_what_is_no_name_is_refused_with_the_grammar(name: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        parse(name)
    assert "hf:user/repo" in caught.value.hint


@given(user=part, repo=part, revision=revision, step=step)
def test_every_repository_name_is_read_back_from_its_spelling(
    user: str, repo: str, revision: str | None, step: int | None
) -> None:
    ref = ModelRef(kind="hub", text="", repo=f"{user}/{repo}", revision=revision, step=step)
    again = parse(str(ref))
    assert (again.kind, again.repo, again.revision, again.step) == ("hub", f"{user}/{repo}", revision, step)


@given(st.text())
def test_any_text_is_a_name_or_is_refused_in_one_way(text: str) -> None:
    try:
        ref = parse(text)
    except InvalidOption:
        return
    assert ref.kind in ("embedded", "stock", "path", "hub")
    assert (ref.kind == "hub") == (ref.repo is not None)
    assert (ref.kind == "path") == (ref.path is not None)

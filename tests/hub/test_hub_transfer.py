"""Downloads over real HTTP from a hub on loopback: resumed, verified, and clear about what went wrong."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from local_hub import LocalHub, Repo, serve

from darius.errors import DownloadFailed, ModelNotFound
from darius.hub.cache import RepoCache
from darius.hub.listing import Listing, list_repo
from darius.hub.transfer import fetch

BIG = np.random.default_rng(1).bytes(300_000)
SMALL = b"a small file"
NAME = "user/repo"


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with serve(LocalHub(repos={NAME: Repo({"main": {"big.bin": BIG, "small.txt": SMALL, "empty": b""}})})) as running:
        yield running


@pytest.fixture
def cache(tmp_path: Path) -> RepoCache:
    return RepoCache(root=tmp_path, repo=NAME)


def listed(hub: LocalHub, cache: RepoCache, *, offline: bool = False) -> Listing:
    return list_repo(NAME, revision=None, cache=cache, endpoint=hub.url, offline=offline)


def test_files_arrive_under_their_names(hub: LocalHub, cache: RepoCache) -> None:
    folder = fetch(listed(hub, cache), ["big.bin", "small.txt", "empty"], cache=cache, endpoint=hub.url)
    assert (folder / "big.bin").read_bytes() == BIG
    assert (folder / "small.txt").read_bytes() == SMALL
    assert (folder / "empty").read_bytes() == b""


def test_progress_rises_to_one(hub: LocalHub, cache: RepoCache) -> None:
    seen: list[float] = []
    fetch(listed(hub, cache), ["big.bin"], cache=cache, endpoint=hub.url, on_progress=lambda _, f: seen.append(f))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_what_is_here_is_not_fetched_again(hub: LocalHub, cache: RepoCache) -> None:
    listing = listed(hub, cache)
    fetch(listing, ["big.bin"], cache=cache, endpoint=hub.url)
    fetch(listing, ["big.bin"], cache=cache, endpoint=hub.url)
    assert len(hub.transfers("big.bin")) == 1


def test_a_new_commit_fetches_only_what_changed(hub: LocalHub, cache: RepoCache) -> None:
    fetch(listed(hub, cache), ["big.bin", "small.txt"], cache=cache, endpoint=hub.url)
    hub.repos[NAME].revisions["main"]["small.txt"] = b"changed"
    folder = fetch(listed(hub, cache), ["big.bin", "small.txt"], cache=cache, endpoint=hub.url)
    assert (folder / "small.txt").read_bytes() == b"changed"
    assert (folder / "big.bin").read_bytes() == BIG
    assert len(hub.transfers("big.bin")) == 1


def test_a_transfer_that_is_cut_resumes_where_it_broke(hub: LocalHub, cache: RepoCache) -> None:
    hub.cuts["big.bin"] = [100_000]
    folder = fetch(listed(hub, cache), ["big.bin"], cache=cache, endpoint=hub.url)
    assert (folder / "big.bin").read_bytes() == BIG
    assert hub.transfers("big.bin") == [None, "bytes=100000-"]


def test_the_next_run_resumes_what_an_earlier_one_left(hub: LocalHub, cache: RepoCache) -> None:
    listing = listed(hub, cache)
    part = cache.blob(f"{listing.files['big.bin'].digest}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(BIG[:200_000])
    folder = fetch(listing, ["big.bin"], cache=cache, endpoint=hub.url)
    assert (folder / "big.bin").read_bytes() == BIG
    assert hub.transfers("big.bin") == ["bytes=200000-"]
    assert not part.exists()


def test_a_server_without_ranges_sends_it_all_again(hub: LocalHub, cache: RepoCache) -> None:
    hub.cuts["big.bin"] = [100_000]
    hub.ignore_ranges = True
    folder = fetch(listed(hub, cache), ["big.bin"], cache=cache, endpoint=hub.url)
    assert (folder / "big.bin").read_bytes() == BIG


def test_a_damaged_half_is_thrown_away_and_fetched_anew(hub: LocalHub, cache: RepoCache) -> None:
    listing = listed(hub, cache)
    part = cache.blob(f"{listing.files['big.bin'].digest}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 200_000)
    folder = fetch(listing, ["big.bin"], cache=cache, endpoint=hub.url)
    assert (folder / "big.bin").read_bytes() == BIG


def test_content_that_stays_damaged_is_refused_and_not_kept(hub: LocalHub, cache: RepoCache) -> None:
    hub.damaged["big.bin"] = 2
    listing = listed(hub, cache)
    with pytest.raises(DownloadFailed, match=r"big\.bin of user/repo arrived damaged"):
        fetch(listing, ["big.bin"], cache=cache, endpoint=hub.url)
    assert not cache.snapshot(listing.commit).exists()
    assert not list(cache.blob("x").parent.glob("*.part"))


def test_a_passing_503_is_waited_out(hub: LocalHub, cache: RepoCache) -> None:
    hub.statuses["big.bin"] = [503, 503]
    folder = fetch(listed(hub, cache), ["big.bin"], cache=cache, endpoint=hub.url)
    assert (folder / "big.bin").read_bytes() == BIG


def test_a_lasting_503_is_told_and_what_came_is_kept(hub: LocalHub, cache: RepoCache) -> None:
    listing = listed(hub, cache)
    hub.statuses["big.bin"] = [503] * 20
    part = cache.blob(f"{listing.files['big.bin'].digest}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(BIG[:1000])
    with pytest.raises(DownloadFailed, match="HTTP 503"):
        fetch(listing, ["big.bin"], cache=cache, endpoint=hub.url)
    assert part.read_bytes() == BIG[:1000]


@pytest.mark.parametrize(("status", "hint"), [(403, "Accept its terms"), (429, "few minutes"), (503, "few minutes")])
def test_a_hub_that_refuses_is_named_with_what_to_do(hub: LocalHub, cache: RepoCache, status: int, hint: str) -> None:
    hub.statuses[NAME] = [status]
    with pytest.raises(DownloadFailed) as caught:
        listed(hub, cache)
    assert hint in caught.value.hint


def test_a_missing_or_private_repository_is_not_found(hub: LocalHub, tmp_path: Path) -> None:
    cache = RepoCache(root=tmp_path, repo="user/other")
    with pytest.raises(ModelNotFound, match="no repository user/other on the hub, or it is private"):
        list_repo("user/other", revision=None, cache=cache, endpoint=hub.url)


def test_an_unknown_revision_is_not_found(hub: LocalHub, cache: RepoCache) -> None:
    with pytest.raises(ModelNotFound, match="no revision 'v9'"):
        list_repo(NAME, revision="v9", cache=cache, endpoint=hub.url)


def test_a_hub_that_is_not_there_is_told(cache: RepoCache) -> None:
    with pytest.raises(DownloadFailed, match="cannot be reached"):
        list_repo(NAME, revision=None, cache=cache, endpoint="http://127.0.0.1:9")


def test_a_hub_that_is_not_there_is_no_obstacle_to_what_is_cached(hub: LocalHub, cache: RepoCache) -> None:
    fetch(listed(hub, cache), ["small.txt"], cache=cache, endpoint=hub.url)
    listing = list_repo(NAME, revision=None, cache=cache, endpoint="http://127.0.0.1:9")
    assert "Using what was downloaded before" in listing.note
    folder = fetch(listing, ["small.txt"], cache=cache, endpoint="http://127.0.0.1:9")
    assert (folder / "small.txt").read_bytes() == SMALL


def test_offline_uses_what_is_here_and_asks_nothing(hub: LocalHub, cache: RepoCache) -> None:
    fetch(listed(hub, cache), ["small.txt"], cache=cache, endpoint=hub.url)
    asked = len(hub.requests)
    listing = listed(hub, cache, offline=True)
    fetch(listing, ["small.txt"], cache=cache, offline=True, endpoint=hub.url)
    with pytest.raises(DownloadFailed, match=r"big\.bin of user/repo is not in the cache, and Darius is offline"):
        fetch(listing, ["big.bin"], cache=cache, offline=True, endpoint=hub.url)
    assert listing.note.startswith("Offline")
    assert len(hub.requests) == asked


def test_offline_without_anything_cached_says_so(hub: LocalHub, cache: RepoCache) -> None:
    with pytest.raises(ModelNotFound, match="not in the cache, and Darius is offline"):
        listed(hub, cache, offline=True)
    assert hub.requests == []


def test_an_endpoint_that_is_no_hub_is_told(hub: LocalHub, cache: RepoCache) -> None:
    hub.nonsense = True
    with pytest.raises(DownloadFailed, match="not understood"):
        listed(hub, cache)

"""What models there are, here and on the hub, and how much room they take: for people who look, not for loading."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from darius.errors import DownloadFailed, InvalidOption, ModelNotFound
from darius.hub import mrt2, stock
from darius.hub.cache import RepoCache, cache_root, cached_repos, disk_usage, v1_folder
from darius.hub.listing import Listing, list_repo
from darius.hub.names import EMBEDDED, STOCK, ModelRef, parse
from darius.hub.resolving import embedded_folder, files_of, resolve, steps_of


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model as `darius models` shows it.

    Attributes:
      name: what to write after --model.
      kind: "embedded", "stock", "hub", or of a local one: "folder", "archive", "safetensors", "package".
      here: whether it can be used without the network.
      bytes: its size on this machine, or to download when it is not here.
      steps: the training steps there are.
      revision: the commit, of a repository.
      path: where it is, when it is here.
      note: what else to know.
    """

    name: str
    kind: str
    here: bool
    bytes: int = 0
    steps: tuple[int, ...] = ()
    revision: str | None = None
    path: Path | None = None
    note: str = ""


def known(cache_dir: Path | None = None) -> list[Entry]:
    """The embedded and the stock models, and every repository in the cache. Asks no network."""
    root = cache_dir or cache_root()
    repos = [cache.repo for cache in cached_repos(root) if cache.repo not in (stock.REPO, mrt2.REPO)]
    entries = [_embedded()]
    for name in STOCK:
        entries.append(_stock_if_here(name, root) or _unknown(name, "stock", (stock.STEP,)))
    for name in mrt2.NAMES:
        entries.append(_mrt2_if_here(name, root) or _unknown(name, "mrt2"))
    for repo in repos:
        listing = _cached_listing(repo, root)
        if listing is not None:
            entry = _repo_entry(f"hf:{repo}", listing, root, only_cached=True)
            entries.append(dataclasses.replace(entry, note=""))
    return entries


def describe(name: str, *, offline: bool = False, cache_dir: Path | None = None, endpoint: str | None = None) -> Entry:
    """One model in detail. Downloads no weights; a repository's listing is asked for.

    Raises:
      InvalidOption, ModelNotFound, DownloadFailed: as `resolve`.
    """
    ref, root = parse(name), cache_dir or cache_root()
    if ref.kind == "embedded":
        return _embedded()
    if ref.kind == "path" or (not ref.explicit and Path(ref.text).expanduser().exists()):
        return _local(name, root)
    if ref.kind == "mrt2" and mrt2.at_home(name) is not None:
        return _mrt2_if_here(name, root) or _unknown(name, "mrt2")
    repo = {"stock": stock.REPO, "mrt2": mrt2.REPO}.get(ref.kind, str(ref.repo))
    cache = RepoCache(root=root, repo=repo)
    listing = list_repo(repo, revision=ref.revision, cache=cache, offline=offline, endpoint=endpoint)
    if ref.kind == "stock":
        return _stock_entry(name, listing, root)
    if ref.kind == "mrt2":
        return _mrt2_entry(name, listing, root)
    entry = _repo_entry(str(ref), listing, root, only_cached=False)
    if ref.step is not None and ref.step not in entry.steps:
        there = ", ".join(map(str, entry.steps))
        raise ModelNotFound(f"There is no step {ref.step} in {repo}.", f"The steps there are: {there}.")
    return entry


def remove(name: str, *, cache_dir: Path | None = None) -> int:
    """Removes what was downloaded of a model and returns the bytes freed. Local files of the user's are not touched.

    Raises:
      InvalidOption: the model is not one that was downloaded.
      ModelNotFound: nothing of it is in the cache.
    """
    ref, root = parse(name), cache_dir or cache_root()
    if ref.kind in ("embedded", "path"):
        what = "is part of Darius" if ref.kind == "embedded" else "is a path of yours"
        raise InvalidOption(f"{name!r} {what} and not in the cache.", "Only downloaded models can be removed.")
    if ref.kind == "stock":
        return _remove_language_model(ref, root, stock.REPO, stock.LANGUAGE_MODELS, v1_folder(root))
    if ref.kind == "mrt2":
        return _remove_language_model(ref, root, mrt2.REPO, mrt2.CHECKPOINTS)
    return _remove_repo(ref, root)


def _remove_language_model(ref: ModelRef, root: Path, repo: str, models: Mapping[str, str], *shared: Path) -> int:
    """Removes one language model of a release; with the last one also codec and style, which they share."""
    cache = RepoCache(root=root, repo=repo)
    listing = _cached_listing(repo, root)
    archive = models[ref.text]
    if listing is None or not _has(listing, archive, cache):
        raise ModelNotFound(f"{ref.text} is not in the cache.", "`darius models list` shows what is.")
    others = [path for name, path in models.items() if name != ref.text]
    if not any(_has(listing, path, cache) for path in others):
        return _drop(cache.folder, *shared)
    size = listing.files[archive].size
    cache.blob(listing.files[archive].digest).unlink(missing_ok=True)
    for snapshot in cache.folder.glob(f"snapshots/*/{archive}"):
        snapshot.unlink()
    return size


def _remove_repo(ref: ModelRef, root: Path) -> int:
    cache = RepoCache(root=root, repo=str(ref.repo))
    if not cache.folder.is_dir():
        raise ModelNotFound(f"{ref.repo} is not in the cache.", "`darius models list` shows what is.")
    return _drop(cache.folder)


def _drop(*folders: Path) -> int:
    freed = sum(disk_usage(folder) for folder in folders if folder.is_dir())
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return freed


def _embedded() -> Entry:
    folder = embedded_folder()
    here = folder.is_dir()
    size = disk_usage(folder) if here else 0
    return Entry(name=EMBEDDED, kind="embedded", here=here, bytes=size, path=folder if here else None)


def _stock_if_here(name: str, root: Path) -> Entry | None:
    listing = _cached_listing(stock.REPO, root)
    try:
        entry = _stock_entry(name, listing, root) if listing else None
    except DownloadFailed:  # the release has changed since: nothing of it that is here can be used
        return None
    return dataclasses.replace(entry, note="") if entry and entry.here else None


def _unknown(name: str, kind: str, steps: tuple[int, ...] = ()) -> Entry:
    return Entry(name=name, kind=kind, here=False, steps=steps, note=f"`darius models pull {name}` gets it")


def _mrt2_if_here(name: str, root: Path) -> Entry | None:
    at_home = mrt2.at_home(name)
    if at_home is not None:
        size = at_home.stat().st_size
        return Entry(name=name, kind="mrt2", here=True, bytes=size, path=at_home, note="in MAGENTA_HOME")
    listing = _cached_listing(mrt2.REPO, root)
    try:
        entry = _mrt2_entry(name, listing, root) if listing else None
    except DownloadFailed:  # the release has changed since
        return None
    return dataclasses.replace(entry, note="") if entry and entry.here else None


def _mrt2_entry(name: str, listing: Listing, root: Path) -> Entry:
    cache = RepoCache(root=root, repo=mrt2.REPO)
    paths = mrt2.files_of(listing.files, name)
    here = all(_has(listing, path, cache) for path in paths)
    return Entry(
        name=name,
        kind="mrt2",
        here=here,
        bytes=sum(listing.files[path].size for path in paths),
        revision=listing.commit,
        path=cache.snapshot(listing.commit) / paths[0] if here else None,
        note=listing.note,
    )


def _stock_entry(name: str, listing: Listing, root: Path) -> Entry:
    cache = RepoCache(root=root, repo=stock.REPO)
    archive = stock.language_model_file(listing, name)
    paths = [archive, *stock.part_files(listing)]
    ready = stock.converted(root) is not None
    here = _has(listing, archive, cache) and (ready or all(_has(listing, path, cache) for path in paths))
    return Entry(
        name=name,
        kind="stock",
        here=here,
        bytes=sum(listing.files[path].size for path in paths),
        steps=(stock.STEP,),
        revision=listing.commit,
        path=cache.snapshot(listing.commit) / archive if here else None,
        note=listing.note or ("codec and style are converted" if ready else ""),
    )


def _repo_entry(name: str, listing: Listing, root: Path, *, only_cached: bool) -> Entry:
    cache = RepoCache(root=root, repo=listing.repo)
    checkpoints = steps_of(listing.files)
    cached = {step: path for step, path in checkpoints.items() if _has(listing, path, cache)}
    shown = cached if only_cached else checkpoints
    files = [file for path in checkpoints.values() for file in files_of(listing.files, path)]
    return Entry(
        name=name,
        kind="hub",
        here=bool(cached),
        bytes=disk_usage(cache.folder) if cached else sum(listing.files[file].size for file in files),
        steps=tuple(sorted(shown)),
        revision=listing.commit,
        path=cache.snapshot(listing.commit) if cached else None,
        note=listing.note,
    )


def _local(name: str, root: Path) -> Entry:
    model = resolve(name, cache_dir=root, offline=True)
    size = disk_usage(model.path) if model.path.is_dir() else model.path.stat().st_size
    steps = () if model.step is None else (model.step,)
    return Entry(name=name, kind=model.kind, here=True, bytes=size, steps=steps, path=model.path, note=model.note)


def _cached_listing(repo: str, root: Path) -> Listing | None:
    cache = RepoCache(root=root, repo=repo)
    try:
        listing = list_repo(repo, revision=None, cache=cache, offline=True)
    except ModelNotFound:
        return None
    return listing


def _has(listing: Listing, path: str, cache: RepoCache) -> bool:
    files = files_of(listing.files, path)
    return bool(files) and all(cache.blob(listing.files[file].digest).is_file() for file in files)

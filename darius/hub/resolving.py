"""A model's name -> its local files, fetched when they are not here. The one place that knows every kind of name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from darius.errors import ModelNotFound
from darius.hub import mrt2, stock
from darius.hub.cache import RepoCache, cache_root, cached_repos
from darius.hub.listing import Listing, list_repo
from darius.hub.names import EMBEDDED, STOCK, ModelRef, parse
from darius.hub.transfer import OnProgress, fetch

Kind = Literal["embedded", "package", "folder", "archive", "safetensors", "stock", "mrt2", "hub"]

MEAN_FILE, CENTROIDS_FILE = "mean_style_embed.npy", "cluster_centroids.npy"
PACKAGE_FILES = ("config.json", "depthformer.safetensors", "codec.safetensors", "style.safetensors")
_ARCHIVES = (".tgz", ".tar.gz", ".tar")
_CHECKPOINT = re.compile(r"(?:.*/)?checkpoint_(\d+)(?:\.tgz|\.tar\.gz|\.tar)?")


@dataclass(frozen=True, kw_only=True)
class Assets:
    """What a finetune brings for steering its style: .npy files, None when there is none."""

    mean: Path | None = None
    centroids: Path | None = None


@dataclass(frozen=True, kw_only=True)
class ResolvedModel:
    """Where a model's files are on this machine.

    Attributes:
      name: as the user wrote it.
      kind: "embedded" and "package" are folders with PACKAGE_FILES; "mrt2" is a checkpoint of Magenta RealTime 2 in
        its release's folders; the others are language models in the formats of `darius.checkpoints.convert.load`,
        with codec and style as of v1.
      path: that folder, T5X folder, archive or safetensors file.
      assets: the finetune's style files.
      size: "base" or "large" where the name says so.
      step: the training step, where a name says so.
      revision: the commit of a repository.
      v1_source: "stock" only: the folder with savedmodels/ and vocabularies/ that needs converting; None when that
        was done before (`v1_parts` gives the result in either case).
      note: what the user should know, e.g. that the hub could not be reached; "" otherwise.
    """

    name: str
    kind: Kind
    path: Path
    assets: Assets = field(default_factory=Assets)
    size: Literal["base", "large"] | None = None
    step: int | None = None
    revision: str | None = None
    v1_source: Path | None = None
    note: str = ""


def resolve(
    name: str,
    *,
    offline: bool = False,
    on_progress: OnProgress | None = None,
    cache_dir: Path | None = None,
    endpoint: str | None = None,
) -> ResolvedModel:
    """Finds a model's files, downloading them when needed.

    Args:
      name: see `darius.hub.names`.
      offline: use only what is in the cache.
      on_progress: called with (stage, fraction 0..1).
      cache_dir: default `cache_root()`.
      endpoint: the hub's address; default HF_ENDPOINT, else Hugging Face.

    Raises:
      InvalidOption: not a model's name.
      ModelNotFound: nothing of that name, or no such step; the sentence lists what there is.
      DownloadFailed: the hub cannot be reached, or a transfer broke.
    """
    ref = parse(name)
    root = cache_dir or cache_root()
    if ref.kind == "embedded":
        return _embedded(ref)
    if ref.kind == "path" or (not ref.explicit and Path(ref.text).expanduser().exists()):
        return _local(ref, root)
    fetching = _Fetching(root=root, offline=offline, on_progress=on_progress, endpoint=endpoint)
    if ref.kind == "mrt2":
        return _mrt2(ref, fetching)
    return _stock(ref, fetching) if ref.kind == "stock" else _hub(ref, fetching)


@dataclass(frozen=True, kw_only=True)
class _Fetching:
    """How to reach the hub, for the length of one call."""

    root: Path
    offline: bool
    on_progress: OnProgress | None
    endpoint: str | None

    def list(self, repo: str, revision: str | None) -> Listing:
        cache = RepoCache(root=self.root, repo=repo)
        return list_repo(repo, revision=revision, cache=cache, offline=self.offline, endpoint=self.endpoint)

    def has(self, listing: Listing, path: str) -> bool:
        cache = RepoCache(root=self.root, repo=listing.repo)
        return all(cache.blob(listing.files[file].digest).is_file() for file in files_of(listing.files, path))

    def fetch(self, listing: Listing, paths: Iterable[str]) -> Path:
        cache = RepoCache(root=self.root, repo=listing.repo)
        return fetch(
            listing, paths, cache=cache, offline=self.offline, endpoint=self.endpoint, on_progress=self.on_progress
        )


def embedded_folder() -> Path:
    """Where the embedded model lies inside the package."""
    return Path(__file__).resolve().parent.parent / "assets" / EMBEDDED


def _embedded(ref: ModelRef) -> ResolvedModel:
    folder = embedded_folder()
    if not _is_package(folder):
        raise ModelNotFound(
            f"This installation of Darius lacks its embedded model ({folder}).",
            "Install Darius again from a release; the model is part of it.",
        )
    return ResolvedModel(name=ref.text, kind="embedded", path=folder)


def _is_package(folder: Path) -> bool:
    return all((folder / name).is_file() for name in PACKAGE_FILES)


def _stock(ref: ModelRef, fetching: _Fetching) -> ResolvedModel:
    listing = fetching.list(stock.REPO, None)
    archive = stock.language_model_file(listing, ref.text)
    ready = stock.converted(fetching.root) is not None
    folder = fetching.fetch(listing, [archive] if ready else [archive, *stock.part_files(listing)])
    return ResolvedModel(
        name=ref.text,
        kind="stock",
        path=folder / archive,
        size="base" if ref.text == "base" else "large",
        step=stock.STEP,
        revision=listing.commit,
        v1_source=None if ready else folder,
        note=listing.note,
    )


def _mrt2(ref: ModelRef, fetching: _Fetching) -> ResolvedModel:
    """From the folder of the package's own commands if all is there, else from the hub."""
    there = mrt2.at_home(ref.text)
    if there is not None:
        return ResolvedModel(name=ref.text, kind="mrt2", path=there)
    listing = fetching.list(mrt2.REPO, None)
    folder = fetching.fetch(listing, mrt2.files_of(listing.files, ref.text))
    path = folder / mrt2.CHECKPOINTS[ref.text]
    return ResolvedModel(name=ref.text, kind="mrt2", path=path, revision=listing.commit, note=listing.note)


def _hub(ref: ModelRef, fetching: _Fetching) -> ResolvedModel:
    assert ref.repo is not None
    if ref.repo == stock.REPO:
        raise ModelNotFound(f"{stock.REPO} holds the stock models.", "Their names are base and large.")
    if ref.repo == mrt2.REPO:
        raise ModelNotFound(f"{mrt2.REPO} holds Magenta RealTime 2.", f"Its names are {' and '.join(mrt2.NAMES)}.")
    try:
        listing = fetching.list(ref.repo, ref.revision)
    except ModelNotFound as error:
        hint = f"{error.hint} {_did_you_mean(ref.repo, fetching.root)}".strip()
        raise ModelNotFound(error.message, hint) from None
    checkpoints = steps_of(listing.files)
    if listing.note and ref.step is None:  # without the network, the newest step is the newest that is here
        here = {step: path for step, path in checkpoints.items() if fetching.has(listing, path)}
        checkpoints = here or checkpoints
    step = _choose_step(checkpoints, ref, f"{ref.repo} at {listing.revision!r}")
    named = {name: shallowest(listing.files, name) for name in (MEAN_FILE, CENTROIDS_FILE)}
    wanted = files_of(listing.files, checkpoints[step])
    folder = fetching.fetch(listing, [*wanted, *(path for path in named.values() if path)])
    mean, centroids = (folder / path if (path := named[name]) else None for name in (MEAN_FILE, CENTROIDS_FILE))
    return ResolvedModel(
        name=ref.text,
        kind="hub",
        path=folder / checkpoints[step],
        assets=Assets(mean=mean, centroids=centroids),
        step=step,
        revision=listing.commit,
        note=listing.note,
    )


def steps_of(paths: Iterable[str]) -> dict[int, str]:
    """Training step -> archive or folder, of a repository's files at its root or under archives/."""
    found: dict[int, str] = {}
    places = {place for path in paths for place in (path, *map(str, PurePosixPath(path).parents))}
    files = set(paths)
    # The last one wins: the root over archives/, an archive over a folder.
    for place in sorted(places, key=lambda place: (-place.count("/"), place in files, place)):
        match = _CHECKPOINT.fullmatch(place)
        if match and place.rpartition("/")[0] in ("", "archives") and (place in files) == place.endswith(_ARCHIVES):
            found[int(match[1])] = place
    return found


def files_of(paths: Iterable[str], checkpoint: str) -> list[str]:
    """The files that a checkpoint consists of: itself, or all in its folder."""
    return [path for path in paths if path == checkpoint or path.startswith(f"{checkpoint}/")]


def _choose_step(steps: dict[int, str], ref: ModelRef, where: str) -> int:
    if not steps:
        raise ModelNotFound(
            f"There is no checkpoint_<step> archive in {where}, and no folder of that kind.",
            "A model's repository has checkpoint_<step>/, .tgz or .tar.gz at its root or under archives/.",
        )
    if ref.step is None:
        return max(steps)
    if ref.step not in steps:
        there = ", ".join(map(str, sorted(steps)))
        raise ModelNotFound(f"There is no step {ref.step} in {where}.", f"The steps there are: {there}.")
    return ref.step


def shallowest(paths: Iterable[str], name: str) -> str | None:
    matches = [path for path in paths if PurePosixPath(path).name == name]
    return min(matches, key=lambda path: (path.count("/"), path), default=None)


def _local(ref: ModelRef, root: Path) -> ResolvedModel:
    whole = Path(ref.text).expanduser()
    path = whole if whole.exists() else (ref.path or whole).expanduser()
    if not path.exists():
        hint = _did_you_mean(str(path), root) or "A model is tiny, base, large, a folder, an archive or hf:user/repo."
        raise ModelNotFound(f"There is no model {ref.text!r}.", hint)
    checkpoint = mrt2.checkpoint_in(path)
    if checkpoint is not None:
        return ResolvedModel(name=ref.text, kind="mrt2", path=checkpoint)
    if path.is_file():
        kind: Kind = "safetensors" if path.name.endswith(".safetensors") else "archive"
        return ResolvedModel(name=ref.text, kind=kind, path=path, assets=assets_near(path), step=_step_of(path))
    if _is_package(path):
        return ResolvedModel(name=ref.text, kind="package", path=path)
    if _is_t5x(path):
        return ResolvedModel(name=ref.text, kind="folder", path=path, assets=assets_near(path), step=_step_of(path))
    return _local_collection(ref, path)


def _local_collection(ref: ModelRef, folder: Path) -> ResolvedModel:
    step = _choose_step(steps := local_steps(folder) or _steps_of_the_run(folder), ref, str(folder))
    path = Path(steps[step])
    kind: Kind = "folder" if path.is_dir() else "archive"
    return ResolvedModel(name=ref.text, kind=kind, path=path, assets=assets_near(path), step=step)


def _steps_of_the_run(dataset: Path) -> dict[int, str]:
    """The steps of the one run in a dataset's folder, which `darius train` puts into runs/; {} where there is none."""
    found = {run: steps for run in sorted(dataset.glob("runs/*")) if (steps := local_steps(run))}
    if len(found) > 1:
        names = ", ".join(run.name for run in found)
        raise ModelNotFound(f"There are {len(found)} runs in {dataset}: {names}.", f"Name one: {next(iter(found))}")
    return next(iter(found.values()), {})


def local_steps(folder: Path) -> dict[int, str]:
    """Training step -> path, in a folder of checkpoints as a finetune leaves it behind or as a repository is cloned."""
    children = [*folder.glob("checkpoint_*"), *folder.glob("archives/checkpoint_*")]
    steps: dict[int, str] = {}
    for child in sorted(children, key=lambda child: child.is_dir()):  # a folder wins over its archive
        step = _step_of(child)
        if step is not None and (child.is_file() or _is_t5x(child)):
            steps[step] = str(child)
    return steps


def _is_t5x(folder: Path) -> bool:
    from darius.checkpoints.t5x import is_checkpoint

    return is_checkpoint(folder)


def _step_of(path: Path) -> int | None:
    match = _CHECKPOINT.fullmatch(path.name)
    return int(match[1]) if match else None


def assets_near(path: Path) -> Assets:
    """The style files inside a checkpoint folder, beside it, or one level above (a checkpoint under archives/)."""
    places = [path, path.absolute().parent, path.absolute().parent.parent]

    def first(name: str) -> Path | None:
        return next((place / name for place in places if (place / name).is_file()), None)

    return Assets(mean=first(MEAN_FILE), centroids=first(CENTROIDS_FILE))


def _did_you_mean(name: str, root: Path) -> str:
    """One sentence with the nearest names that would work, or ""."""
    parent = Path(name).parent
    neighbours = [str(parent / child.name) for child in parent.iterdir()] if parent.is_dir() else []
    known = [EMBEDDED, *STOCK, *mrt2.NAMES, *(cache.repo for cache in cached_repos(root)), *neighbours]
    known = [candidate for candidate in known if candidate != name]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f"Did you mean {' or '.join(near)}?" if near else ""

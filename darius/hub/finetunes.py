"""What a finetune's place, a repository or a folder, offers: training steps and steering assets. Fetches no weights."""

from __future__ import annotations

from pathlib import Path

from darius.errors import ModelNotFound
from darius.hub.cache import RepoCache, cache_root
from darius.hub.listing import Listing, list_repo
from darius.hub.names import parse
from darius.hub.resolving import CENTROIDS_FILE, MEAN_FILE, Assets, assets_near, local_steps, shallowest, steps_of
from darius.hub.transfer import OnProgress, fetch


def steps(
    place: str | Path, *, revision: str | None = None, offline: bool = False, endpoint: str | None = None
) -> tuple[int, ...]:
    """The training steps there are, ascending.

    Args:
      place: a folder (a Path), or the name of a repository.

    Raises:
      InvalidOption, ModelNotFound, DownloadFailed: as `darius.hub.resolve`.
    """
    if isinstance(place, Path):
        return tuple(sorted(local_steps(_folder(place))))
    return tuple(sorted(steps_of(_listing(place, revision, offline, endpoint).files)))


def assets(
    place: str | Path,
    *,
    revision: str | None = None,
    offline: bool = False,
    endpoint: str | None = None,
    on_progress: OnProgress | None = None,
) -> Assets:
    """Its steering files, fetched if need be; None for what it lacks. Arguments and errors as for `steps`."""
    if isinstance(place, Path):
        return assets_near(_folder(place))
    listing = _listing(place, revision, offline, endpoint)
    mean, centroids = (shallowest(listing.files, name) for name in (MEAN_FILE, CENTROIDS_FILE))
    cache = RepoCache(root=cache_root(), repo=listing.repo)
    wanted = [path for path in (mean, centroids) if path]
    folder = fetch(listing, wanted, cache=cache, offline=offline, endpoint=endpoint, on_progress=on_progress)
    return Assets(mean=folder / mean if mean else None, centroids=folder / centroids if centroids else None)


def _folder(place: Path) -> Path:
    if not place.exists():
        raise ModelNotFound(f"There is no folder '{place}'.", "Check the spelling.")
    return place


def _listing(repo: str, revision: str | None, offline: bool, endpoint: str | None) -> Listing:
    ref = parse(f"hf:{repo}@{revision}" if revision else f"hf:{repo}")
    name = str(ref.repo)
    cache = RepoCache(root=cache_root(), repo=name)
    return list_repo(name, revision=ref.revision, cache=cache, offline=offline, endpoint=endpoint)

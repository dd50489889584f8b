"""What a Hugging Face repository holds at a revision: files, sizes, hashes. From the network, or as last seen.

Transfers nothing but the listing itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from darius.errors import DariusError, DownloadFailed, ModelNotFound
from darius.hub.cache import RepoCache, write_atomically

MAIN = "main"
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file of a repository: its size in bytes, and its SHA-256 (large files) or git blob SHA-1 (small ones)."""

    path: str
    size: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A repository at one commit. `note` says when it is not fresh: "" when it came from the hub just now."""

    repo: str
    revision: str
    commit: str
    files: Mapping[str, RemoteFile]
    note: str = ""


def is_offline(offline: bool) -> bool:
    """Whether the network is not to be used: asked for, or HF_HUB_OFFLINE is set."""
    if offline:
        return True
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def list_repo(
    repo: str, *, revision: str | None, cache: RepoCache, offline: bool = False, endpoint: str | None = None
) -> Listing:
    """The files of a repository; when the hub cannot be reached, as they were last seen, and the note says so.

    Raises:
      ModelNotFound: no such repository or revision; or offline and never seen.
      DownloadFailed: the hub cannot be reached, refuses, or answers nonsense, and nothing is cached.
    """
    name = revision or MAIN
    if is_offline(offline):
        known = _last_seen(repo, name, cache, "Offline: using what was downloaded before.")
        if known is None:
            raise ModelNotFound(
                f"{repo} at {name!r} is not in the cache, and Darius is offline.",
                "Go online once (unset HF_HUB_OFFLINE, leave out --offline) to download it.",
            )
        return known
    try:
        listing = _fetch(repo, name, endpoint)
    except DownloadFailed as error:
        known = _last_seen(repo, name, cache, f"{error.message} Using what was downloaded before.")
        if known is None:
            raise
        return known
    _remember(listing, cache)
    return listing


def _fetch(repo: str, revision: str, endpoint: str | None) -> Listing:
    from huggingface_hub import HfApi

    try:
        info = HfApi(endpoint=endpoint).model_info(repo, revision=revision, files_metadata=True, timeout=20)
        return _parse(repo, revision, str(info.sha), [_fields(file) for file in info.siblings or []])
    except network_errors() as error:
        raise explain(error, repo, revision) from None
    except (ValueError, TypeError, KeyError, AttributeError):
        message = f"The hub's answer about {repo} is not understood."
        raise DownloadFailed(message, "Is HF_ENDPOINT set to a Hugging Face hub?") from None


def _fields(sibling: Any) -> dict[str, Any]:
    digest = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
    return {"path": sibling.rfilename, "size": sibling.size, "digest": digest}


def _parse(repo: str, revision: str, commit: str, rows: list[dict[str, Any]], note: str = "") -> Listing:
    if not _COMMIT.fullmatch(commit):
        raise ValueError("no commit")
    files = {}
    for row in rows:
        path = PurePosixPath(row["path"])
        # Paths become file names here: what could leave the folder is as good as not there.
        if path.is_absolute() or ".." in path.parts or "\\" in row["path"]:
            continue
        if not _DIGEST.fullmatch(str(row["digest"])):
            raise ValueError("no hash")
        files[str(path)] = RemoteFile(path=str(path), size=int(row["size"]), digest=row["digest"])
    return Listing(repo=repo, revision=revision, commit=commit, files=files, note=note)


def _remember(listing: Listing, cache: RepoCache) -> None:
    rows = [{"path": file.path, "size": file.size, "digest": file.digest} for file in listing.files.values()]
    write_atomically(cache.folder / "repo", listing.repo)
    write_atomically(cache.listing(listing.commit), json.dumps(rows))
    write_atomically(cache.ref(listing.revision), listing.commit)


def _last_seen(repo: str, revision: str, cache: RepoCache, note: str) -> Listing | None:
    try:
        commit = revision
        if not _COMMIT.fullmatch(revision):
            commit = cache.ref(revision).read_text(encoding="utf-8")
        rows = json.loads(cache.listing(commit).read_text(encoding="utf-8"))
        return _parse(repo, revision, commit, rows, note)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def network_errors() -> tuple[type[Exception], ...]:
    """Everything that the hub's client raises when a request fails, whichever HTTP library it is built on."""
    from huggingface_hub.errors import HfHubHTTPError

    return (OSError, HfHubHTTPError.__bases__[0])


def explain(error: Exception, repo: str, revision: str) -> DariusError:
    """The sentence for a failed request."""
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError) or status == 403:
        return DownloadFailed(
            f"The hub refuses access to {repo}.",
            f"Accept its terms at https://huggingface.co/{repo}, then log in with `hf auth login` or set HF_TOKEN.",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return ModelNotFound(f"{repo} has no revision {revision!r}.", "Leave out @revision to use its main branch.")
    if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 404):
        return ModelNotFound(
            f"There is no repository {repo} on the hub, or it is private.",
            "Check the spelling; for a private one log in with `hf auth login` or set HF_TOKEN.",
        )
    if status == 429:
        return DownloadFailed("The hub asks to slow down (429).", "Try again in a few minutes.")
    if status is not None:
        return DownloadFailed(f"The hub failed to answer about {repo} (HTTP {status}).", "Try again in a few minutes.")
    return DownloadFailed(
        f"The hub cannot be reached for {repo} ({type(error).__name__}).",
        "Check the connection and try again: what is downloaded already is kept.",
    )

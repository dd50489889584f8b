"""Files of a repository onto this machine: resumed where they broke off, verified by hash. Knows no model names."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from darius.errors import DariusError, DownloadFailed, OutputFailed
from darius.hub.cache import RepoCache
from darius.hub.listing import Listing, RemoteFile, explain, is_offline, network_errors

OnProgress = Callable[[str, float], None]
_BLOCK = 1 << 20
_TIMEOUT_SECONDS = 30.0
_PAUSES = (0.25, 0.5, 1.0, 2.0)  # seconds before each new try that follows one without progress
_PASSING = {408, 416, 429, 500, 502, 503, 504}


def fetch(
    listing: Listing,
    paths: Iterable[str],
    *,
    cache: RepoCache,
    offline: bool = False,
    endpoint: str | None = None,
    on_progress: OnProgress | None = None,
) -> Path:
    """Brings files of a listing into the cache and returns the snapshot folder that holds them by name.

    Files that are there already cost nothing. A transfer that breaks is resumed, in this run or in the next.

    Raises:
      DownloadFailed: the transfer broke for good, a hash does not match, or offline and not all files are cached.
      OutputFailed: the cache cannot be written, or the disk is too full.
    """
    files = [listing.files[path] for path in paths]
    missing = [file for file in files if not cache.blob(file.digest).is_file()]
    if missing and is_offline(offline):
        raise DownloadFailed(
            f"{missing[0].path} of {listing.repo} is not in the cache, and Darius is offline.",
            "Go online once (unset HF_HUB_OFFLINE, leave out --offline) to download it.",
        )
    try:
        _check_space(cache, missing)
        meter = _Meter(sum(file.size for file in missing), on_progress)
        for file in missing:
            _fetch_blob(listing, file, cache, endpoint, meter)
        for file in files:
            _link(cache.blob(file.digest), cache.snapshot(listing.commit) / file.path)
    except OSError as error:
        message = f"The cache {cache.root} cannot be written ({error.strerror or error})."
        raise OutputFailed(message, "Free some space, or choose another cache with DARIUS_CACHE.") from None
    return cache.snapshot(listing.commit)


class _Meter:
    """Bytes of all files of one call, told as a fraction."""

    def __init__(self, total: int, report: OnProgress | None) -> None:
        self._total, self._done, self._report = max(total, 1), 0, report

    def add(self, name: str, count: int) -> None:
        self._done += count
        if self._report is not None:
            self._report(f"downloading {name}", min(1.0, max(0.0, self._done / self._total)))


def _check_space(cache: RepoCache, missing: list[RemoteFile]) -> None:
    if not missing:
        return
    cache.folder.mkdir(parents=True, exist_ok=True)
    needed, free = sum(file.size for file in missing), shutil.disk_usage(cache.folder).free
    if needed > free:
        raise OutputFailed(
            f"The download needs {needed / 1e9:.1f} GB, but the cache {cache.root} has {free / 1e9:.1f} GB free.",
            "Free some space (`darius models rm NAME`), or choose another cache with DARIUS_CACHE.",
        )


def _fetch_blob(listing: Listing, file: RemoteFile, cache: RepoCache, endpoint: str | None, meter: _Meter) -> None:
    from filelock import FileLock

    blob = cache.blob(file.digest)
    part = blob.with_name(f"{blob.name}.part")
    blob.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{blob}.lock"):  # two processes must not append to one file
        if blob.is_file():
            meter.add(file.path, file.size)
            return
        for _ in range(2):  # what an earlier run left may be the damaged half: once more from the start
            _transfer(listing, file, part, endpoint, meter)
            if _digest(part, file) == file.digest:
                part.replace(blob)
                return
            part.unlink()
            meter.add(file.path, -file.size)
        raise DownloadFailed(
            f"{file.path} of {listing.repo} arrived damaged twice: its checksum does not match.",
            "Try again later; if it happens again, the repository or the connection is at fault.",
        )


def _transfer(listing: Listing, file: RemoteFile, part: Path, endpoint: str | None, meter: _Meter) -> None:
    """Appends to `part` until it is whole; gives up after several tries in a row without a new byte."""
    have = part.stat().st_size if part.is_file() else 0
    meter.add(file.path, have)
    idle = 0
    while have != file.size or not part.is_file():
        failure: DariusError | None = None
        try:
            _stream(listing, file, part, endpoint, meter)
        except _BrokenError as error:
            failure = error.failure
        now = part.stat().st_size if part.is_file() else 0
        idle = 0 if now > have else idle + 1
        have = now
        if have == file.size and part.is_file():
            return
        if idle > len(_PAUSES):
            raise failure or DownloadFailed(
                f"{file.path} of {listing.repo} broke off at {have} of {file.size} bytes.",
                "Try again: what is downloaded already is kept.",
            )
        time.sleep(_PAUSES[max(0, idle - 1)])


class _BrokenError(Exception):
    """A request failed in a way that may pass."""

    def __init__(self, failure: DariusError) -> None:
        super().__init__(failure.message)
        self.failure = failure


def _stream(listing: Listing, file: RemoteFile, part: Path, endpoint: str | None, meter: _Meter) -> None:
    """One request for the rest of the file."""
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    have = part.stat().st_size if part.is_file() else 0
    if have > file.size:
        part.unlink()
        meter.add(file.path, -have)
        have = 0
    url = hf_hub_url(listing.repo, file.path, revision=listing.commit, endpoint=endpoint)
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with part.open("ab") as target:
        try:
            request = get_session().stream("GET", url, headers=headers, follow_redirects=True, timeout=_TIMEOUT_SECONDS)
            with request as response:
                if have and response.status_code in (200, 416):  # the server ignores or refuses the range: start again
                    target.truncate(0)
                    meter.add(file.path, -have)
                _check_status(response, listing)
                _copy(response, file, target, meter)
        except network_errors() as error:
            raise _BrokenError(explain(error, listing.repo, listing.revision)) from None


def _copy(response: Any, file: RemoteFile, target: Any, meter: _Meter) -> None:
    for block in response.iter_bytes():  # as it comes: what is collected into blocks would be lost when it breaks
        try:
            target.write(block)
        except OSError as error:  # the disk, not the network
            message = f"{file.path} cannot be written ({error.strerror})."
            raise OutputFailed(message, "Free some space, or choose another cache with DARIUS_CACHE.") from None
        meter.add(file.path, len(block))


def _check_status(response: Any, listing: Listing) -> None:
    from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]

    try:
        hf_raise_for_status(response)
    except network_errors() as error:
        failure = explain(error, listing.repo, listing.revision)
        if response.status_code in _PASSING:
            raise _BrokenError(failure) from None
        raise failure from None


def _digest(part: Path, file: RemoteFile) -> str:
    """SHA-256 of a large file, git's blob SHA-1 of a small one: whichever the listing names."""
    hasher = hashlib.sha256() if len(file.digest) == 64 else hashlib.sha1(b"blob %d\0" % part.stat().st_size)
    with part.open("rb") as stream:
        while block := stream.read(_BLOCK):
            hasher.update(block)
    return hasher.hexdigest()


def _link(blob: Path, place: Path) -> None:
    if place.is_file() and (place.samefile(blob) or place.stat().st_size == blob.stat().st_size):
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    try:
        os.link(blob, place)
    except OSError:  # a file system without hard links
        shutil.copyfile(blob, place)

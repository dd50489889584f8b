"""The cache folder: where it is and how it is laid out. Knows no network and no file formats.

<root>/hub/<user>--<repo>/refs/<revision>     the commit that a branch or tag stood at when last seen
<root>/hub/<user>--<repo>/listings/<commit>   the repository's files, sizes and hashes
<root>/hub/<user>--<repo>/blobs/<hash>        verified contents; `<hash>.part` while a transfer is under way
<root>/hub/<user>--<repo>/snapshots/<commit>  the files by name, hard links to the blobs
<root>/checkpoints                            archives, unpacked or converted, by content
<root>/v1                                     codec and style of Magenta RealTime v1, converted
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote


def cache_root() -> Path:
    """`DARIUS_CACHE` when set, else the platform's cache folder of this user."""
    chosen = os.environ.get("DARIUS_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("darius", appauthor=False))


def checkpoints_folder(root: Path) -> Path:
    """Where archives are unpacked and converted."""
    return root / "checkpoints"


def v1_folder(root: Path) -> Path:
    """Where the converted codec and style of v1 lie."""
    return root / "v1"


@dataclass(frozen=True, kw_only=True)
class RepoCache:
    """The cache of one Hugging Face repository."""

    root: Path
    repo: str

    @property
    def folder(self) -> Path:
        return self.root / "hub" / self.repo.replace("/", "--")

    def ref(self, revision: str) -> Path:
        return self.folder / "refs" / quote(revision, safe="")

    def listing(self, commit: str) -> Path:
        return self.folder / "listings" / f"{commit}.json"

    def blob(self, digest: str) -> Path:
        return self.folder / "blobs" / digest

    def snapshot(self, commit: str) -> Path:
        return self.folder / "snapshots" / commit


def cached_repos(root: Path) -> list[RepoCache]:
    """The repositories that something was fetched from. A user's or repository's name may hold "--": it is noted."""
    folders = sorted((root / "hub").glob("*/repo"))
    return [RepoCache(root=root, repo=note.read_text(encoding="utf-8")) for note in folders]


def disk_usage(folder: Path) -> int:
    """Bytes in a folder's files, hard links counted once."""
    seen: dict[tuple[int, int], int] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            stat = path.stat()
            seen[(stat.st_dev, stat.st_ino)] = stat.st_size
    return sum(seen.values())


def write_atomically(path: Path, text: str) -> None:
    """Writes a small file so that no reader ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)

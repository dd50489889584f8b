"""Archives of checkpoints (.tar, .tar.gz, .tgz): safe unpacking into a cache that goes by content. Reads no tensors.

Nothing outside the target folder can be written: names must be relative and must not climb, only files and folders
are accepted, and the bytes and the number of members are bounded before they are read.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from darius.checkpoints import t5x
from darius.errors import BadCheckpoint, OutputFailed

SUFFIXES = (".tgz", ".tar.gz", ".tar")
_BLOCK = 1 << 20
_AGAIN = "Download it again, or pack it again with: tar -C PARENT -czf checkpoint_N.tgz checkpoint_N"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an archive may hold; the defaults fit `large` with optimiser state three times over."""

    total_bytes: int = 10 * 1024**3
    members: int = 100_000


def is_archive(path: Path) -> bool:
    """Whether the file name is one of an archive."""
    return path.name.lower().endswith(SUFFIXES)


def stem(path: Path) -> str:
    """The name without the archive's suffix: "checkpoint_7.tar.gz" -> "checkpoint_7"."""
    suffix = next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), "")
    return path.name[: len(path.name) - len(suffix)]


def unpack(path: str | Path, cache_dir: str | Path, *, limits: Limits | None = None) -> Path:
    """The checkpoint folder of an archive, unpacked once for its content (a second call is instant).

    Args:
      path: a .tgz, .tar.gz or .tar with a T5X checkpoint at its root or under one top folder.
      cache_dir: where unpacked archives are kept.

    Raises:
      BadCheckpoint: damaged, unsafe, too large, or no checkpoint in it.
      OutputFailed: the cache cannot be written.
    """
    archive, cache = Path(path), Path(cache_dir)
    if not archive.is_file():
        raise BadCheckpoint(f"There is no archive {archive}.", "Check the path.")
    try:
        home = cache / content_hash(archive, cache)[:32]
        if not home.is_dir():
            cache.mkdir(parents=True, exist_ok=True)
            _unpack_to(archive, home, limits or Limits())
    except OSError as error:
        message = f"The archive {archive} cannot be unpacked into {cache} ({error.strerror or error})."
        raise OutputFailed(message, "Free some space, or choose another cache with DARIUS_CACHE.") from None
    return _find_checkpoint(home, archive)


def content_hash(archive: Path, cache: Path) -> str:
    """SHA-256 of the file, remembered in the cache for as long as its size and time of change stay the same."""
    stat = archive.stat()
    key = {"path": str(archive.resolve()), "size": stat.st_size, "changed": stat.st_mtime_ns}
    memo = cache / "seen" / f"{hashlib.sha256(key['path'].encode()).hexdigest()[:32]}.json"  # type: ignore[attr-defined]
    try:
        known = json.loads(memo.read_text(encoding="utf-8"))
        if known["key"] == key:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # never seen, or the note is damaged: read the file
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    memo.parent.mkdir(parents=True, exist_ok=True)
    memo.write_text(json.dumps({"key": key, "sha256": digest}), encoding="utf-8")
    return digest


def _unpack_to(archive: Path, home: Path, limits: Limits) -> None:
    """Extracts next to `home`, then renames, so that an interrupted run leaves nothing half-done behind the name."""
    temporary = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=home.parent))
    try:
        with archive.open("rb") as file:
            _extract(archive, file, temporary / stem(archive), limits)
        _find_checkpoint(temporary, archive)
        if not home.is_dir():  # another process may have been faster
            temporary.rename(home)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class _Budget:
    """A byte stream that gives no more than was allowed so far: headers cannot make the reader swallow gigabytes."""

    def __init__(self, file: IO[bytes], archive: Path) -> None:
        self._file, self._archive, self._left = file, archive, 8 * _BLOCK

    def allow(self, count: int) -> None:
        self._left += count

    def read(self, count: int) -> bytes:
        data = self._file.read(count)
        self._left -= len(data)
        if self._left < 0:
            raise BadCheckpoint(f"The archive {self._archive} has a header of more than 8 MiB.", _AGAIN)
        return data


def _extract(archive: Path, file: IO[bytes], target: Path, limits: Limits) -> None:
    import gzip

    compressed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    plain: IO[bytes] = gzip.GzipFile(fileobj=file) if compressed else file  # type: ignore[assignment]
    budget = _Budget(plain, archive)
    target.mkdir()
    try:
        with tarfile.open(fileobj=budget, mode="r|", bufsize=_BLOCK) as tar:  # type: ignore[call-overload]
            total = count = 0
            for member in tar:
                total, count = total + member.size, count + 1
                if total > limits.total_bytes or count > limits.members:
                    raise BadCheckpoint(
                        f"The archive {archive} holds more than a checkpoint can ({total} bytes, {count} members).",
                        "It is not a checkpoint of Darius; do not use it.",
                    )
                budget.allow(member.size + tarfile.BLOCKSIZE)
                _extract_member(archive, tar, member, target)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadCheckpoint(f"The archive {archive} is damaged ({error or type(error).__name__}).", _AGAIN) from None


def _extract_member(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    name = PurePosixPath(member.name)
    unsafe = "Do not use this archive unless you trust its author; a checkpoint holds only plain files and folders."
    if name.is_absolute() or ".." in name.parts or "\\" in member.name or ":" in member.name:
        raise BadCheckpoint(f"The archive {archive} has a member outside its folder: {member.name!r}.", unsafe)
    if member.issparse() or not (member.isfile() or member.isdir()):
        raise BadCheckpoint(f"The archive {archive} has a link or device in it: {member.name!r}.", unsafe)
    if name.name.startswith("._"):  # what macOS adds beside every file
        return
    place = target.joinpath(*name.parts)
    try:
        if member.isdir():
            place.mkdir(parents=True, exist_ok=True)
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        source = tar.extractfile(member)
        with place.open("xb") as file:
            shutil.copyfileobj(source, file, _BLOCK)  # type: ignore[arg-type]
    except (FileExistsError, NotADirectoryError):
        raise BadCheckpoint(f"The archive {archive} has the member {member.name!r} twice.", _AGAIN) from None


def _find_checkpoint(home: Path, archive: Path) -> Path:
    """Goes down while there is exactly one folder, as in `checkpoint_7.tgz` -> `checkpoint_7/`."""
    folder = home
    for _ in range(6):
        if t5x.is_checkpoint(folder):
            return folder
        children = [child for child in folder.iterdir() if child.is_dir()]
        if len(children) != 1:
            break
        folder = children[0]
    raise BadCheckpoint(f"The archive {archive} holds no T5X checkpoint.", _AGAIN)

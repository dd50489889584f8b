"""Archives: unpacked safely, once for their content."""

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from darius.checkpoints import archives, t5x
from darius.checkpoints.archives import Limits
from darius.checkpoints.t5x import Checkpoint
from darius.errors import BadCheckpoint, OutputFailed

INDEX = ("checkpoint_7/checkpoint", b"index")


def pack(path: Path, files: dict[str, bytes], *extra: tarfile.TarInfo, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in extra:
            tar.addfile(member)
    return path


def member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def leftovers(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file() and path.parent.name != "seen"]


@pytest.mark.parametrize(("suffix", "mode"), [(".tgz", "w:gz"), (".tar.gz", "w:gz"), (".tar", "w")])
@pytest.mark.parametrize("top", ["checkpoint_1863001", "", "some/where/checkpoint_1863001"])
def test_a_checkpoint_comes_out_of_any_archive(
    tmp_path: Path, small: Checkpoint, suffix: str, mode: str, top: str
) -> None:
    folder = t5x.write(tmp_path / "checkpoint_1863001", small)
    archive = tmp_path / f"any{suffix}"
    with tarfile.open(archive, mode) as tar:
        tar.add(folder, arcname=top or ".")
    unpacked = archives.unpack(archive, tmp_path / "cache")
    assert t5x.read_checkpoint(unpacked).step == 1863001
    assert unpacked.name == (Path(top).name or "any")


def test_the_golden_archive_keeps_its_folder_name(golden_archive: Path, tmp_path: Path) -> None:
    assert archives.unpack(golden_archive, tmp_path).name == "checkpoint_1862001"


def test_the_second_time_nothing_is_unpacked(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tgz", dict([INDEX]))
    first = archives.unpack(archive, tmp_path / "cache")
    (first / "checkpoint").write_bytes(b"still mine")
    assert archives.unpack(archive, tmp_path / "cache") == first
    assert (first / "checkpoint").read_bytes() == b"still mine"


def test_the_same_content_under_another_name_is_the_same_archive(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tgz", dict([INDEX]))
    first = archives.unpack(archive, tmp_path / "cache")
    archive.rename(tmp_path / "b.tgz")
    assert archives.unpack(tmp_path / "b.tgz", tmp_path / "cache") == first


def test_a_changed_archive_is_unpacked_anew(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tgz", dict([INDEX]))
    archives.unpack(archive, tmp_path / "cache")
    pack(archive, {INDEX[0]: b"another"})
    os.utime(archive, ns=(0, 1))
    assert (archives.unpack(archive, tmp_path / "cache") / "checkpoint").read_bytes() == b"another"


@pytest.mark.parametrize("name", ["../out", "checkpoint_7/../../out", "/tmp/darius-out", "a\\..\\out", "c:/out"])
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    archive = pack(tmp_path / "a.tgz", {INDEX[0]: INDEX[1], name: b"x"})
    with pytest.raises(BadCheckpoint, match="outside its folder"):
        archives.unpack(archive, tmp_path / "cache")
    assert leftovers(tmp_path / "cache") == []
    assert not list(tmp_path.glob("**/out"))
    assert not Path("/tmp/darius-out").exists()


@pytest.mark.parametrize(
    "bad",
    [
        member("checkpoint_7/link", tarfile.SYMTYPE, "/etc/passwd"),
        member("checkpoint_7/hard", tarfile.LNKTYPE, "checkpoint_7/checkpoint"),
        member("checkpoint_7/device", tarfile.CHRTYPE),
        member("checkpoint_7/disk", tarfile.BLKTYPE),
        member("checkpoint_7/pipe", tarfile.FIFOTYPE),
    ],
)
def test_links_and_devices_are_refused(tmp_path: Path, bad: tarfile.TarInfo) -> None:
    archive = pack(tmp_path / "a.tgz", dict([INDEX]), bad)
    with pytest.raises(BadCheckpoint, match="link or device"):
        archives.unpack(archive, tmp_path / "cache")
    assert leftovers(tmp_path / "cache") == []


def test_more_bytes_or_members_than_allowed_are_refused_before_they_are_written(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tgz", {INDEX[0]: INDEX[1], "checkpoint_7/zeros": bytes(30_000_000)})
    with pytest.raises(BadCheckpoint, match="more than a checkpoint can"):
        archives.unpack(archive, tmp_path / "cache", limits=Limits(total_bytes=1_000_000))
    with pytest.raises(BadCheckpoint, match="more than a checkpoint can"):
        archives.unpack(archive, tmp_path / "cache", limits=Limits(members=1))
    assert leftovers(tmp_path / "cache") == []


def test_a_header_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    name = member("x", tarfile.GNUTYPE_LONGNAME)
    name.size = 64 * 1024 * 1024
    archive = tmp_path / "bomb.tgz"
    with gzip.open(archive, "wb", 1) as file:
        file.write(name.tobuf())
        for _ in range(64):
            file.write(b"a" * 1024 * 1024)
    with pytest.raises(BadCheckpoint, match="header of more than"):
        archives.unpack(archive, tmp_path / "cache")


def test_a_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as tar:
        for content in (b"one", b"two"):
            info = tarfile.TarInfo(INDEX[0])
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with pytest.raises(BadCheckpoint, match="twice"):
        archives.unpack(tmp_path / "a.tgz", tmp_path / "cache")


def test_a_file_cannot_stand_where_a_folder_is(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tgz", {"checkpoint_7": b"file", INDEX[0]: b"index"})
    with pytest.raises(BadCheckpoint, match="twice"):
        archives.unpack(archive, tmp_path / "cache")


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [cut, flip, lambda content: b"", lambda content: b"no archive at all" * 100])
def test_a_damaged_archive_is_told(golden_archive: Path, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    archive = tmp_path / "checkpoint_1.tgz"
    archive.write_bytes(damage(golden_archive.read_bytes()))
    with pytest.raises(BadCheckpoint, match=r"damaged|no T5X checkpoint"):
        archives.unpack(archive, tmp_path / "cache")
    assert leftovers(tmp_path / "cache") == []


def test_an_archive_of_something_else_is_told(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tgz", {"README.md": b"hello", "one/x": b"", "two/x": b""})
    with pytest.raises(BadCheckpoint, match="holds no T5X checkpoint"):
        archives.unpack(archive, tmp_path / "cache")


def test_what_macos_adds_is_left_out(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tgz", {"._checkpoint_7": b"mac", "checkpoint_7/._checkpoint": b"mac", **dict([INDEX])})
    assert [path.name for path in archives.unpack(archive, tmp_path / "cache").iterdir()] == ["checkpoint"]


def test_a_missing_archive_and_a_cache_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="no archive"):
        archives.unpack(tmp_path / "none.tgz", tmp_path)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputFailed, match="cannot be unpacked"):
        archives.unpack(pack(tmp_path / "a.tgz", dict([INDEX])), tmp_path / "file")

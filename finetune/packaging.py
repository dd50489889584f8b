"""A checkpoint folder as one archive, as the community shares them, read back whole before it is there.

`checkpoint_<step>.tgz` holds one top folder `checkpoint_<step>/` with every file, hidden ones included: archives that
lost their `.zarray` files cannot be loaded by anyone. The same folder gives the same bytes. Knows no networks.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import math
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from darius.audio.files import atomic
from darius.checkpoints import index, t5x, zarr2
from darius.depthformer import weights
from darius.errors import BadCheckpoint, OutputExists, OutputFailed

OnProgress = Callable[[str, float], None]
SUFFIX = ".tgz"
SHOWN = 5
_WHEN = 946_684_800  # the first second of 2000: tar warns of files from 1970
_LEVEL = 1  # the chunks inside are compressed already
_STATES = "param_states"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Package:
    """An archive, checked.

    Attributes:
      path: of the archive; step: of the checkpoint.
      bytes, sha256: of the archive.
      tensors, parameters: of the model, and how many values they hold.
      optimizer_state: whether training can be continued from it as if it had never stopped.
    """

    path: Path
    step: int
    bytes: int
    sha256: str
    tensors: int
    parameters: int
    optimizer_state: bool

    @property
    def manifest(self) -> Path:
        """The JSON file beside the archive that says all this."""
        return self.path.with_name(f"checkpoint_{self.step}.json")


def package(
    checkpoint: Path,
    out: Path,
    *,
    with_optimizer: bool = True,
    overwrite: bool = False,
    about: dict[str, Any] | None = None,
    on_progress: OnProgress | None = None,
) -> Package:
    """Writes `checkpoint_<step>.tgz` and `checkpoint_<step>.json` into `out`.

    Args:
      checkpoint: a whole T5X folder named checkpoint_<step>.
      with_optimizer: without, the archive is a little smaller, and whoever goes on training starts with a cold
        optimiser.
      overwrite: replace an archive that is there.
      about: further facts for the manifest.
      on_progress: called with (stage, fraction).

    Raises:
      BadCheckpoint: something is missing in the folder; the sentence names it.
      OutputExists, OutputFailed.
    """
    report = on_progress or (lambda stage, fraction: None)
    missing = find_missing(checkpoint)
    if missing:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise BadCheckpoint(
            f"{checkpoint} is not whole. It lacks {', '.join(missing[:SHOWN])}{more}.",
            "Copy it again with all its files, hidden ones (.zarray) included; or take another step.",
        )
    step = t5x.read_step(checkpoint)
    target = out / f"checkpoint_{step}{SUFFIX}"
    if target.exists() and not overwrite:
        raise OutputExists(f"{target} exists already.", "Choose another --out, or replace it with --force.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputFailed(f"{out} cannot be written ({error.strerror}).", "Choose another --out.") from None
    with atomic(target) as temporary:
        _write(temporary, checkpoint, with_optimizer, report)
        verify(temporary, checkpoint, with_optimizer=with_optimizer, on_progress=report)
        made = _describe(temporary, checkpoint, target, with_optimizer)
    fields = dataclasses.asdict(made) | {"path": target.name} | (about or {})
    with atomic(made.manifest) as temporary:
        temporary.write_text(json.dumps(fields, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return made


def find_missing(folder: Path) -> list[str]:
    """Names of what a T5X checkpoint folder lacks: files of tensors, parameters of the model, the index.

    Raises:
      BadCheckpoint: it is not a checkpoint at all, or something in it cannot be read.
    """
    if not t5x.is_checkpoint(folder):
        raise BadCheckpoint(
            f"{folder} is not a T5X checkpoint.", "Give a folder checkpoint_<step> with a file 'checkpoint' in it."
        )
    if not (folder / index.FILE_NAME).is_file():
        return [f"the index file '{index.FILE_NAME}'"]
    tree = index.decode((folder / index.FILE_NAME).read_bytes())["optimizer"]
    missing: list[str] = []
    for name, leaf in index.leaves(tree):
        if isinstance(leaf, dict):
            child = index.pointed_folder(leaf) or name.replace("/", ".")
            missing += _missing_files(folder, child)
    return missing + _missing_parameters(folder, tree.get("target", {}))


def _missing_files(folder: Path, child: str) -> list[str]:
    if not (folder / child).is_dir():
        return [child]
    if not (folder / child / ".zarray").is_file():
        return [f"{child}/.zarray"]
    spec = zarr2.read_spec(folder / child, child)
    grid = [range(math.ceil(size / chunk)) for size, chunk in zip(spec.shape, spec.chunks, strict=True)]
    names = (spec.chunk_file(tuple(map(int, position))) for position in np.ndindex(*map(len, grid)))
    return [f"{child}/{name}" for name in names if spec.fill_value is None and not (folder / child / name).is_file()]


def _missing_parameters(folder: Path, target: index.Tree) -> list[str]:
    """Parameters that a model of this size has and the index does not know."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, leaf in index.leaves(target):
        child = folder / ((index.pointed_folder(leaf) if isinstance(leaf, dict) else None) or "")
        if isinstance(leaf, dict) and (child / ".zarray").is_file():
            shapes[name] = zarr2.read_spec(child, name).shape
        else:
            shapes[name] = np.shape(leaf) if isinstance(leaf, np.ndarray) else ()
    try:
        expected = weights.shapes(weights.infer(shapes))
    except (BadCheckpoint, ValueError, IndexError, TypeError):  # too little is left to tell the model's size by
        return [] if shapes else ["every tensor of the model"]
    return [name for name in expected if name not in shapes]


def _write(path: Path, checkpoint: Path, with_optimizer: bool, report: OnProgress) -> None:
    members = list(_members(checkpoint, with_optimizer))
    total = sum(len(source) if isinstance(source, bytes) else source.stat().st_size for _, source in members) or 1
    done = 0
    with (
        path.open("wb") as file,
        gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=_LEVEL, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.GNU_FORMAT, bufsize=1 << 20) as tar,
    ):
        folders: set[str] = set()
        for name, source in members:
            place = name.rpartition("/")[0]
            if place not in folders:
                folders.add(place)
                tar.addfile(_info(place, tarfile.DIRTYPE, 0))
            data: IO[bytes] = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
            with data:
                size = len(source) if isinstance(source, bytes) else source.stat().st_size
                tar.addfile(_info(name, tarfile.REGTYPE, size), data)
            done += size
            report("packing", done / total)


def _info(name: str, kind: bytes, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mtime = kind, size, _WHEN
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    return info


def _members(checkpoint: Path, with_optimizer: bool) -> Iterator[tuple[str, Path | bytes]]:
    """(name in the archive, file or content), sorted: the index first, then folder by folder."""
    top = f"checkpoint_{t5x.read_step(checkpoint)}"
    data = (checkpoint / index.FILE_NAME).read_bytes()
    yield f"{top}/{index.FILE_NAME}", data if with_optimizer else _without_states(data)
    for folder in sorted(child for child in checkpoint.iterdir() if child.is_dir()):
        if folder.name.startswith("target.") or (with_optimizer and folder.name.startswith("state.")):
            for file in sorted(folder.iterdir()):
                if file.is_file() and not file.name.startswith("._") and file.name != ".DS_Store":
                    yield f"{top}/{folder.name}/{file.name}", file


def _without_states(data: bytes) -> bytes:
    tree = index.decode(data)
    tree["optimizer"].get("state", {}).pop(_STATES, None)
    return index.encode(tree)


def verify(
    archive: Path, checkpoint: Path, *, with_optimizer: bool = True, on_progress: OnProgress | None = None
) -> None:
    """Reads every tensor back from an archive and compares it with the folder's, one after the other.

    Raises:
      BadCheckpoint: a tensor is missing, cannot be read, or is another.
    """
    report = on_progress or (lambda stage, fraction: None)
    members = list(_members(checkpoint, with_optimizer))
    waiting = {name.rpartition("/")[0].rpartition("/")[2] for name, _ in members}
    total, told = len(waiting), members[0][1]
    with tempfile.TemporaryDirectory(prefix="darius-verify-") as scratch:
        for name, folder in _unpacked(archive, Path(scratch)):
            if (folder / index.FILE_NAME).is_file():
                if (folder / index.FILE_NAME).read_bytes() != told:
                    raise BadCheckpoint("The index came out of the archive as another.", "Package it again.")
            else:
                _compare(zarr2.read_array(folder, name), zarr2.read_array(checkpoint / name, name), name)
            waiting.discard(name)
            shutil.rmtree(folder)
            report("verifying", 1 - len(waiting) / total)
    if waiting:
        raise BadCheckpoint(f"The archive lacks {', '.join(sorted(waiting)[:SHOWN])}.", "Package it again.")


def _unpacked(archive: Path, scratch: Path) -> Iterator[tuple[str, Path]]:
    """(its name, a scratch folder) of each folder in an archive; the next is unpacked when this one is done with."""
    current = ""
    with tarfile.open(archive, mode="r|gz", bufsize=1 << 20) as tar:
        for member in tar:
            if not member.isfile():
                continue
            name = member.name.rpartition("/")[0].rpartition("/")[2]
            if current and name != current:
                yield current, scratch / current
            current = name
            (scratch / name).mkdir(exist_ok=True)
            source = tar.extractfile(member)
            assert source is not None  # it is a file
            with (scratch / name / member.name.rpartition("/")[2]).open("wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
    if current:
        yield current, scratch / current


def _compare(ours: zarr2.Array, theirs: zarr2.Array, name: str) -> None:
    if ours.dtype != theirs.dtype or ours.shape != theirs.shape or ours.tobytes() != theirs.tobytes():
        raise BadCheckpoint(f"The tensor {name!r} came out of the archive as another.", "Package it again.")


def _describe(archive: Path, checkpoint: Path, target: Path, with_optimizer: bool) -> Package:
    tree = index.decode((checkpoint / index.FILE_NAME).read_bytes())["optimizer"]
    shapes = [zarr2.read_spec(child, child.name).shape for child in checkpoint.glob("target.*") if child.is_dir()]
    step = t5x.read_step(checkpoint)
    assert step is not None  # the index says it
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Package(
        path=target,
        step=step,
        bytes=archive.stat().st_size,
        sha256=digest,
        tensors=len(shapes),
        parameters=sum(math.prod(shape) for shape in shapes),
        optimizer_state=with_optimizer and bool(tree.get("state", {}).get(_STATES)),
    )

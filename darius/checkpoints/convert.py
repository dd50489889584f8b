"""Between T5X checkpoints (folder or archive) and one safetensors file, bit for bit; and one loader for all of them.

A safetensors file keeps parameters, step and configuration, not the optimiser's state.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from darius.checkpoints import archives, safetensors_io, t5x
from darius.checkpoints.t5x import Params, Shapes
from darius.errors import BadCheckpoint

OnProgress = Callable[[str, float], None]
SAFETENSORS_SUFFIX = ".safetensors"


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """What inference needs of a checkpoint.

    Attributes:
      params: name -> array, names joined by "/"; memory-mapped and read-only when they come from safetensors.
      step: training steps so far; None when the file does not say.
      config: the configuration kept beside the weights; {} when there is none.
    """

    params: Params
    step: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict)


def load(path: str | Path, *, cache_dir: Path, shapes: Shapes | None = None) -> Weights:
    """Loads a T5X folder, an archive of one, or a safetensors file.

    An archive is converted once, for its content, into a safetensors file in `cache_dir`; later loads map that file.

    Args:
      shapes: when given, exactly these parameters must be there, with these shapes.

    Raises:
      BadCheckpoint: damaged, incomplete, misshapen, or of no known format.
    """
    source = Path(path)
    if source.is_dir():
        weights = _read_folder(source, shapes)
    elif archives.is_archive(source):
        weights = _read_safetensors(cached_safetensors(source, cache_dir=cache_dir))
    elif source.name.endswith(SAFETENSORS_SUFFIX):
        weights = _read_safetensors(source)
    else:
        raise BadCheckpoint(
            f"{source} is no checkpoint that Darius knows.",
            "Give a T5X folder checkpoint_<step>, a .tgz, .tar.gz or .tar of one, or a .safetensors file.",
        )
    if shapes is not None:
        t5x.check(weights.params, shapes)
    return weights


def cached_safetensors(archive: Path, *, cache_dir: Path, on_progress: OnProgress | None = None) -> Path:
    """The safetensors file of an archive, made once for the archive's content."""
    if not archive.is_file():
        raise BadCheckpoint(f"There is no archive {archive}.", "Check the path.")
    digest = archives.content_hash(archive, cache_dir)
    target = cache_dir / "converted" / digest[:32] / f"{archives.stem(archive)}{SAFETENSORS_SUFFIX}"
    if not target.is_file():
        to_safetensors(archive, target, cache_dir=cache_dir, overwrite=True, on_progress=on_progress)
    return target


def to_safetensors(
    source: str | Path,
    target: str | Path,
    *,
    cache_dir: Path,
    config: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
) -> Path:
    """Converts a T5X folder or archive into one safetensors file with the same bits.

    Its metadata: `step`, `config` (as given), `source` (the file's or folder's name) and, for an archive, the `sha256`.
    """
    report = on_progress or _silent
    origin = Path(source)
    facts: dict[str, Any] = {"source": origin.name}
    report("reading", 0.0)
    if origin.is_dir():
        weights = _read_folder(origin, None)
    else:
        facts["sha256"] = archives.content_hash(origin, cache_dir) if origin.is_file() else None
        weights = _read_archive(origin, cache_dir)
    report("writing", 0.5)
    facts |= {"step": weights.step, "config": dict(config or {})}
    written = safetensors_io.save(target, weights.params, facts, overwrite=overwrite)
    report("done", 1.0)
    return written


def to_t5x(source: str | Path, target: str | Path, *, on_progress: OnProgress | None = None) -> Path:
    """Converts a safetensors file into a T5X folder with the same bits and an empty optimiser state.

    Raises:
      BadCheckpoint: the file does not say at which step it stands, and the folder's name (checkpoint_<step>) neither.
    """
    report = on_progress or _silent
    report("reading", 0.0)
    weights = _read_safetensors(Path(source))
    name, _, digits = Path(target).name.rpartition("_")
    step = int(digits) if name == "checkpoint" and digits.isdecimal() else weights.step
    if step is None:
        raise BadCheckpoint(f"{source} does not say its training step.", "Name the target checkpoint_<step>.")
    report("writing", 0.3)
    written = t5x.write(target, t5x.Checkpoint(step=step, params=weights.params))
    report("done", 1.0)
    return written


def _read_archive(archive: Path, cache_dir: Path) -> Weights:
    # The unpacked folder is as large as the result: it goes as soon as it is read.
    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".reading-", dir=cache_dir) as temporary:
        return _read_folder(archives.unpack(archive, temporary), None)


def _read_folder(folder: Path, shapes: Shapes | None) -> Weights:
    return Weights(params=t5x.read(folder, shapes=shapes), step=t5x.read_step(folder))


def _read_safetensors(file: Path) -> Weights:
    facts = safetensors_io.metadata(file)
    return Weights(params=safetensors_io.load(file), step=facts.get("step"), config=facts.get("config") or {})


def _silent(stage: str, fraction: float) -> None:
    pass

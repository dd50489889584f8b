"""T5X checkpoint folders: parameters (and optimiser state) in and out. Knows no networks: names and arrays only.

A folder `checkpoint_<step>/` holds an index file and one zarr folder per stored tensor, named by its path joined with
dots ("target.encoder.layers_0.attention.query.kernel"). Here names are joined by "/", without the leading "target".
Source: what the original T5X ("legacy" format, version 3) writes and accepts.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from darius.checkpoints import index, zarr2
from darius.checkpoints.zarr2 import Array
from darius.errors import BadCheckpoint, OutputExists, OutputFailed

Params = dict[str, Array]
Shapes = Mapping[str, tuple[int, ...]]

_TARGET, _STATE = "target", "state/param_states"
_NOT_T5X = "A T5X checkpoint is a folder checkpoint_<step> with a file 'checkpoint' and folders named 'target. ...'."


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """One training step: parameters, and the optimiser's state per parameter.

    Attributes:
      step: training steps so far (v1's pretrained weights stand at 1,860,000).
      params: name -> array, e.g. "encoder/layers_0/attention/query/kernel" [in, out]; float32 or bfloat16.
      param_states: name -> array; Adafactor's are "<parameter>/m", "/v", "/v_col" and "/v_row".
    """

    step: int
    params: Params
    param_states: Params = field(default_factory=dict)


def is_checkpoint(folder: Path) -> bool:
    """Whether the folder looks like a T5X checkpoint: it has the index file or a tensor folder of the model."""
    return (folder / index.FILE_NAME).is_file() or any(folder.glob(f"{_TARGET}.*/.zarray"))


def read(path: str | Path, *, shapes: Shapes | None = None) -> Params:
    """The model's parameters, names joined by "/". The optimiser's state is not touched.

    The index file may be absent: then every "target.*" folder is a parameter.

    Args:
      path: the checkpoint folder.
      shapes: when given, exactly these parameters must be there, with these shapes.

    Raises:
      BadCheckpoint: not such a folder, or a tensor is missing, truncated or misshapen; the sentence names it.
    """
    folder = _checked_folder(Path(path))
    tree = _read_index(folder)
    entries = _folder_entries(folder) if tree is None else _entries(folder, tree["optimizer"], _TARGET)
    if not entries:
        raise BadCheckpoint(f"There are no model tensors in {folder}.", _NOT_T5X)
    if shapes is not None:
        _check_names(entries, shapes)  # before minutes of reading
    params = _load(entries)
    if shapes is not None:
        check(params, shapes)
    return params


def read_step(path: str | Path) -> int | None:
    """The training step of a checkpoint folder: from its index file, else from its name; None when neither says."""
    folder = Path(path)
    tree = _read_index(folder)
    if tree is not None:
        return _step(tree)
    name, _, digits = folder.name.rpartition("_")
    return int(digits) if name == "checkpoint" and digits.isdecimal() else None


def check(params: Mapping[str, Array], shapes: Shapes) -> None:
    """Checks that exactly the expected parameters are there, with the expected shapes.

    Raises:
      BadCheckpoint: names the first tensor that is missing, unknown or misshapen.
    """
    _check_names(params, shapes)
    for name, shape in shapes.items():
        if params[name].shape != tuple(shape):
            raise BadCheckpoint(
                f"The tensor {name!r} has shape {list(params[name].shape)}, but {list(shape)} is expected.",
                "This checkpoint belongs to another model size: choose the size it was trained with.",
            )


def read_checkpoint(path: str | Path, *, shapes: Shapes | None = None) -> Checkpoint:
    """Parameters, step and optimiser state. Needs the index file; otherwise as `read`."""
    folder = _checked_folder(Path(path))
    tree = _read_index(folder)
    if tree is None:
        raise BadCheckpoint(f"There is no index file 'checkpoint' in {folder}.", _NOT_T5X)
    states = _entries(folder, tree["optimizer"], _STATE)
    return Checkpoint(step=_step(tree), params=read(folder, shapes=shapes), param_states=_load(states))


def write(path: str | Path, checkpoint: Checkpoint) -> Path:
    """Writes `checkpoint` so that the original's reader accepts it: into a temporary folder, then renamed.

    Args:
      path: the folder to create, by custom `checkpoint_<step>`.

    Raises:
      OutputExists: `path` is there already.
      OutputFailed: the folder cannot be written.
    """
    target = Path(path)
    if target.exists():
        raise OutputExists(f"{target} exists already.", "Choose another folder or remove that one first.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise OutputFailed(
            f"{target} cannot be written ({error.strerror}).", "Choose a folder you may write."
        ) from None
    try:
        _write_into(temporary, checkpoint)
        temporary.chmod(0o755)
        temporary.rename(target)
    except OSError as error:
        raise OutputFailed(f"{target} cannot be written ({error.strerror}).", "Is the disk full?") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _write_into(folder: Path, checkpoint: Checkpoint) -> None:
    arrays = {f"{_TARGET}/{name}": array for name, array in checkpoint.params.items()}
    arrays |= {f"{_STATE}/{name}": array for name, array in checkpoint.param_states.items()}
    stored = {name: np.asarray(array) for name, array in arrays.items() if _has_folder(name, checkpoint)}
    chunks = {name: zarr2.choose_chunks(array.shape, array.itemsize) for name, array in stored.items()}
    with ThreadPoolExecutor(_threads()) as pool:
        jobs = [
            pool.submit(zarr2.write_array, folder / name.replace("/", "."), array, chunks[name])
            for name, array in stored.items()
        ]
        for job in jobs:
            job.result()
    pointers = {name: index.pointer_to(name.replace("/", "."), array, chunks[name]) for name, array in stored.items()}
    inline = {name: np.asarray(array) for name, array in arrays.items() if name not in stored}
    inline["state/step"] = np.asarray(checkpoint.step, np.int32)
    tree = {"version": index.FORMAT_VERSION, "optimizer": index.nest(pointers | inline)}
    (folder / index.FILE_NAME).write_bytes(index.encode(tree))


def _has_folder(name: str, checkpoint: Checkpoint) -> bool:
    """The original's rule: parameters and full-size state have folders; factors and placeholders stay in the index."""
    if name.startswith(f"{_TARGET}/"):
        return True
    state_name = name.removeprefix(f"{_STATE}/")
    parameter = checkpoint.params.get(state_name.rpartition("/")[0])
    return parameter is not None and checkpoint.param_states[state_name].shape == parameter.shape


def _checked_folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise BadCheckpoint(f"{folder} is not a folder.", _NOT_T5X)
    return folder


def _read_index(folder: Path) -> index.Tree | None:
    try:
        return index.decode((folder / index.FILE_NAME).read_bytes())
    except FileNotFoundError:
        return None


def _step(tree: index.Tree) -> int:
    step = tree["optimizer"].get("state", {}).get("step")
    if step is None or np.size(step) != 1:
        raise BadCheckpoint("The checkpoint's index file has no training step.", _NOT_T5X)
    return int(np.asarray(step).reshape(()))


def _folder_entries(folder: Path) -> dict[str, Path | Array]:
    prefix = f"{_TARGET}."
    folders = sorted(child for child in folder.glob(f"{prefix}*") if child.is_dir())
    return {child.name.removeprefix(prefix).replace(".", "/"): child for child in folders}


def _entries(folder: Path, tree: index.Tree, branch: str) -> dict[str, Path | Array]:
    """Name -> tensor folder, or the array itself when the index holds it."""
    for part in branch.split("/"):
        tree = tree.get(part, {})
    entries: dict[str, Path | Array] = {}
    for name, leaf in index.leaves(tree):
        entries[name] = leaf if isinstance(leaf, np.ndarray) else _tensor_folder(folder, f"{branch}/{name}", leaf)
    return entries


def _tensor_folder(folder: Path, name: str, leaf: Any) -> Path:
    child = index.pointed_folder(leaf) if isinstance(leaf, dict) else None
    if child in (None, "", ".", ".."):
        raise BadCheckpoint(f"The index entry of the tensor {name!r} is not readable.", _NOT_T5X)
    if not (folder / str(child)).is_dir():
        raise BadCheckpoint(
            f"The tensor {name!r} is missing: there is no folder {child!r} in {folder}.",
            "The checkpoint was not copied whole: fetch or unpack it again.",
        )
    return folder / str(child)


def _load(entries: dict[str, Path | Array]) -> Params:
    # Decompression releases the interpreter lock, so threads share the work.
    with ThreadPoolExecutor(_threads()) as pool:
        loaded = pool.map(
            lambda item: zarr2.read_array(item[1], item[0]) if isinstance(item[1], Path) else item[1], entries.items()
        )
        return dict(zip(entries, loaded, strict=True))


def _threads() -> int:
    return min(8, os.cpu_count() or 1)


def _check_names(entries: Mapping[str, object], shapes: Shapes) -> None:
    hint = "This checkpoint belongs to another model size or is incomplete: choose the size it was trained with."
    for name in shapes:
        if name not in entries:
            raise BadCheckpoint(f"The checkpoint lacks the tensor {name!r}.", hint)
    for name in entries:
        if name not in shapes:
            raise BadCheckpoint(f"The checkpoint has a tensor {name!r} that this model does not know.", hint)

"""Parameters in one safetensors file: written atomically, loaded as views of the memory-mapped file. Knows no names.

The file is the public safetensors format: eight bytes with the header's length, a JSON header, then the tensors' bytes.
Metadata is one JSON object (config, step, source hash, ...), kept under one key because the format allows only strings.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from darius.checkpoints.zarr2 import BFLOAT16, Array
from darius.errors import BadCheckpoint, OutputExists, OutputFailed

_METADATA_KEY = "darius"
_MAX_HEADER = 100_000_000  # the format's own bound
_DAMAGED = "The file is damaged or was not copied whole: fetch or convert it again."
_TYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": BFLOAT16,
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_CODES = {dtype: code for code, dtype in _TYPES.items()}


def load(path: str | Path) -> dict[str, Array]:
    """All tensors by name, as read-only views of the memory-mapped file: nothing is read until it is used.

    Raises:
      BadCheckpoint: the file is absent, truncated, or not safetensors; the sentence names the tensor where it can.
    """
    file = Path(path)
    header, start = _read_header(file)
    size = file.stat().st_size - start
    raw = np.memmap(file, np.uint8, mode="r", offset=start) if size else np.zeros(0, np.uint8)
    return {name: _view(name, entry, raw) for name, entry in header.items() if name != "__metadata__"}


def metadata(path: str | Path) -> dict[str, Any]:
    """The JSON object that `save` was given; {} for a file without one. The tensors are not touched."""
    header, _ = _read_header(Path(path))
    try:
        fields = json.loads(header.get("__metadata__", {}).get(_METADATA_KEY, "{}"))
    except (ValueError, TypeError, AttributeError):
        raise BadCheckpoint(f"The metadata of {path} cannot be read.", _DAMAGED) from None
    return dict(fields)


def save(
    path: str | Path,
    tensors: Mapping[str, Array],
    metadata: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Writes the tensors as they are (bfloat16, float16, float32, integers), through a temporary file and a rename.

    Args:
      path: by custom `*.safetensors`; missing parent folders are made.
      tensors: name -> array.
      metadata: anything JSON can hold.
      overwrite: whether a file of that name may be replaced.

    Raises:
      OutputExists: `path` is there already and `overwrite` is False.
      OutputFailed: it cannot be written.
    """
    target = Path(path)
    if target.exists() and not overwrite:
        raise OutputExists(f"{target} exists already.", "Choose another name or remove that file first.")
    # Widest values first, so that every tensor starts at a multiple of its value's size.
    arrays = {name: _little_endian(name, array) for name, array in tensors.items()}
    order = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    header = _encode_header({name: arrays[name] for name in order}, metadata or {})
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=f".{target.name}-", dir=target.parent, delete=False) as file:
            temporary = Path(file.name)
            file.write(len(header).to_bytes(8, "little") + header)
            for name in order:
                file.write(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data)
        temporary.chmod(0o644)
        temporary.replace(target)
    except OSError as error:
        message = f"{target} cannot be written ({error.strerror or error})."
        raise OutputFailed(message, "Is there space, and may you write there?") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return target


def _little_endian(name: str, array: Array) -> Array:
    array = np.asarray(array)
    dtype = array.dtype if array.dtype == BFLOAT16 else array.dtype.newbyteorder("<")
    if dtype not in _CODES:
        raise TypeError(f"safetensors has no type for {name!r} of {array.dtype}")
    return array.astype(dtype, copy=False)


def _encode_header(arrays: Mapping[str, Array], metadata: Mapping[str, Any]) -> bytes:
    fields: dict[str, Any] = {"__metadata__": {_METADATA_KEY: json.dumps(metadata)}} if metadata else {}
    offset = 0
    for name, array in arrays.items():
        end = offset + array.nbytes
        fields[name] = {"dtype": _CODES[array.dtype], "shape": list(array.shape), "data_offsets": [offset, end]}
        offset = end
    header = json.dumps(fields, separators=(",", ":")).encode()
    return header + b" " * (-len(header) % 8)


def _read_header(file: Path) -> tuple[dict[str, Any], int]:
    """The decoded header, and where the tensors' bytes start."""
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = stream.read(length) if length <= _MAX_HEADER else b""
        fields = json.loads(header)
    except OSError as error:
        raise BadCheckpoint(f"{file} cannot be read ({error.strerror}).", "Check the path.") from None
    except ValueError:
        raise BadCheckpoint(f"{file} is not a safetensors file, or its header is damaged.", _DAMAGED) from None
    if not isinstance(fields, dict):
        raise BadCheckpoint(f"{file} is not a safetensors file.", _DAMAGED)
    return fields, 8 + length


def _view(name: str, entry: dict[str, Any], raw: Array) -> Array:
    try:
        dtype, shape = _TYPES[entry["dtype"]], tuple(entry["shape"])
        start, end = entry["data_offsets"]
        consistent = 0 <= start <= end and end - start == math.prod(shape) * dtype.itemsize
    except (KeyError, TypeError, ValueError):
        raise BadCheckpoint(f"The header entry of the tensor {name!r} cannot be read.", _DAMAGED) from None
    if not consistent or end > raw.size:
        raise BadCheckpoint(f"The tensor {name!r} is truncated.", _DAMAGED)
    return np.asarray(raw[start:end]).view(dtype).reshape(shape)

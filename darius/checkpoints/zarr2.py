"""One tensor as a zarr (format 2) folder: the small subset that T5X checkpoints use. Knows no tensor names' meaning.

A folder holds `.zarray` (JSON) and one file per chunk, named by its grid position ("1.0"). Chunks at an edge are
stored full-size; C order; no filters; gzip, zlib or no compression.
Source: the zarr version 2 specification, and the folders that the original T5X saver writes.
"""

from __future__ import annotations

import itertools
import json
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from darius.errors import BadCheckpoint

Array = np.ndarray[Any, np.dtype[Any]]

BFLOAT16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
MAX_CHUNK_BYTES = 64 * 1024 * 1024
_MAX_TENSOR_BYTES = 32 * 1024**3  # far above any model; a damaged or hostile .zarray must not fill the memory
_GZIP_LEVEL = 1
_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "zlib": zlib.MAX_WBITS}
_DAMAGED = "The checkpoint is damaged or was not copied whole: fetch or unpack it again."


@dataclass(frozen=True, kw_only=True)
class ArraySpec:
    """What `.zarray` says: shape and chunk shape in values, the stored type, the compressor's id (None: raw)."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    compressor: str | None
    separator: str = "."
    fill_value: float | None = None

    def chunk_file(self, position: tuple[int, ...]) -> str:
        """The file name of the chunk at a grid position; a scalar's only chunk is "0"."""
        return self.separator.join(map(str, position)) or "0"


def read_spec(folder: Path, name: str) -> ArraySpec:
    """Reads `.zarray` of the tensor `name`.

    Raises:
      BadCheckpoint: there is none, or it says something that this reader does not know.
    """
    try:
        text = (folder / ".zarray").read_text(encoding="utf-8")
    except OSError:
        raise BadCheckpoint(f"The tensor {name!r} has no .zarray file in {folder}.", _DAMAGED) from None
    except UnicodeDecodeError:
        raise BadCheckpoint(f"The .zarray file of the tensor {name!r} is not readable.", _DAMAGED) from None
    try:
        return _parse_spec(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadCheckpoint(f"The .zarray file of the tensor {name!r} is not readable ({error}).", _DAMAGED) from None


def _parse_spec(fields: dict[str, Any]) -> ArraySpec:
    if fields["zarr_format"] != 2 or fields.get("order", "C") != "C" or fields.get("filters"):
        raise ValueError("only zarr format 2 in C order without filters is known")
    compressor = fields["compressor"]["id"] if fields["compressor"] else None
    if compressor is not None and compressor not in _WINDOW_BITS:
        raise ValueError(f"unknown compressor {compressor!r}")
    shape, chunks = (tuple(int(size) for size in fields[key]) for key in ("shape", "chunks"))
    if len(shape) != len(chunks) or any(size < 1 for size in chunks) or any(size < 0 for size in shape):
        raise ValueError(f"shape {list(shape)} and chunks {list(chunks)} do not fit")
    if max(math.prod(shape), math.prod(chunks)) > _MAX_TENSOR_BYTES // 8:
        raise ValueError(f"shape {list(shape)} in chunks of {list(chunks)} is too large")
    return ArraySpec(
        shape=shape,
        chunks=chunks,
        dtype=_parse_dtype(fields["dtype"]),
        compressor=compressor,
        separator=fields.get("dimension_separator", "."),
        fill_value=fields.get("fill_value"),
    )


def _parse_dtype(text: str) -> np.dtype[Any]:
    # T5X's format version 2 stored bfloat16 as "<u2"; no tensor of a model is an unsigned integer.
    if text in ("bfloat16", "<u2"):
        return BFLOAT16
    dtype: np.dtype[Any] = np.dtype(text)
    if dtype.kind not in "fi":
        raise ValueError(f"unknown dtype {text!r}")
    return dtype


def read_array(folder: Path, name: str) -> Array:
    """Reads the whole tensor `name` of any chunking; native byte order, its stored number type, writable.

    Raises:
      BadCheckpoint: no `.zarray`, a missing or truncated chunk, or an unknown encoding; the sentence names the tensor.
    """
    spec = read_spec(folder, name)
    array = np.empty(spec.shape, spec.dtype.newbyteorder("="))
    grid = [range(math.ceil(size / chunk)) for size, chunk in zip(spec.shape, spec.chunks, strict=True)]
    for position in itertools.product(*grid):
        starts = [index * chunk for index, chunk in zip(position, spec.chunks, strict=True)]
        region = tuple(
            slice(start, min(start + chunk, size))
            for start, chunk, size in zip(starts, spec.chunks, spec.shape, strict=True)
        )
        inside = tuple(slice(0, part.stop - part.start) for part in region)
        array[region] = _read_chunk(folder, name, spec, position)[inside]
    return array


def _read_chunk(folder: Path, name: str, spec: ArraySpec, position: tuple[int, ...]) -> Array:
    file = folder / spec.chunk_file(position)
    size = math.prod(spec.chunks) * spec.dtype.itemsize
    try:
        data = _decompress(file.read_bytes(), spec.compressor, size)
    except FileNotFoundError:
        if spec.fill_value is not None:
            return np.full(spec.chunks, spec.fill_value, spec.dtype)
        raise BadCheckpoint(f"The tensor {name!r} lacks its chunk {file.name!r} in {folder}.", _DAMAGED) from None
    except (OSError, zlib.error) as error:
        message = f"The chunk {file.name!r} of the tensor {name!r} cannot be read ({error})."
        raise BadCheckpoint(message, _DAMAGED) from None
    if len(data) != size:
        how = "truncated" if len(data) < size else "longer than its .zarray says"
        raise BadCheckpoint(f"The chunk {file.name!r} of the tensor {name!r} is {how}.", _DAMAGED)
    return np.frombuffer(data, spec.dtype).reshape(spec.chunks)


def _decompress(data: bytes, compressor: str | None, size: int) -> bytes:
    """At most size + 1 bytes of the chunk, so that a hostile file cannot fill the memory."""
    if compressor is None:
        return data
    stream = zlib.decompressobj(_WINDOW_BITS[compressor])
    plain = stream.decompress(data, size + 1)
    # All values may be there while the checksum at the end is cut off; the rest must end the stream.
    if len(plain) == size and not stream.eof:
        plain += stream.decompress(stream.unconsumed_tail, 1)
        return plain if stream.eof else plain[:-1]
    return plain


def choose_chunks(shape: tuple[int, ...], itemsize: int, limit: int = MAX_CHUNK_BYTES) -> tuple[int, ...]:
    """The original's rule: while a chunk is above `limit` bytes, its largest axis goes to the next smaller divisor."""
    chunks = list(shape)
    while math.prod(chunks) * itemsize > limit and max(chunks) > 1:
        axis = max(range(len(chunks)), key=chunks.__getitem__)
        chunks[axis] = next(size for size in range(chunks[axis] - 1, 0, -1) if shape[axis] % size == 0)
    return tuple(chunks)


def dtype_name(dtype: np.dtype[Any]) -> str:
    """The type as `.zarray` spells it: "<f4", or "bfloat16".

    Raises:
      TypeError: a checkpoint cannot hold values of this type.
    """
    if dtype != BFLOAT16 and dtype.kind not in "fi":
        raise TypeError(f"a checkpoint cannot hold values of type {dtype}")
    return "bfloat16" if dtype == BFLOAT16 else dtype.newbyteorder("<").str


def write_array(folder: Path, array: Array, chunks: tuple[int, ...]) -> None:
    """Writes a tensor as the original's saver does (gzip level 1); `folder` must not exist, `chunks` must divide it."""
    folder.mkdir()
    fields = {
        "chunks": list(chunks),
        "compressor": {"id": "gzip", "level": _GZIP_LEVEL},
        "dimension_separator": ".",
        "dtype": dtype_name(array.dtype),
        "fill_value": None,
        "filters": None,
        "order": "C",
        "shape": list(array.shape),
        "zarr_format": 2,
    }
    (folder / ".zarray").write_text(json.dumps(fields, sort_keys=True, separators=(",", ":")), encoding="utf-8")
    grid = [range(size // chunk) for size, chunk in zip(array.shape, chunks, strict=True)]
    stored = array.dtype.newbyteorder("<") if array.dtype != BFLOAT16 else BFLOAT16
    for position in itertools.product(*grid):
        region = tuple(slice(index * chunk, (index + 1) * chunk) for index, chunk in zip(position, chunks, strict=True))
        data = np.ascontiguousarray(array[region], stored).tobytes()
        stream = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _WINDOW_BITS["gzip"])
        name = ".".join(map(str, position)) or "0"
        (folder / name).write_bytes(stream.compress(data) + stream.flush())

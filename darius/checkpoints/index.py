"""The index file of a T5X checkpoint: msgpack in flax's encoding <-> nested dicts. Knows no tensor folders' content.

An array inside the index is msgpack extension type 1 holding (shape, dtype name, raw bytes); type 3 is a numpy scalar
in the same form. Every other tensor is a map that points at its folder.
Source: flax's serialization and the index files that the original T5X saver writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgpack
import numpy as np

from darius.checkpoints.zarr2 import BFLOAT16, Array
from darius.errors import BadCheckpoint

FILE_NAME = "checkpoint"
FORMAT_VERSION = 3
_ARRAY, _SCALAR = 1, 3
Tree = dict[str, Any]


def decode(data: bytes) -> Tree:
    """Index bytes as nested dicts, inline arrays as numpy arrays.

    Raises:
      BadCheckpoint: the bytes are not such an index.
    """
    try:
        tree = msgpack.unpackb(data, ext_hook=_decode_extension, raw=False, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise BadCheckpoint(
            f"The checkpoint's index file cannot be read ({error or type(error).__name__}).",
            "It is damaged or in another format than T5X's; fetch or unpack the checkpoint again.",
        ) from None
    if not isinstance(tree, dict) or not isinstance(tree.get("optimizer"), dict):
        raise BadCheckpoint(
            "The checkpoint's index file has no 'optimizer' entry.",
            "It must be a T5X checkpoint (a folder checkpoint_<step> with a file 'checkpoint'), not Orbax or Flax.",
        )
    return tree


def encode(tree: Tree) -> bytes:
    """Nested dicts with numpy arrays as index bytes; `decode(encode(tree))` is the tree again."""
    return bytes(msgpack.packb(tree, default=_encode_extension, strict_types=True))


def _decode_extension(code: int, data: bytes) -> Array:
    if code not in (_ARRAY, _SCALAR):
        raise ValueError(f"unknown extension type {code}")
    shape, name, raw = msgpack.unpackb(data, raw=False)
    dtype = BFLOAT16 if name == "bfloat16" else np.dtype(name)
    return np.frombuffer(raw, dtype).reshape(shape).copy()


def _encode_extension(value: object) -> msgpack.ExtType:
    if not isinstance(value, np.ndarray):
        raise TypeError(f"no place for {type(value).__name__} in an index")
    fields = (list(value.shape), value.dtype.name, value.tobytes())
    return msgpack.ExtType(_ARRAY, msgpack.packb(fields, use_bin_type=True))


def leaves(tree: Tree, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(name joined by "/", leaf) of a nested dict; a map that points at a folder counts as a leaf."""
    for key, value in tree.items():
        name = f"{prefix}/{key}" if prefix else str(key)
        if isinstance(value, dict) and not is_pointer(value):
            yield from leaves(value, name)
        elif value is not None:
            yield name, value


def nest(flat: dict[str, Any]) -> Tree:
    """The inverse of `leaves`, keys sorted at every depth as the original's saver has them."""
    tree: Tree = {}
    for name in sorted(flat, key=lambda name: name.split("/")):
        *parents, last = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = flat[name]
    return tree


def is_pointer(node: Tree) -> bool:
    """Whether a map describes a stored tensor: it names a driver or a kvstore."""
    return isinstance(node.get("driver"), str) or isinstance(node.get("kvstore"), dict)


def pointed_folder(pointer: Tree) -> str | None:
    """The folder name in any spelling: path inside or beside the kvstore, cloud prefixes, with or without a slash."""
    kvstore = pointer.get("kvstore")
    path = kvstore.get("path") if isinstance(kvstore, dict) else None
    path = path or pointer.get("path")
    return path.rstrip("/").rpartition("/")[2] if isinstance(path, str) else None


def pointer_to(folder: str, array: Array, chunks: tuple[int, ...]) -> Tree:
    """The index entry of a stored tensor, as the original's saver writes it."""
    return {
        "driver": "zarr",
        "dtype": array.dtype.name,
        "kvstore": {"driver": "file", "path": f"{folder}/"},
        "metadata": {
            "chunks": list(chunks),
            "compressor": {"id": "gzip", "level": 1},
            "shape": list(array.shape),
        },
    }

"""The compact form of a small Depthformer: only rows that can be used, matrices as bytes with scales.

Of the token table only ids that occur are kept (padding, mask, codec levels, the style levels of the context); of the
output projection only the codec levels' columns, as rows. What is left out is zero after unpacking: a constrained
decoder never reads it. Names: `<name>.rows` for the kept rows of a table; `<name>.scale` beside a tensor of bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darius.depthformer import weights
from darius.depthformer.config import DepthformerConfig
from darius.errors import BadCheckpoint

Array = NDArray[Any]

ROWS, SCALE = ".rows", ".scale"


def table_ids(config: DepthformerConfig) -> NDArray[np.int64]:
    """Ids whose token vectors can be read: 0, 1, the codec levels, the style levels of the context."""
    layout = config.layout
    styles = layout.style_offset + np.arange(layout.context_style_levels * layout.codebook_size)
    return np.concatenate([np.arange(layout.codec_offset), projection_ids(config), styles])


def projection_ids(config: DepthformerConfig) -> NDArray[np.int64]:
    """Ids that can be drawn: the codec levels."""
    layout = config.layout
    return layout.codec_offset + np.arange(layout.codec_levels * layout.codebook_size)


def pack(config: DepthformerConfig, params: Mapping[str, Any], *, small: bool = False) -> dict[str, Array]:
    """Flat float parameters to the compact tensors.

    Args:
      params: flat, full size, as `darius.depthformer.weights.shapes` says.
      small: store matrices as int8 with one float32 scale a row (0.4 % of the row's largest value is lost at most),
        instead of float16, which is exact for what float16 can hold. Vectors, biases and the encoder stay float16.

    Raises:
      BadCheckpoint: the parameters are not those of `config`.
    """
    weights.check(config, params)
    tensors: dict[str, Array] = {}
    for name, value in params.items():
        array = np.asarray(value, np.float32)
        if name == weights.EMBEDDING:
            name, array = name + ROWS, array[table_ids(config)]
        elif name == weights.LOGITS:
            name, array = name + ROWS, array[:, projection_ids(config)].T
        if small and _is_matrix(name):
            tensors[name], tensors[name + SCALE] = _to_bytes(array)
        else:
            tensors[name] = np.ascontiguousarray(array, np.float16)
    return tensors


def unpack(config: DepthformerConfig, tensors: Mapping[str, Array]) -> weights.Params:
    """The inverse of `pack`: flat, full-size float32 parameters.

    Raises:
      BadCheckpoint: a tensor is missing or has another shape than `config` needs.
    """
    params: weights.Params = {}
    for name, stored in tensors.items():
        if name.endswith(SCALE):
            continue
        array = np.asarray(stored, np.float32)
        if name + SCALE in tensors:
            array *= np.asarray(tensors[name + SCALE], np.float32)[:, None]
        if name.endswith(ROWS):
            name = name.removesuffix(ROWS)
            array = _full(config, name, array)
        params[name] = array
    weights.check(config, params)
    return params


def _is_matrix(name: str) -> bool:
    return name.endswith((ROWS, "/kernel")) and not name.startswith(weights.ENCODER + "/")


def _to_bytes(array: Array) -> tuple[Array, Array]:
    scale = np.maximum(np.abs(array).max(axis=1), 1e-12).astype(np.float32) / np.float32(127)
    return np.rint(array / scale[:, None]).astype(np.int8), scale


def _full(config: DepthformerConfig, name: str, rows: Array) -> Array:
    ids = table_ids(config) if name == weights.EMBEDDING else projection_ids(config)
    if rows.shape != (len(ids), config.embed_dim):
        raise BadCheckpoint(
            f"The tensor {name}{ROWS} has shape {list(rows.shape)}, but this model needs"
            f" {[len(ids), config.embed_dim]}.",
            "The file is of another model or version: get it again.",
        )
    full = np.zeros((config.layout.vocab_rows, config.embed_dim), np.float32)
    full[ids] = rows
    return full if name == weights.EMBEDDING else np.ascontiguousarray(full.T)

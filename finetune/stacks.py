"""Parameters with the layers of a kind in one array, as the trainer holds them. Knows names and shapes only.

"encoder/layers_0/mlp/wo/kernel", "encoder/layers_1/mlp/wo/kernel", ... become "encoder/layers_*/mlp/wo/kernel" with a
leading axis of layers: 30 arrays instead of 538, which compile in seconds and can be scanned over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LAYER = re.compile(r"(layers_)(\d+)(?=/)")

Array = NDArray[Any]


def stacked_name(name: str) -> str:
    """The name of the stack that a parameter belongs to; its own if it is in no layer."""
    return _LAYER.sub(r"\1*", name)


def is_stacked(name: str) -> bool:
    """Whether the array of that name has a leading axis of layers."""
    return "layers_*/" in name


def stack(flat: Mapping[str, Array]) -> dict[str, Array]:
    """Host arrays by their original names -> by stack."""
    found: dict[str, dict[int, Array]] = {}
    for name, value in flat.items():
        match = _LAYER.search(name)
        found.setdefault(stacked_name(name), {})[int(match[2]) if match else 0] = np.asarray(value)
    return {
        name: np.stack([layers[index] for index in sorted(layers)]) if is_stacked(name) else layers[0]
        for name, layers in found.items()
    }


def unstack(stacked: Mapping[str, Array]) -> dict[str, Array]:
    """The inverse of `stack`; the layers are views."""
    flat: dict[str, Array] = {}
    for name, value in stacked.items():
        if is_stacked(name):
            flat |= {name.replace("layers_*", f"layers_{index}"): layer for index, layer in enumerate(value)}
        else:
            flat[name] = value
    return flat


def shapes(flat: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The shapes that `stack` makes of parameters of these shapes."""
    counts: dict[str, int] = {}
    for name in flat:
        counts[stacked_name(name)] = counts.get(stacked_name(name), 0) + 1
    return {
        stacked_name(name): (counts[stacked_name(name)], *shape) if is_stacked(stacked_name(name)) else shape
        for name, shape in flat.items()
    }

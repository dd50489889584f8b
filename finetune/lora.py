"""Low-rank adapters: a frozen model plus a small change of every attention and MLP kernel. Knows no files.

A kernel W [in, out] is used as W + A B with A [in, rank], B [rank, out]; B starts at zero, so training starts
at the model itself. Merged, the result is an ordinary checkpoint. Source: Hu et al., "LoRA", arXiv 2106.09685.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from darius.errors import InvalidOption
from finetune import stacks


class Adapter(NamedTuple):
    """The change of a stack of kernels: down [layers, in, rank], up [layers, rank, out], float32."""

    down: Any
    up: Any


Adapters: TypeAlias = dict[str, Adapter]


def adapted(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """The stacked kernels that get an adapter: all matrices inside layers."""
    return [name for name in shapes if stacks.is_stacked(name) and name.endswith("/kernel")]


def init(shapes: Mapping[str, tuple[int, ...]], rank: int, seed: int) -> Adapters:
    """Fresh adapters that change nothing yet.

    Args:
      shapes: of the stacked parameters.

    Raises:
      InvalidOption: the rank is below 1 or not smaller than the kernels' sides.
    """
    smallest = min(min(shapes[name][1:]) for name in adapted(shapes))
    if not 1 <= rank < smallest:
        raise InvalidOption(f"The rank of LoRA must be from 1 to {smallest - 1}, not {rank}.", "16 is a good start.")

    def one(name: str) -> Adapter:
        layers, inputs, outputs = shapes[name]
        key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
        down = jax.random.normal(key, (layers, inputs, rank), jnp.float32) / np.sqrt(inputs)
        return Adapter(down, jnp.zeros((layers, rank, outputs), jnp.float32))

    return {name: one(name) for name in adapted(shapes)}


def merge(kernel: jax.Array, adapter: Adapter) -> jax.Array:
    """One layer's changed kernel, in the kernel's own type."""
    return kernel + (adapter.down.astype(kernel.dtype) @ adapter.up.astype(kernel.dtype))


def export(params: Mapping[str, stacks.Array], adapters: Mapping[str, Adapter]) -> dict[str, stacks.Array]:
    """Host parameters, stacked and float32, with the adapters merged into them."""
    merged = dict(params)
    for name, adapter in adapters.items():
        down, up = (np.asarray(part, np.float32) for part in adapter)
        merged[name] = np.asarray(params[name], np.float32) + down @ up
    return merged


def to_flat(adapters: Mapping[str, Adapter]) -> dict[str, stacks.Array]:
    """Names -> arrays, to be saved: "<kernel>:down", "<kernel>:up"."""
    return {f"{name}:{part}": np.asarray(getattr(own, part)) for name, own in adapters.items() for part in own._fields}


def from_flat(flat: Mapping[str, stacks.Array]) -> Adapters:
    """The inverse of `to_flat`."""
    names = sorted({name.rpartition(":")[0] for name in flat})
    return {name: Adapter(flat[f"{name}:down"], flat[f"{name}:up"]) for name in names}

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
import optax

from darius.errors import BadCheckpoint, InvalidOption
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
    change: jax.Array = adapter.down.astype(kernel.dtype) @ adapter.up.astype(kernel.dtype)
    return kernel + change


def export(params: Mapping[str, stacks.Array], adapters: Mapping[str, Adapter]) -> dict[str, stacks.Array]:
    """Host parameters, stacked and float32, with the adapters merged into them."""
    merged = dict(params)
    for name, adapter in adapters.items():
        down, up = (np.asarray(part, np.float32) for part in adapter)
        merged[name] = np.asarray(params[name], np.float32) + down @ up
    return merged


def to_flat(adapters: Mapping[str, Adapter], moments: optax.ScaleByAdamState) -> dict[str, stacks.Array]:
    """Host adapters and Adam's moments as named arrays, to be saved: "adapter:<kernel>:down", "mu:<kernel>:down"..."""
    trees = {"adapter": adapters, "mu": moments.mu, "nu": moments.nu}
    flat = {
        f"{kind}:{name}:{part}": np.asarray(getattr(own, part))
        for kind, tree in trees.items()
        for name, own in tree.items()
        for part in Adapter._fields
    }
    return flat | {"count": np.asarray(moments.count, np.int32)}


def restore(flat: Mapping[str, stacks.Array]) -> tuple[Adapters, optax.ScaleByAdamState]:
    """The inverse of `to_flat`.

    Raises:
      BadCheckpoint: an array is missing.
    """
    try:
        names = sorted({name.split(":")[1] for name in flat if ":" in name})
        trees = {
            kind: {
                name: Adapter(*(np.asarray(flat[f"{kind}:{name}:{part}"]) for part in Adapter._fields))
                for name in names
            }
            for kind in ("adapter", "mu", "nu")
        }
        return trees["adapter"], optax.ScaleByAdamState(flat["count"], trees["mu"], trees["nu"])
    except KeyError as error:
        raise BadCheckpoint(
            f"The adapters lack {error.args[0]}.", "Go on from an older checkpoint: remove this one."
        ) from None

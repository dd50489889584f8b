"""Checkpoints of a run: parameters, Adam's moments and the step in one .npz, replaced whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

NAME = "checkpoint.npz"


def save_run(folder: Path, params: dict[str, Any], moments: Any, step: int) -> Path:
    """Writes `folder/checkpoint.npz`; a reader never sees half of it."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {f"params/{name}": np.asarray(value) for name, value in params.items()}
    arrays |= {f"moments/{n}": np.asarray(leaf) for n, leaf in enumerate(jax.tree.leaves(moments))}
    partial = folder / f".partial-{NAME}"
    np.savez(partial, step=np.int64(step), **arrays)
    return partial.rename(folder / NAME)


def load_params(folder: Path) -> tuple[dict[str, np.ndarray[Any, Any]], int]:
    """Parameters and step of a run."""
    with np.load(folder / NAME) as file:
        names = [name for name in file.files if name.startswith("params/")]
        return {name.removeprefix("params/"): file[name] for name in names}, int(file["step"])


def load_run(folder: Path, structure: Any) -> tuple[dict[str, jax.Array], Any, int]:
    """Parameters, moments (in the tree of `structure`, a fresh optimiser state) and step."""
    params, step = load_params(folder)
    with np.load(folder / NAME) as file:
        leaves = [jnp.asarray(file[f"moments/{n}"]) for n in range(len(jax.tree.leaves(structure)))]
    moments = jax.tree.unflatten(jax.tree.structure(structure), leaves)
    return {name: jnp.asarray(value) for name, value in params.items()}, moments, step

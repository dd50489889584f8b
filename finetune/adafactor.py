"""Adafactor as the original trainer runs it: per-parameter state in T5X's names and shapes. Knows no networks.

Decay 1 - step^-0.8, updates clipped to root mean square 1, scaled by the parameter's root mean square but at least
1e-3, both sides of a matrix factored from 128 on. Layers that share an array are each scaled and clipped by themselves,
as the separate tensors that they are in a checkpoint; the state goes to and comes from checkpoints. Optax has the same
arithmetic (and the tests compare with it), but not for layers that share an array, nor in a form that compiles well.

Source: Shazeer and Stern, "Adafactor", arXiv 1804.04235, with T5X's constants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from darius.errors import BadCheckpoint
from finetune import stacks

Moments: TypeAlias = dict[str, dict[str, Any]]
"""Stacked name -> {"v_row", "v_col", "v"}, float32; one value each a layer where not used."""

DECAY, EPSILON, SMALLEST_SCALE, FACTORED = 0.8, 1e-30, 1e-3, 128
PARTS = ("v_row", "v_col", "v")
UNUSED = "m"  # momentum, which the original leaves off; its placeholder is in every checkpoint


def learning_rate(step: jax.Array | int, base: float = 0.5, warm: int = 1000) -> jax.Array:
    """The original's schedule, base / sqrt(max(step, warm)): 3.7e-4 where v1's pretraining ended."""
    return base / jnp.sqrt(jnp.maximum(jnp.asarray(step, jnp.float32), warm))


def init(params: Mapping[str, Any]) -> Moments:
    """Empty state of stacked parameters (or of their shapes)."""

    def one(name: str, value: Any) -> dict[str, jax.Array]:
        layers, shape = (value.shape[:1], value.shape[1:]) if stacks.is_stacked(name) else ((), value.shape)
        unused = (1,)
        if _factored(shape):
            shapes = {"v_row": (min(shape),), "v_col": (max(shape),), "v": unused}
        else:
            shapes = {"v_row": unused, "v_col": unused, "v": shape}
        return {part: jnp.zeros((*layers, *shapes[part])) for part in PARTS}

    return {name: one(name, value) for name, value in params.items()}


def update(
    params: Mapping[str, Any],
    moments: Moments,
    grads: Mapping[str, Any],
    step: jax.Array,
    rate: jax.Array,
    *,
    step_offset: jax.Array | int = 0,
) -> tuple[dict[str, jax.Array], Moments]:
    """One step.

    Args:
      params, grads: stacked, float32. The state remembers the gradients' scale: the original's are of the loss summed
        over all tokens of a batch.
      step: steps so far, before this one.
      rate: learning rate.
      step_offset: the step at which the state was empty; T5X counts from 0.
    """

    decay = 1.0 - (jnp.asarray(step - step_offset, jnp.float32) + 1.0) ** -DECAY
    new_params: dict[str, jax.Array] = {}
    new_moments: Moments = {}
    for name, value in params.items():
        sides = tuple(range(1 if stacks.is_stacked(name) else 0, value.ndim))
        scaled, new_moments[name] = _scaled(grads[name].astype(jnp.float32), moments[name], decay, sides)
        size = rate * jnp.maximum(_rms(value, sides), SMALLEST_SCALE) / jnp.maximum(1.0, _rms(scaled, sides))
        new_params[name] = value - scaled * _apart(size)
    return new_params, new_moments


def _scaled(
    grad: jax.Array, own: Mapping[str, jax.Array], decay: jax.Array, sides: tuple[int, ...]
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The gradient over the root of its running mean square; and the new state."""
    square = jnp.square(grad) + EPSILON

    def mixed(part: str, new: jax.Array) -> jax.Array:
        return decay * own[part] + (1.0 - decay) * new

    if not _factored([grad.shape[side] for side in sides]):
        whole = mixed("v", square)
        return grad * jax.lax.rsqrt(whole), {**own, "v": whole}
    small, large = sides if grad.shape[sides[0]] <= grad.shape[sides[1]] else sides[::-1]
    row, col = _apart((mixed("v_row", square.mean(large)), mixed("v_col", square.mean(small))))
    row_factor, col_factor = _apart((jax.lax.rsqrt(row / row.mean(-1, keepdims=True)), jax.lax.rsqrt(col)))
    scaled = grad * jnp.expand_dims(row_factor, large) * jnp.expand_dims(col_factor, small)
    return scaled, {**own, "v_row": row, "v_col": col}


def _rms(values: jax.Array, sides: tuple[int, ...]) -> jax.Array:
    """The root mean square of each tensor, [layers, 1, 1] or [1, 1]."""
    rows = _apart(jnp.square(values).mean(sides[-1], keepdims=True))
    return jnp.sqrt(rows.mean(sides, keepdims=True))


def _factored(shape: Sequence[int]) -> bool:
    """Whether T5X keeps two vectors of such a tensor: it is a matrix, both sides from FACTORED on."""
    return len(shape) == 2 and min(shape) >= FACTORED


def _apart(small: Any) -> Any:
    """Small arrays that are finished before big ones are made of them.

    Left alone, XLA computes them again for every element of the big ones: on an H100, 73 ms of each step of `large`.
    """
    return jax.lax.optimization_barrier(small)


def to_checkpoint(moments: Mapping[str, Mapping[str, np.ndarray[Any, Any]]]) -> dict[str, np.ndarray[Any, Any]]:
    """Host arrays as `darius.checkpoints.t5x.Checkpoint.param_states` has them: "<parameter>/v_row", ..."""
    flat: dict[str, np.ndarray[Any, Any]] = {}
    for name, own in moments.items():
        for part in PARTS:
            layers = stacks.unstack({name: np.asarray(own[part])})
            flat |= {f"{parameter}/{part}": value for parameter, value in layers.items()}
            flat |= {f"{parameter}/{UNUSED}": np.zeros(1, np.float32) for parameter in layers}
    return flat


def from_checkpoint(
    states: Mapping[str, np.ndarray[Any, Any]], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, dict[str, np.ndarray[Any, Any]]]:
    """The inverse of `to_checkpoint`.

    Args:
      shapes: of the stacked parameters.

    Raises:
      BadCheckpoint: the state of a parameter is missing or has another shape.
    """
    expected = jax.eval_shape(
        lambda: init({name: jax.ShapeDtypeStruct(shape, "float32") for name, shape in shapes.items()})
    )
    by_part = {
        part: stacks.stack(
            {name.removesuffix(f"/{part}"): value for name, value in states.items() if name.endswith(f"/{part}")}
        )
        for part in PARTS
    }
    moments: dict[str, dict[str, np.ndarray[Any, Any]]] = {}
    for name, own in expected.items():
        for part, wanted in own.items():
            found = by_part[part].get(name)
            if found is None or found.shape != wanted.shape:
                raise BadCheckpoint(
                    f"The optimiser state '{part}' of the parameter '{name}' is missing or misshapen.",
                    "It was not written by T5X's Adafactor; train from a checkpoint that was, or from a .safetensors.",
                )
            moments.setdefault(name, {})[part] = np.asarray(found, np.float32)
    return moments

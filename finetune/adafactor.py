"""Adafactor as the original trainer runs it: per-parameter state in T5X's names and shapes. Knows no networks.

The arithmetic is optax's, which is T5X's own to the last term (decay 1 - step^-0.8, updates clipped to root mean square
1, scaled by the parameter's root mean square but at least 1e-3, both sides of a matrix factored from 128 on). What is
ours: layers that share an array are each scaled and clipped by themselves, as the separate tensors that they are in a
checkpoint, and the state goes to and comes from checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from optax import FactoredState

from darius.errors import BadCheckpoint
from finetune import stacks

Moments: TypeAlias = dict[str, dict[str, Any]]
"""Stacked name -> {"v_row", "v_col", "v"}, float32; one value each a layer where not used."""

PARTS = ("v_row", "v_col", "v")
UNUSED = "m"  # momentum, which the original leaves off; its placeholder is in every checkpoint


def learning_rate(step: jax.Array | int, base: float = 0.5, warm: int = 1000) -> jax.Array:
    """The original's schedule, base / sqrt(max(step, warm)): 3.7e-4 where v1's pretraining ended."""
    return base / jnp.sqrt(jnp.maximum(jnp.asarray(step, jnp.float32), warm))


def init(params: Mapping[str, Any]) -> Moments:
    """Empty state of stacked parameters (or of their shapes)."""

    def one(name: str, value: Any) -> dict[str, jax.Array]:
        start = lambda: _parts(_rms().init(jnp.zeros(value.shape[1:] if stacks.is_stacked(name) else value.shape)))  # noqa: E731
        layers = (value.shape[0],) if stacks.is_stacked(name) else ()
        return {part: jnp.zeros((*layers, *array.shape)) for part, array in jax.eval_shape(start).items()}

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

    def one(value: jax.Array, own: dict[str, jax.Array], grad: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        state = FactoredState(count=step - step_offset, **own)
        scaled, state = _rms().update(grad, state, value)
        scaled, _ = _CLIP.update(scaled, optax.EmptyState(), value)
        scaled, _ = _SCALE.update(scaled, optax.EmptyState(), value)
        return value - rate * scaled, _parts(state)

    new_params: dict[str, jax.Array] = {}
    new_moments: Moments = {}
    for name, value in params.items():
        run = jax.vmap(one) if stacks.is_stacked(name) else one
        new_params[name], new_moments[name] = run(value, moments[name], grads[name].astype(jnp.float32))
    return new_params, new_moments


_CLIP = optax.clip_by_block_rms(1.0)
_SCALE = optax.scale_by_param_block_rms(1e-3)


def _rms() -> optax.GradientTransformation:
    return optax.scale_by_factored_rms(decay_rate=0.8)


def _parts(state: Any) -> dict[str, jax.Array]:
    return {part: getattr(state, part) for part in PARTS}


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

"""Adafactor is T5X's: by hand, layer by layer, and on the original's own optimiser state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.typing import NDArray

from darius.checkpoints import archives, t5x
from darius.checkpoints.t5x import Checkpoint
from darius.errors import BadCheckpoint
from finetune import adafactor, stacks

update = jax.jit(adafactor.update)  # written out, each operation would be a program of its own

GOLDEN = Path(__file__).parents[1] / "golden" / "depthformer_test"
Array = NDArray[Any]


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = archives.unpack(GOLDEN / "checkpoint_1862001.tgz", tmp_path_factory.mktemp("golden"))
    return t5x.read_checkpoint(folder)


def decay_at(step: int) -> float:
    """In float32, as the original has it: so close to 1 that its rounding shows."""
    return float(np.float32(1) - np.float32(step + 1) ** np.float32(-0.8))


def by_hand(
    value: Array, grad: Array, state: dict[str, Array], step: int, rate: float
) -> tuple[Array, dict[str, Array]]:
    """One tensor's step, as the paper and T5X's documentation say, in float64 but for the decay."""
    value, grad = value.astype(np.float64), grad.astype(np.float64)
    decay = decay_at(step)
    square = grad**2 + 1e-30
    if min(value.shape) >= 128 and value.ndim == 2:
        small, large = (0, 1) if value.shape[0] <= value.shape[1] else (1, 0)
        row = decay * state["v_row"] + (1 - decay) * square.mean(axis=large)
        col = decay * state["v_col"] + (1 - decay) * square.mean(axis=small)
        estimate = np.expand_dims(row / row.mean(), large) * np.expand_dims(col, small)
        state = {"v_row": row, "v_col": col, "v": np.zeros(1)}
    else:
        estimate = decay * state["v"] + (1 - decay) * square
        state = {"v_row": np.zeros(1), "v_col": np.zeros(1), "v": estimate}
    scaled = grad / np.sqrt(estimate)
    scaled /= max(1.0, np.sqrt(np.mean(scaled**2)))
    return value - rate * max(np.sqrt(np.mean(value**2)), 1e-3) * scaled, state


@pytest.mark.parametrize("shape", [(40,), (16, 128), (128, 130), (200, 128), (128, 128)])
def test_three_steps_by_hand(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    value = rng.normal(0, 0.3, shape).astype(np.float32)
    params, moments = {"a": jnp.asarray(value)}, adafactor.init({"a": value})
    expected, state = value, {part: np.asarray(own, np.float64) for part, own in moments["a"].items()}
    for step in (1_860_000, 1_860_001, 1_860_002):
        grad = rng.normal(0, 10, shape).astype(np.float32)
        expected, state = by_hand(expected, grad, state, step, 0.01)
        params, moments = update(params, moments, {"a": grad}, jnp.int32(step), jnp.float32(0.01))
        np.testing.assert_allclose(params["a"], expected, atol=1e-5)
        for part in adafactor.PARTS:
            np.testing.assert_allclose(moments["a"][part], state[part], rtol=1e-4)


@pytest.mark.parametrize("shape", [(140, 128), (130,)])
def test_three_steps_as_optax_has_them(shape: tuple[int, ...]) -> None:
    rms = optax.scale_by_factored_rms(decay_rate=0.8)
    theirs = optax.chain(rms, optax.clip_by_block_rms(1.0), optax.scale_by_param_block_rms(1e-3))
    rng = np.random.default_rng(3)
    value = jnp.asarray(rng.normal(0, 0.3, shape), jnp.float32)
    params, moments, state = {"a": value}, adafactor.init({"a": value}), theirs.init(value)
    for step in range(3):
        grad = jnp.asarray(rng.normal(0, 10, shape), jnp.float32)
        updates, state = jax.jit(theirs.update)(grad, state, value)
        value = value - 0.01 * updates
        params, moments = update(params, moments, {"a": grad}, jnp.int32(step), jnp.float32(0.01))
        np.testing.assert_allclose(params["a"], value, rtol=1e-5, atol=1e-7)


def test_factors_have_the_lengths_of_the_smaller_and_the_larger_side() -> None:
    moments = adafactor.init({name: np.zeros(shape) for name, shape in {"wi": (128, 300), "wo": (300, 128)}.items()})
    for own in moments.values():
        assert {part: value.shape for part, value in own.items()} == {"v_row": (128,), "v_col": (300,), "v": (1,)}


def test_layers_in_one_array_are_scaled_and_clipped_each_by_itself() -> None:
    rng = np.random.default_rng(1)
    names = [f"encoder/layers_{index}/mlp/wo/kernel" for index in range(2)]
    shape = (2, 130, 128)
    values = rng.normal(0, 1, shape).astype(np.float32) * np.float32([[[0.1]], [[10.0]]])
    grads = rng.normal(0, 1, shape).astype(np.float32) * np.float32([[[100.0]], [[0.01]]])
    separate = dict(zip(names, values, strict=True))
    alone = update(
        separate, adafactor.init(separate), dict(zip(names, grads, strict=True)), jnp.int32(0), jnp.float32(0.1)
    )
    stacked, stacked_grads = stacks.stack(separate), stacks.stack(dict(zip(names, grads, strict=True)))
    together = update(stacked, adafactor.init(stacked), stacked_grads, jnp.int32(0), jnp.float32(0.1))
    found = stacks.unstack({name: np.asarray(value) for name, value in together[0].items()})
    for name in names:
        np.testing.assert_allclose(found[name], alone[0][name], rtol=1e-5)


def test_the_originals_state_is_read_and_written_again_bit_for_bit(golden: Checkpoint) -> None:
    shapes = stacks.shapes({name: value.shape for name, value in golden.params.items()})
    again = adafactor.to_checkpoint(adafactor.from_checkpoint(golden.param_states, shapes))
    assert again.keys() == golden.param_states.keys()
    for name, value in golden.param_states.items():
        assert again[name].dtype == value.dtype
        np.testing.assert_array_equal(again[name], value)


def test_the_originals_state_is_continued(golden: Checkpoint) -> None:
    """At step 1,862,001 a gradient adds (step + 1)^-0.8 of its square to what was known before."""
    params = stacks.stack(golden.params)
    moments = adafactor.from_checkpoint(golden.param_states, {name: value.shape for name, value in params.items()})
    rng = np.random.default_rng(2)
    grads = {name: rng.normal(0, 1, value.shape).astype(np.float32) for name, value in params.items()}
    _, after = update(params, moments, grads, jnp.int32(golden.step), jnp.float32(1e-3))
    share = 1 - decay_at(golden.step)
    assert share == pytest.approx((golden.step + 1.0) ** -0.8, rel=0.01)
    for name, own in moments.items():
        expected = (1 - share) * own["v"].astype(np.float64) + share * grads[name].astype(np.float64) ** 2
        np.testing.assert_allclose(after[name]["v"], expected, rtol=1e-4)


def test_state_of_another_optimiser_is_refused_by_name(golden: Checkpoint) -> None:
    shapes = stacks.shapes({name: value.shape for name, value in golden.params.items()})
    states = {name: value for name, value in golden.param_states.items() if not name.endswith("decoder_norm/scale/v")}
    with pytest.raises(BadCheckpoint, match="decoder_norm/scale"):
        adafactor.from_checkpoint(states, shapes)


def test_the_learning_rate_goes_on_from_where_pretraining_ended() -> None:
    assert float(adafactor.learning_rate(1_860_000)) == pytest.approx(3.666e-4, rel=1e-3)
    assert float(adafactor.learning_rate(10)) == pytest.approx(0.5 / 1000**0.5)

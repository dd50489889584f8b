"""LoRA: nothing changes at first, merged it is the same model, and only adapters are trained."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import small_trainee
from small_trainee import PLACEMENT, SMALL

from darius.errors import BadCheckpoint, InvalidOption
from finetune import lora, stacks, step

SHAPES = {name: value.shape for name, value in stacks.stack(small_trainee.params()).items()}


def host(tree: Any) -> Any:
    return jax.tree.map(np.asarray, tree)


@pytest.fixture(scope="module")
def trained() -> Any:
    """Adapters after a few steps, with Adam's moments and the losses."""
    params = stacks.stack(small_trainee.params())
    options = small_trainee.options(lora=True, learning_rate=2e-2)
    state = step.start(7, host(lora.init(SHAPES, 2, 0)), PLACEMENT, lora=True)
    run = step.make(SMALL, options, PLACEMENT, state)
    losses = []
    for _ in range(25):
        state, found = run(state, params, small_trainee.batch())
        losses.append(float(found.sums.cross_entropy.sum()))
    return host(state.trained), host(state.moments), losses, step.make_evaluation(SMALL, options, PLACEMENT), state


def test_fresh_adapters_change_nothing() -> None:
    params = stacks.stack(small_trainee.params())
    merged = lora.export(params, host(lora.init(SHAPES, 2, 0)))
    assert small_trainee.same(merged, params)


def test_training_adapters_lowers_the_loss(trained: Any) -> None:
    assert np.mean(trained[2][-5:]) < 0.9 * trained[2][0]


def test_merged_parameters_are_the_model_that_was_trained(trained: Any) -> None:
    adapters, _, _, evaluate, state = trained
    params, windows = stacks.stack(small_trainee.params()), small_trainee.windows()
    with_adapters = evaluate(state, params, *windows)
    merged = lora.export(params, adapters)
    plain = step.start(0, merged, PLACEMENT, lora=False)
    full = step.make_evaluation(SMALL, small_trainee.options(), PLACEMENT)(plain, {}, *windows)
    np.testing.assert_allclose(with_adapters.cross_entropy, full.cross_entropy, rtol=1e-4)


def test_norms_tables_and_the_projection_stay_as_they_were(trained: Any) -> None:
    params = stacks.stack(small_trainee.params())
    merged = lora.export(params, trained[0])
    changed = {name for name in params if not np.array_equal(merged[name], params[name])}
    assert changed == set(lora.adapted(SHAPES))
    assert all(name.endswith("/kernel") and "layers_*" in name for name in changed)


def test_adapters_and_moments_are_restored_bit_for_bit(trained: Any) -> None:
    adapters, moments = trained[:2]
    assert small_trainee.same(lora.restore(lora.to_flat(adapters, moments)), (adapters, moments))


def test_missing_arrays_are_named(trained: Any) -> None:
    flat = lora.to_flat(*trained[:2])
    flat.pop("count")
    with pytest.raises(BadCheckpoint, match="count"):
        lora.restore(flat)


@pytest.mark.parametrize("rank", [0, 16, 500])
def test_impossible_ranks_are_refused(rank: int) -> None:
    with pytest.raises(InvalidOption, match="from 1 to 15"):
        lora.init(SHAPES, rank, 0)

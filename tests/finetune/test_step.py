"""The training step: it learns, small parts add up to the same, several devices and hosts too."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_trainee
from small_trainee import PLACEMENT, SMALL

from darius.errors import InvalidOption, NoDevice
from finetune import sharding, stacks, step

SEVERAL = Path(__file__).with_name("several_devices.py")


def losses(chosen: step.StepOptions, micro: int, steps: int = 4, config: Any = SMALL) -> list[float]:
    state, run = small_trainee.begin(chosen, config=config)
    found = []
    for index in range(steps):
        state, metrics = run(state, {}, small_trainee.batch(index % 2, rows=4, micro=micro))
        found.append(float(metrics.sums.cross_entropy.sum()) / (4 * SMALL.layout.decoder_length))
    return found


def test_a_batch_is_learned() -> None:
    found = losses(small_trainee.options(learning_rate=0.02), micro=4, steps=60)
    assert np.mean(found[-4:]) < 0.6 * found[0]


def test_micro_batches_give_what_the_whole_batch_gives() -> None:
    still = dataclasses.replace(SMALL, dropout_rate=0.0)  # parts draw their own dropout
    whole, parts = (losses(small_trainee.options(), micro, config=still) for micro in (4, 2))
    np.testing.assert_allclose(parts, whole, rtol=1e-5)


def test_the_step_counter_and_the_learning_rate_go_on() -> None:
    state, run = small_trainee.begin(small_trainee.options(), at=1_860_000)
    state, metrics = run(state, {}, small_trainee.batch(rows=4))
    assert int(state.step) == 1_860_001
    assert float(metrics.learning_rate) == pytest.approx(3.666e-4, rel=1e-3)


def test_the_gradient_norm_is_of_the_mean_loss() -> None:
    """Twice the same rows: twice the sum, but the same mean."""
    still = dataclasses.replace(SMALL, dropout_rate=0.0)
    once = small_trainee.batch(rows=2)
    twice = step.Batch(*(np.concatenate([ids, ids]) for ids in once))
    norms = []
    for batch in (once, twice):
        state, run = small_trainee.begin(small_trainee.options(), config=still)
        norms.append(float(run(state, {}, batch)[1].gradient_norm))
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_parameters_are_split_by_their_longest_side_that_fits() -> None:
    placement = sharding.Placement(mesh=PLACEMENT.mesh, split=True)
    for name, shape, side in (
        ("encoder/layers_*/mlp/wo/kernel", (2, 300, 256), 1),
        ("decoder/logits_dense/kernel", (256, 512), 1),
        ("decoder/decoder_norm/scale", (256,), None),
    ):
        spec = placement.of_param(name, shape).spec
        assert [axis for axis, own in enumerate(spec) if own] == ([] if side is None else [side])


def test_more_devices_than_there_are_is_refused() -> None:
    with pytest.raises(NoDevice, match="not 99"):
        sharding.place("cpu", 99)


def test_a_coordinator_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(InvalidOption, match="could not join"):
        sharding.join_hosts("nowhere:1", 2, 5)


def run_several(*words: str, devices: int = 1) -> subprocess.Popen[str]:
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": os.pathsep.join(str(path) for path in (SEVERAL.parents[2], SEVERAL.parent)),
    }
    return subprocess.Popen([sys.executable, str(SEVERAL), *words], env=environment, stdout=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def alone() -> list[float]:
    """The losses of four steps on one device, and the evaluation's after them."""
    chosen = small_trainee.options()
    state, run = small_trainee.begin(chosen)
    found = []
    for index in range(4):
        state, metrics = run(state, {}, small_trainee.batch(index % 2, rows=4, micro=4))
        found.append(float(metrics.sums.cross_entropy.sum()) / (4 * SMALL.layout.decoder_length))
    evaluate = step.make_evaluation(SMALL, chosen, PLACEMENT)
    return [*found, float(evaluate(state, {}, *small_trainee.windows(rows=4)).cross_entropy.sum())]


def test_attention_in_one_kernel_trains_as_attention_through_memory_dropout_included(alone: list[float]) -> None:
    plain = small_trainee.options()
    fused = dataclasses.replace(plain, loss=dataclasses.replace(plain.loss, fused="xla"))
    np.testing.assert_allclose(losses(fused, micro=4, steps=2), alone[:2], rtol=1e-5)


@pytest.mark.acceptance
def test_two_devices_have_the_loss_curve_of_one_split_or_not(alone: list[float]) -> None:
    output, _ = (process := run_several("devices", devices=2)).communicate(timeout=300)
    assert process.returncode == 0
    found = json.loads(output)
    np.testing.assert_allclose(found["whole"], alone, rtol=1e-5)
    np.testing.assert_allclose(found["split"], alone, rtol=1e-5)
    assert max(found["held"]) < 0.65  # the small tensors are everywhere
    assert found["added"] is True


@pytest.mark.acceptance
def test_two_hosts_have_the_loss_curve_of_one(alone: list[float]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    processes = [run_several("host", address, str(index)) for index in range(2)]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    for output in outputs:
        np.testing.assert_allclose(json.loads(output.splitlines()[-1])["whole"], alone, rtol=1e-5)


def test_stacking_is_undone_bit_for_bit() -> None:
    params = small_trainee.params()
    assert small_trainee.same(dict(sorted(stacks.unstack(stacks.stack(params)).items())), dict(sorted(params.items())))

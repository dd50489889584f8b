"""The original itself, where it is installed: it reads our checkpoints, has our loss, and trains into our runs.

Skipped where t5x is absent; `finetune/requirements-t5x.txt` says how to install it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darius.checkpoints import t5x
from darius.checkpoints.t5x import Checkpoint
from finetune import adafactor, forward, loss, metrics, origin, original, packaging, runs, stacks
from finetune.origin import Origin
from finetune.runs import Run, RunFacts
from finetune.train import TrainOptions, train

for package in ("t5x", "flaxformer"):
    pytest.importorskip(package, reason="the original trainer is not installed")
pytestmark = pytest.mark.timeout(1800)

STEP = 1_860_123
FACTS = RunFacts(task="any", model="tiny", first_step=STEP, batch_size=2, dtype="float32")


@pytest.fixture(scope="module")
def tiny() -> Origin:
    return origin.load("tiny")


@pytest.fixture(scope="module")
def states(tiny: Origin) -> dict[str, Any]:
    """An optimiser's state with something in it."""
    rng = np.random.default_rng(0)
    empty = jax.eval_shape(adafactor.init, stacks.stack(tiny.params))
    drawn = jax.tree.map(lambda leaf: np.square(rng.standard_normal(leaf.shape, np.float32)), empty)
    return adafactor.to_checkpoint(drawn)


@pytest.fixture(scope="module")
def restored(tiny: Origin, states: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The original's interactive model, restored by its own reader from a checkpoint that we wrote."""
    run = Run(folder=tmp_path_factory.mktemp("original"))
    t5x.write(run.checkpoint(STEP), Checkpoint(step=STEP, params=tiny.params, param_states=states))
    return original.interactive_model(tiny, FACTS, run)


def flat(tree: Any) -> dict[str, Any]:
    from flax import traverse_util

    return {str(name): np.asarray(value) for name, value in traverse_util.flatten_dict(tree, sep="/").items()}


def test_its_reader_restores_every_tensor_of_ours(restored: Any, tiny: Origin, states: dict[str, Any]) -> None:
    assert int(restored.step) == STEP
    for found, expected in (
        (flat(restored.train_state.params), tiny.params),
        (flat(restored.train_state.state_dict()["state"]["param_states"]), states),
    ):
        assert found.keys() == expected.keys()
        assert all(np.array_equal(value, expected[name]) for name, value in found.items())


def test_its_loss_is_ours(restored: Any, tiny: Origin) -> None:
    layout, rng = tiny.config.layout, np.random.default_rng(1)
    contexts = rng.integers(0, layout.codebook_size, (2, layout.context_frames, layout.codec_levels))
    styles = rng.integers(0, layout.codebook_size, (2, layout.style_levels))
    inputs = layout.encoder_rows(list(contexts), list(styles))
    inputs[0, :400] = 1
    codes = rng.integers(0, layout.codebook_size, (2, layout.chunk_frames, layout.codec_levels))
    targets = layout.codec_ids(codes).reshape(2, -1)
    batch = {
        "encoder_input_tokens": jnp.asarray(inputs),
        "decoder_target_tokens": jnp.asarray(targets),
        "decoder_input_tokens": jnp.pad(jnp.asarray(targets)[:, :-1], ((0, 0), (1, 0))),
        "decoder_loss_weights": jnp.ones(targets.shape, jnp.float32),
    }
    theirs, _ = jax.jit(lambda params: restored.model.loss_fn(params, batch, None))(restored.train_state.params)

    @jax.jit
    def ours(params: Any) -> jax.Array:
        found = forward.hidden(tiny.config, params, inputs, targets, dtype="float32", legal_only=False)
        return loss.total(loss.token_sums(tiny.config, found, targets, loss.LossOptions(dtype="float32")))

    mine = ours({name: jnp.asarray(value) for name, value in stacks.stack(tiny.params).items()})
    assert abs(float(theirs) - float(mine)) / targets.size < 1e-4


def test_it_trains_into_a_run_and_goes_on(dataset: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(dataset, tmp_path / "out"))
    options = {"dataset": own, "experiment": "original", "trainer": "t5x", "batch_size": 2, "save_every": 1, "keep": 2}
    first = train(TrainOptions(model="tiny", steps=2, **options))  # type: ignore[arg-type]
    ended = train(TrainOptions(resume=True, steps=3, **options))  # type: ignore[arg-type]
    run = runs.of(own, "original")
    assert ended.step == first.step + 1
    assert run.steps() == [first.step, ended.step]
    rows = metrics.read(run.metrics)
    assert [row["step"] for row in rows] == list(range(first.step - 1, ended.step + 1))
    assert rows[-1]["loss"] < rows[0]["loss"]
    saved = run.load(ended.step)
    assert saved.step == ended.step
    shapes = {name: value.shape for name, value in stacks.stack(saved.params).items()}
    adafactor.from_checkpoint(saved.param_states, shapes)
    assert (run.folder / runs.CURVES).is_file()
    assert packaging.package(run.checkpoint(ended.step), tmp_path / "packed").path.is_file()

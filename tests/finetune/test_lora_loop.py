"""LoRA through the whole loop: prepared clips, killed and resumed bit for bit, merged, packed, played."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from interrupted_run import killed_after_its_first_save, same_checkpoint
from typer.testing import CliRunner

from darius.checkpoints import safetensors_io, t5x
from darius_cli.main import app
from finetune import lora, origin, stacks
from finetune.train import Result, TrainOptions, train

pytestmark = pytest.mark.acceptance

RANK, STEPS = 4, 4


def options(own: Path, name: str, **changes: object) -> TrainOptions:
    plain = {"batch_size": 1, "steps": STEPS, "save_every": 2, "sample_every": 0, "eval_every": 0, "device": "cpu"}
    return TrainOptions(dataset=own, model="tiny", experiment=name, lora=RANK, **{**plain, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def own(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset that may be trained on."""
    return Path(shutil.copytree(dataset, tmp_path_factory.mktemp("lora") / "out"))


@pytest.fixture(scope="module")
def straight(own: Path) -> Result:
    """A run that nothing interrupted."""
    return train(options(own, "straight"))


def adapters_file(checkpoint: Path) -> Path:
    return checkpoint.parent / "adapters" / f"adapters_{checkpoint.name.partition('_')[2]}.safetensors"


def test_a_killed_run_goes_on_bit_for_bit(own: Path, straight: Result) -> None:
    killed_after_its_first_save(own, "killed", "--lora", str(RANK))
    ended = train(options(own, "killed", resume=True))
    assert same_checkpoint(ended.checkpoint, straight.checkpoint)
    ours, theirs = (safetensors_io.load(adapters_file(path)) for path in (ended.checkpoint, straight.checkpoint))
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_a_checkpoint_is_the_model_with_its_adapters_merged(straight: Result) -> None:
    adapters, _ = lora.restore(safetensors_io.load(adapters_file(straight.checkpoint)))
    expected = stacks.unstack(lora.export(stacks.stack(origin.load("tiny").params), adapters))
    found = t5x.read(straight.checkpoint)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in found)
    assert any(np.abs(adapter.up).max() > 0 for adapter in adapters.values())


def test_packed_it_plays(straight: Result, loop: Path, tmp_path: Path) -> None:
    def run(*words: str) -> dict[str, object]:
        result = CliRunner().invoke(app, [*words, "--json"])
        assert result.exit_code == 0, result.output
        told: dict[str, object] = json.loads(result.stdout.splitlines()[-1])
        return told

    run("package-ckpt", str(straight.run))
    (archive,) = straight.run.glob("archives/*.tgz")
    target = tmp_path / "continued.wav"
    told = run("generate", str(loop), "--bars", "1", "--out", str(target), "--device", "cpu", "--model", str(archive))
    assert soundfile.info(target).frames == told["samples"] == 2 * 44_100  # one bar at 120 bpm

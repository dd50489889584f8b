"""Killed while it trains, a run goes on and ends where it would have ended, bit for bit; and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from interrupted_run import killed_after_its_first_save, same_checkpoint
from typer.testing import CliRunner

from darius_cli.main import app
from finetune import metrics
from finetune.train import TrainOptions, train

STEPS = 4


@pytest.fixture(scope="module")
def own(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset that may be trained on."""
    return Path(shutil.copytree(dataset, tmp_path_factory.mktemp("resume") / "out"))


def options(own: Path, name: str, **changes: object) -> TrainOptions:
    plain = {"batch_size": 1, "steps": STEPS, "save_every": 2, "sample_every": 0, "eval_every": 0, "device": "cpu"}
    return TrainOptions(dataset=own, model="tiny", experiment=name, **{**plain, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def straight(own: Path) -> Path:
    """A run that nothing interrupted: its last checkpoint."""
    return train(options(own, "straight")).checkpoint


def test_a_killed_run_goes_on_bit_for_bit(own: Path, straight: Path) -> None:
    run = killed_after_its_first_save(own, "killed")
    ended = train(options(own, "killed", resume=True))
    assert same_checkpoint(ended.checkpoint, straight)
    steps = [row["step"] for row in metrics.read(run.metrics) if row["kind"] == "train"]
    assert steps == sorted(set(steps)) and len(steps) == STEPS


def test_a_run_is_not_begun_twice_nor_changed_on_the_way(own: Path, straight: Path) -> None:
    common = ["train", "--output-dir", str(own), "--experiment-name", "straight", "--device", "cpu"]
    for words, sentence, code in (
        ([], "There is a run", 2),
        (["--resume", "--batch-size", "2"], "began with --batch-size 1, not 2", 2),
        (["--resume", "--task-name", "other"], "is the task 'loops'", 2),
        (["--resume", "--steps", "0"], "--steps must be at least 1", 2),
        (["--trainer", "t5x"], "original trainer is not installed", 1),
    ):
        result = CliRunner().invoke(app, [*common, *words])
        assert result.exit_code == code, result.output
        assert sentence in result.output


def test_a_finished_run_says_what_it_came_to(own: Path, straight: Path) -> None:
    words = [
        "train",
        "--output-dir",
        str(own),
        "--experiment-name",
        "straight",
        "--resume",
        "--device",
        "cpu",
        "--json",
    ]
    words += ["--steps", str(STEPS), "--sample-every", "0", "--eval-every", "0"]
    told = json.loads(CliRunner().invoke(app, words).stdout.splitlines()[-1])
    assert told["checkpoint"] == str(straight)
    assert (straight.parent / "training_curves.png").read_bytes()[:4] == b"\x89PNG"
    assert (straight.parent / "mean_style_embed.npy").is_file()

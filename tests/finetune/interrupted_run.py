"""A training process of its own that is killed as soon as it has saved a checkpoint."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

from darius.checkpoints import t5x
from finetune import runs
from finetune.runs import Run


def killed_after_its_first_save(dataset: Path, name: str, *words: str) -> Run:
    """kill -9 of `darius train` of tiny, batch 1, a checkpoint every two steps; only the first checkpoint is left."""
    run = runs.of(dataset, name)
    command = [sys.executable, "-m", "darius_cli", "train", "--output-dir", str(dataset), "--experiment-name", name]
    command += ["--model", "tiny", "--batch-size", "1", "--steps", "400", "--save-every", "2", "--device", "cpu"]
    process = subprocess.Popen([*command, "--sample-every", "0", "--eval-every", "0", *words])
    while not run.steps():
        time.sleep(0.05)
        assert process.poll() is None
    process.kill()
    process.wait()
    for step in run.steps()[1:]:  # a fast machine may have gone further than the run it is compared with
        shutil.rmtree(run.checkpoint(step))
    return run


def same_checkpoint(one: Path, other: Path) -> bool:
    """Step, parameters and optimiser's state, bit for bit."""
    ours, theirs = t5x.read_checkpoint(one), t5x.read_checkpoint(other)
    pairs = ((ours.params, theirs.params), (ours.param_states, theirs.param_states))
    return ours.step == theirs.step and all(
        found.keys() == expected.keys() and all((found[key] == expected[key]).all() for key in found)
        for found, expected in pairs
    )

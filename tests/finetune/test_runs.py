"""A run's folder: the golden layout, the newest few kept, and never half a checkpoint whatever is killed when."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import small_trainee

from darius import hub
from darius.checkpoints import archives, index, t5x
from darius.checkpoints.t5x import Checkpoint
from darius.errors import BadCheckpoint, Busy
from finetune import adafactor, metrics, stacks
from finetune.runs import Run, RunFacts

GOLDEN = Path(__file__).parents[1] / "golden" / "depthformer_test"
SAVER = """
import sys
from pathlib import Path
import numpy as np
from darius.checkpoints.t5x import Checkpoint
from finetune.runs import Run
run, step = Run(folder=Path(sys.argv[1])), int(sys.argv[2])
with run.owned():
    while True:
        step += 1
        params = {f"t{i}/kernel": np.full((64, 64), step, "f4") for i in range(12)}
        run.save(Checkpoint(step=step, params=params), keep=2)
"""


def checkpoint(step: int = 7) -> Checkpoint:
    params = small_trainee.params()
    moments = adafactor.init(stacks.stack(params))
    return Checkpoint(step=step, params=params, param_states=adafactor.to_checkpoint(moments))


def test_what_is_written_has_the_structure_of_the_originals(tmp_path: Path) -> None:
    """The golden checkpoint, through our state and our saver: the same files, the same index."""
    original = archives.unpack(GOLDEN / "checkpoint_1862001.tgz", tmp_path / "cache")
    read = t5x.read_checkpoint(original)
    shapes = stacks.shapes({name: value.shape for name, value in read.params.items()})
    states = adafactor.to_checkpoint(adafactor.from_checkpoint(read.param_states, shapes))
    params = stacks.unstack(stacks.stack(read.params))
    ours = Run(folder=tmp_path / "run").save(Checkpoint(step=read.step, params=params, param_states=states))
    names = [{path.relative_to(folder).as_posix() for path in folder.rglob("*")} for folder in (original, ours)]
    assert names[0] == names[1]
    trees = [index.decode((folder / "checkpoint").read_bytes()) for folder in (original, ours)]
    leaves = [dict(index.leaves(tree["optimizer"])) for tree in trees]
    assert leaves[0].keys() == leaves[1].keys()
    for name, leaf in leaves[0].items():
        np.testing.assert_equal(leaves[1][name], leaf)


def test_only_the_newest_are_kept_and_the_hub_finds_the_newest(tmp_path: Path) -> None:
    run = Run(folder=tmp_path)
    for step in (5, 6, 10, 9):
        run.save(checkpoint(step), keep=3)
    assert run.steps() == [6, 9, 10]
    assert hub.resolve(str(tmp_path)).step == 10


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    run = Run(folder=tmp_path)
    run.save(checkpoint(5))
    run.save(checkpoint(5))
    assert t5x.read_checkpoint(run.checkpoint(5)).step == 5
    assert [child.name for child in tmp_path.iterdir()] == ["checkpoint_5"]


def test_a_killed_saver_leaves_only_whole_checkpoints(tmp_path: Path) -> None:
    run, rng = Run(folder=tmp_path), np.random.default_rng(0)
    for _ in range(5):
        before = max(run.steps(), default=0)
        process = subprocess.Popen([sys.executable, "-c", SAVER, str(tmp_path), str(before)])
        while max(run.steps(), default=0) < before + 2:
            time.sleep(0.005)
            assert process.poll() is None
        time.sleep(float(rng.uniform(0, 0.1)))
        process.send_signal(signal.SIGKILL)
        process.wait()
        for step in run.steps():
            read = t5x.read_checkpoint(run.checkpoint(step))
            assert read.step == step and len(read.params) == 12
            assert all((value == step).all() for value in read.params.values())
    with run.owned():
        assert {child.name for child in tmp_path.iterdir()} == {".lock"} | {
            f"checkpoint_{step}" for step in run.steps()
        }


def test_two_trainers_do_not_share_a_run(tmp_path: Path) -> None:
    with Run(folder=tmp_path).owned(), pytest.raises(Busy, match="Another process"), Run(folder=tmp_path).owned():
        pass


def test_facts_are_kept_and_damaged_ones_refused(tmp_path: Path) -> None:
    run, facts = Run(folder=tmp_path), RunFacts(task="a", model="tiny", first_step=3, lora=4)
    assert run.read_facts() is None
    run.write_facts(facts)
    assert run.read_facts() == facts
    (tmp_path / "run.json").write_text('{"task": 1}')
    with pytest.raises(BadCheckpoint, match=r"run\.json"):
        run.read_facts()


def test_the_log_forgets_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = metrics.Log(path, tmp_path / "train", step=0)
    for step in (1, 2, 3):
        log.write({"step": step, "kind": "train", "loss": float("nan") if step == 2 else 1.0})
    log.close()
    with path.open("a") as file:
        file.write('{"step": 4, "ki')  # killed while it wrote
    log = metrics.Log(path, tmp_path / "train", step=2)
    log.write({"step": 3, "kind": "train", "loss": 2.0})
    log.close()
    assert [(row["step"], row["loss"]) for row in metrics.read(path)] == [(1, 1.0), (2, None), (3, 2.0)]
    assert len(list((tmp_path / "train").glob("events.*"))) == 2

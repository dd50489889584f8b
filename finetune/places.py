"""What a path given to `package-ckpt` or `upload` means: a checkpoint, a run, or a dataset with one run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from darius.errors import InvalidOption, ModelNotFound
from finetune import manifest, runs
from finetune.manifest import Manifest
from finetune.runs import Run, RunFacts

ARCHIVES = "archives"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """A run and the steps of it that are meant.

    Attributes:
      run: its folder.
      steps: training step -> checkpoint folder, ascending.
    """

    run: Run
    steps: dict[int, Path]

    @property
    def archives(self) -> Path:
        """Where the run's archives lie."""
        return self.run.folder / ARCHIVES

    def facts(self) -> RunFacts | None:
        """What the run says of itself. Raises BadCheckpoint: run.json is damaged."""
        return self.run.read_facts()

    def dataset(self) -> Manifest | None:
        """The dataset that it was trained on, when the run still lies in it."""
        file = self.run.folder.absolute().parent.parent / manifest.FILE_NAME
        return manifest.read(file) if file.is_file() else None

    def choose(self, *, step: int | None, everything: bool) -> dict[int, Path]:
        """The newest step, one of them, or all.

        Raises:
          InvalidOption: both were asked for. ModelNotFound: there is no such step.
        """
        if step is not None and everything:
            raise InvalidOption("--step and --all exclude each other.", "Give one of them.")
        if everything:
            return self.steps
        newest = max(self.steps) if step is None else step
        if newest not in self.steps:
            there = ", ".join(map(str, self.steps))
            raise ModelNotFound(f"There is no step {step} in {self.run.folder}.", f"The steps there are: {there}.")
        return {newest: self.steps[newest]}


def find(path: Path) -> Place:
    """A checkpoint folder, a run's folder, or a dataset with one run.

    Raises:
      ModelNotFound: none of these; the hint says what is there.
    """
    if not path.is_dir():
        raise ModelNotFound(f"There is no folder '{path}'.", "Give a run's folder or a checkpoint's.")
    name, _, digits = path.absolute().name.rpartition("_")
    if name == "checkpoint" and digits.isdecimal():
        return Place(run=Run(folder=path.absolute().parent), steps={int(digits): path})
    run = Run(folder=path)
    if not run.steps():
        run = _only_run(path)
    return Place(run=run, steps={step: run.checkpoint(step) for step in run.steps()})


def _only_run(folder: Path) -> Run:
    names = [name for name in runs.experiments(folder) if runs.of(folder, name).steps()]
    if not names:
        raise ModelNotFound(
            f"There is no checkpoint_<step> folder in '{folder}'.",
            "Give a run's folder (OUT/runs/<experiment>) or a checkpoint's; `darius train` makes them.",
        )
    if len(names) > 1:
        raise ModelNotFound(
            f"There are {len(names)} runs in '{folder}': {', '.join(names)}.",
            f"Name one of them: {folder / runs.RUNS / names[-1]}",
        )
    return runs.of(folder, names[0])

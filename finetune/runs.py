"""A run's folder: checkpoints in T5X's layout, adapters, what the run is, its steering assets. Knows files only.

    <dataset>/runs/<experiment>/checkpoint_<step>/, and beside them run.json, metrics.jsonl, samples/, ...

A checkpoint appears under its name when it is whole and on the disk, and vanishes from its name before it is removed:
whatever happens to the machine, readers never meet half of one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from darius.audio.files import atomic
from darius.checkpoints import safetensors_io, t5x
from darius.errors import BadCheckpoint, Busy, OutputFailed
from darius.style.steering import CENTROIDS_FILE, MEAN_FILE
from finetune.stacks import Array

RUNS, FILE_NAME, METRICS, CURVES, SAMPLES, ADAPTERS, EVENTS = (
    "runs",
    "run.json",
    "metrics.jsonl",
    "training_curves.png",
    "samples",
    "adapters",
    "train",
)
_CHECKPOINT = re.compile(r"checkpoint_(\d+)")
SAVING, _REMOVING = ".saving-", ".removing-"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What decides how a run goes on: its choices, and where it began.

    Attributes:
      task: of the dataset; model: the name that it was trained from.
      first_step: the step at which it began; step_offset: the step at which the optimiser's state was empty.
      lora: rank of the adapters, 0 for full finetuning.
      learning_rate: a constant, or None for the original's schedule.
      trainer: "darius" or "t5x".
    """

    task: str
    model: str
    first_step: int
    step_offset: int = 0
    seed: int = 0
    batch_size: int = 8
    micro_batch: int = 8
    learning_rate: float | None = None
    lora: int = 0
    dtype: str = "float32"
    legal_only: bool = False
    trainer: str = "darius"
    format: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """The folder of one run."""

    folder: Path

    @property
    def metrics(self) -> Path:
        return self.folder / METRICS

    def checkpoint(self, step: int) -> Path:
        return self.folder / f"checkpoint_{step}"

    def steps(self) -> list[int]:
        """The checkpoints that are there, oldest first."""
        found = (_CHECKPOINT.fullmatch(child.name) for child in self.folder.glob("checkpoint_*") if child.is_dir())
        return sorted(int(match[1]) for match in found if match)

    @contextlib.contextmanager
    def owned(self) -> Iterator[None]:
        """Holds the run for one trainer and clears what an interrupted one left behind.

        Raises:
          Busy: another process trains here.
        """
        from filelock import FileLock, Timeout

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputFailed(
                f"{self.folder} cannot be written ({error.strerror}).", "Choose another folder."
            ) from None
        lock = FileLock(self.folder / ".lock")
        try:
            with lock.acquire(timeout=0):
                for child in [
                    *self.folder.glob(f".*{SAVING}*"),
                    *self.folder.glob(f"{SAVING}*"),
                    *self.folder.glob(f"{_REMOVING}*"),
                ]:
                    shutil.rmtree(child, ignore_errors=True)
                yield
        except Timeout:
            raise Busy(
                f"Another process is training in {self.folder}.", "Wait for it, or give another --experiment-name."
            ) from None

    def write_facts(self, facts: RunFacts) -> None:
        """Writes run.json, whole or not at all."""
        with atomic(self.folder / FILE_NAME) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(facts), indent=1) + "\n", encoding="utf-8")

    def read_facts(self) -> RunFacts | None:
        """What run.json says; None if there is none.

        Raises:
          BadCheckpoint: it is damaged.
        """
        try:
            return RunFacts(**json.loads((self.folder / FILE_NAME).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise BadCheckpoint(
                f"{self.folder / FILE_NAME} cannot be read ({error}).",
                "Start a new run with another --experiment-name.",
            ) from None

    def copy_assets(self, dataset: Path) -> None:
        """Copies the dataset's steering assets, so that the run can be played and uploaded by itself."""
        for name in (MEAN_FILE, CENTROIDS_FILE):
            if (dataset / name).is_file():
                with atomic(self.folder / name) as temporary:
                    shutil.copyfile(dataset / name, temporary)

    def save(self, checkpoint: t5x.Checkpoint, *, adapters: Mapping[str, Array] | None = None, keep: int = 5) -> Path:
        """Saves a checkpoint (and, before it, the adapters merged into it), then removes all but the newest `keep`.

        Raises:
          OutputFailed: the disk refused; nothing that was there is lost.
        """
        target = self.checkpoint(checkpoint.step)
        if adapters is not None:
            file = self.adapters_file(checkpoint.step)
            safetensors_io.save(file, adapters, {"step": checkpoint.step}, overwrite=True)
            _settle(file)
        if target.exists():  # saved before, then gone on from an older one: the same bits
            _remove(target)
        temporary = target.with_name(f"{SAVING}{target.name}")
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            t5x.write(temporary, checkpoint)
            for path in temporary.rglob("*"):
                _settle(path)
            _settle(temporary)
            temporary.rename(target)
            _settle(self.folder)
        except OSError as error:
            raise OutputFailed(f"{target} cannot be written ({error.strerror}).", "Is the disk full?") from None
        self.prune(keep)
        return target

    def prune(self, keep: int) -> None:
        """Removes all checkpoints but the newest `keep`; one always stays."""
        for step in self.steps()[: -max(keep, 1)]:
            _remove(self.checkpoint(step))
            self.adapters_file(step).unlink(missing_ok=True)

    def adapters_file(self, step: int) -> Path:
        return self.folder / ADAPTERS / f"adapters_{step}.safetensors"

    def load(self, step: int) -> t5x.Checkpoint:
        """A checkpoint with its optimiser's state. Raises BadCheckpoint."""
        return t5x.read_checkpoint(self.checkpoint(step))

    def load_adapters(self, step: int) -> dict[str, Array]:
        """The adapters of a checkpoint. Raises BadCheckpoint."""
        return safetensors_io.load(self.adapters_file(step))


def experiments(dataset: Path) -> list[str]:
    """The names of the runs of a dataset."""
    return sorted(child.parent.name for child in (dataset / RUNS).glob(f"*/{FILE_NAME}"))


def of(dataset: Path, experiment: str) -> Run:
    """The run of that name."""
    return Run(folder=dataset / RUNS / experiment)


def _remove(checkpoint: Path) -> None:
    hidden = checkpoint.with_name(f"{_REMOVING}{checkpoint.name}")
    shutil.rmtree(hidden, ignore_errors=True)
    checkpoint.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def _settle(path: Path) -> None:
    """Waits until a file, or a folder's entries, are on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

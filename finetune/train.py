"""`darius train`: from a dataset's folder and options to a run that begins or goes on. Knows no arithmetic.

finetune.train.train(TrainOptions(dataset=Path("OUT"), steps=2000))
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darius.errors import BadDataset, InvalidOption, ModelNotFound, OutputExists
from finetune import manifest, runs
from finetune.manifest import Manifest
from finetune.runs import Run, RunFacts

if TYPE_CHECKING:
    from finetune.loop import View
    from finetune.origin import Origin
    from finetune.sharding import Placement

Report = Callable[["View"], None]

TRAINERS = ("darius", "t5x")
BATCH_SIZE = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What to train, and how. None is "as the run had it", or for a new run what the attribute's line says.

    Attributes:
      dataset: the folder that `prepare-data` made; task: when given, it must be that task.
      model: to start from: a name as `darius.load` knows it. New runs: large.
      steps: to go, counted from where the run began.
      batch_size: windows a step. New runs: 8, the original's.
      micro_batch: windows at a time; smaller takes less memory, a little more time, and gives the same gradient but
        for dropout. New runs: batch_size.
      learning_rate: a constant. New runs: the original's schedule (3.7e-4 for v1), or 1e-3 for LoRA.
      save_every, sample_every, eval_every: steps; 0 for never (a checkpoint is always saved at the end).
      keep: newest checkpoints to keep.
      experiment: the run's name. By default made of the task's and the model's.
      lora: rank of low-rank adapters; 0 trains everything. New runs: 0.
      dtype: of activations: float32, bfloat16, or auto, which is bfloat16 on accelerators.
      legal_only: see `loss.LossOptions`. New runs: only for models that are so.
      resume: go on with a run.
      seed: of everything drawn. New runs: 0.
      device, devices: kind and number, see `sharding.place`; split: split the parameters over them.
      trainer: "darius", or "t5x" for the original's.
    """

    dataset: Path
    task: str | None = None
    model: str | None = None
    steps: int = 6000
    batch_size: int | None = None
    micro_batch: int | None = None
    learning_rate: float | None = None
    save_every: int = 1000
    sample_every: int = 1000
    eval_every: int = 250
    keep: int = 5
    experiment: str | None = None
    lora: int | None = None
    dtype: str = "auto"
    legal_only: bool | None = None
    resume: bool = False
    seed: int | None = None
    device: str = "auto"
    devices: int | None = None
    split: bool = False
    trainer: str = "darius"
    offline: bool = False

    def check(self) -> None:
        """Raises InvalidOption for what no run can have."""
        for name in ("steps", "keep", "batch_size", "micro_batch", "devices"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidOption(f"--{name.replace('_', '-')} must be at least 1, not {value}.")
        for name in ("save_every", "sample_every", "eval_every", "lora", "seed"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise InvalidOption(f"--{name.replace('_', '-')} cannot be negative.", "0 turns it off.")
        if self.learning_rate is not None and not (0 < self.learning_rate < math.inf):
            raise InvalidOption(f"--learning-rate must be above 0, not {self.learning_rate}.")
        if self.dtype not in ("auto", "float32", "bfloat16"):
            raise InvalidOption(f"There is no number type '{self.dtype}'.", "Choose auto, float32 or bfloat16.")
        if self.trainer not in TRAINERS:
            raise InvalidOption(f"There is no trainer '{self.trainer}'.", f"Choose one of: {', '.join(TRAINERS)}.")
        if self.experiment is not None and (
            not self.experiment.strip(".") or Path(self.experiment).name != self.experiment
        ):
            raise InvalidOption(f"'{self.experiment}' cannot be a folder's name.", "Use letters, digits, _ and -.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What a run has come to: its folder, its newest checkpoint, and the last readings."""

    run: Path
    checkpoint: Path
    step: int
    last: dict[str, Any]


def train(options: TrainOptions, report: Report | None = None) -> Result:
    """Trains until the run has done its steps; Ctrl-C (or SIGTERM) saves a checkpoint, then stops it.

    Args:
      report: told of every step.

    Raises:
      InvalidOption, BadDataset, ModelNotFound, BadCheckpoint, NoDevice, OutOfMemory, OutputFailed, MissingDependency;
      OutputExists: there is a run of that name, and it was not to be resumed; Busy: another process trains it.
      TrainingStopped: it went wrong; the newest checkpoint is good.
      KeyboardInterrupt: it was stopped; a checkpoint is saved.
    """
    options.check()
    dataset = manifest.load(options.dataset, task=options.task)
    run = runs.of(options.dataset, options.experiment or _experiment(dataset, options))
    if options.trainer == "t5x":
        from finetune.original import train_with_t5x

        return train_with_t5x(options, dataset, run, report)
    import jax

    from finetune import sharding

    placement = sharding.place(options.device, options.devices, split=options.split)
    with run.owned() if jax.process_index() == 0 else contextlib.nullcontext():
        return _train(options, dataset, run, placement, report)


def _experiment(dataset: Manifest, options: TrainOptions) -> str:
    """The run to resume if there is only one; otherwise a name of what is trained."""
    there = runs.experiments(options.dataset)
    if options.resume and len(there) == 1:
        return there[0]
    model = Path((options.model or "large").rstrip("/")).name.replace(":", "_")
    return f"{dataset.task}_{model}" + (f"_lora{options.lora}" if options.lora else "")


def _train(options: TrainOptions, dataset: Manifest, run: Run, placement: Placement, report: Report | None) -> Result:
    from darius.devices import keep_compiled_programs
    from darius.hub import cache_root
    from finetune import loop, origin

    keep_compiled_programs(cache_root() / "compiled")
    known = run.read_facts()
    check_run(options, run, known)
    model = options.model or (known.model if known else "large")
    start = origin.load(model, offline=options.offline)
    check_codec(dataset, start, model)
    facts = known or new_facts(options, dataset, model, start, placement)
    rows = facts.micro_batch
    if facts.batch_size % rows or rows % placement.devices:
        raise InvalidOption(
            f"A batch of {facts.batch_size} in parts of {rows} cannot be split over {placement.devices} devices.",
            "--micro-batch must divide --batch-size, and the number of devices must divide --micro-batch.",
        )
    trainer = loop.Trainer(options=options, dataset=dataset, run=run, facts=facts, origin=start, placement=placement)
    step, last = trainer.go(report or (lambda view: None))
    return Result(run=run.folder, checkpoint=run.checkpoint(step), step=step, last=last)


def check_run(options: TrainOptions, run: Run, known: RunFacts | None) -> None:
    """Whether these options may begin or go on with this run. Raises ModelNotFound, OutputExists, InvalidOption."""
    there = ", ".join(runs.experiments(options.dataset)) or "none"
    if known is None:
        if options.resume:
            raise ModelNotFound(
                f"There is no run {run.folder} to resume.", f"Runs there are: {there}. Choose with --experiment-name."
            )
        return
    if not options.resume and run.steps():
        raise OutputExists(
            f"There is a run {run.folder} already.",
            "Go on with --resume, or begin another with --experiment-name NAME.",
        )
    for name in ("model", "batch_size", "micro_batch", "learning_rate", "lora", "legal_only", "seed"):
        asked, had = getattr(options, name), getattr(known, name)
        if asked is not None and asked != had:
            raise InvalidOption(
                f"This run began with --{name.replace('_', '-')} {had}, not {asked}.",
                "Leave the option out to go on, or begin another run with --experiment-name NAME.",
            )


def check_codec(dataset: Manifest, start: Origin, model: str) -> None:
    """Whether the dataset was made with the codec of that model. Raises BadDataset."""
    from finetune.listening import identify

    codec, _ = identify(start.parts)
    if codec != dataset.codec_sha256:
        raise BadDataset(
            f"The dataset was made with the codec of '{dataset.model}', which '{model}' does not speak.",
            f"Prepare the data again with --model {model}, or train another model.",
        )


def new_facts(options: TrainOptions, dataset: Manifest, model: str, start: Origin, placement: Placement) -> RunFacts:
    """What a new run remembers of its options."""
    batch = options.batch_size or BATCH_SIZE
    on_cpu = placement.mesh.devices.flat[0].platform == "cpu"
    dtype = ("float32" if on_cpu else "bfloat16") if options.dtype == "auto" else options.dtype
    lora = options.lora or 0
    return RunFacts(
        task=dataset.task,
        model=model,
        first_step=start.step,
        step_offset=0 if start.param_states and not lora else start.step,
        seed=options.seed or 0,
        batch_size=batch,
        micro_batch=options.micro_batch or batch,
        learning_rate=options.learning_rate,
        lora=lora,
        dtype=dtype,
        legal_only=start.legal_only if options.legal_only is None else options.legal_only,
    )

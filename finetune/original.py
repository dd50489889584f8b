"""The original trainer, T5X's, on the same dataset and into the same kind of run. Knows no arithmetic.

It runs where t5x and v1's `magenta_rt` are installed (the finetune images; see `requirements-t5x.txt`).
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from darius import hub
from darius.checkpoints import t5x as folders
from darius.errors import InvalidOption, MissingDependency, OutputExists
from darius.hub.cache import checkpoints_folder
from finetune.manifest import Manifest
from finetune.runs import EVENTS, Run, RunFacts
from finetune.train import BATCH_SIZE, Result, TrainOptions

SIZES = ("base", "large")


def train_with_t5x(options: TrainOptions, dataset: Manifest, run: Run) -> Result:
    """Trains `options.steps` more steps with T5X and saves into the run's folder.

    Raises:
      MissingDependency: the original is not installed.
      InvalidOption: an option that it does not have.
    """
    for package in ("t5x", "magenta_rt.finetune"):
        _find(package)
    if options.lora or options.micro_batch or options.learning_rate:
        raise InvalidOption(
            "The original trainer knows no LoRA, micro-batches or learning rates of your own.",
            "Leave those options out, or --trainer t5x.",
        )
    if run.steps() and not options.resume:
        raise OutputExists(f"There is a run {run.folder} already.", "Go on with --resume, or give --experiment-name.")
    with run.owned():
        return _train(options, dataset, run)


def _train(options: TrainOptions, dataset: Manifest, run: Run) -> Result:
    from finetune import tasks

    finetuner = importlib.import_module("magenta_rt.finetune.finetuner")
    batch, size = options.batch_size or BATCH_SIZE, options.model or "large"
    newest = max(run.steps(), default=None)
    source = run.checkpoint(newest) if newest is not None else _checkpoint(size, options.offline)
    first = folders.read_step(source) or 0
    known = run.read_facts()
    run.write_facts(
        known
        or RunFacts(task=dataset.task, model=size, first_step=first, batch_size=batch, trainer="t5x", dtype="bfloat16")
    )
    run.copy_assets(options.dataset)
    tuner = finetuner.MagentaRTFinetuner(
        checkpoint_dir=str(source), output_dir=str(run.folder), tag=_size(size), batch_size=batch
    )
    batches = _batches(tasks.register(options.dataset), batch, options.seed or 0)
    tuner.train(batches, num_steps=options.steps, save_ckpt_period=options.save_every or options.steps)
    tuner.save_checkpoint()
    (run.folder / EVENTS).mkdir(exist_ok=True)
    step = max(run.steps())
    return Result(run=run.folder, checkpoint=run.checkpoint(step), step=step, last={})


def _find(package: str) -> None:
    try:
        found = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise MissingDependency(
            f"The original trainer is not installed: there is no package {package}.",
            "Leave --trainer out (Darius' own reads and writes the same files), or use a finetune image.",
        )


def _size(model: str) -> str:
    if model not in SIZES:
        raise InvalidOption(f"The original trainer begins with base or large, not '{model}'.", "Leave --trainer out.")
    return model


def _checkpoint(model: str, offline: bool) -> Path:
    from darius.checkpoints import archives

    resolved = hub.resolve(_size(model), offline=offline)
    return archives.unpack(resolved.path, checkpoints_folder(hub.cache_root()))


def _batches(task: str, rows: int, seed: int) -> Any:
    """The original's input pipeline over the registered task."""
    import seqio

    dataset = seqio.get_dataset(
        mixture_or_task_name=task,
        task_feature_lengths={"inputs": 1006, "targets": 800},
        feature_converter=seqio.EncDecFeatureConverter(pack=False),
        dataset_split="train",
        shuffle=True,
        num_epochs=None,
        seed=seed,
    )
    return dataset.batch(rows, drop_remainder=True).as_numpy_iterator()

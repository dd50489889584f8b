"""The original trainer, T5X's, on the same dataset and into the same kind of run. Knows no arithmetic.

It runs where t5x, flaxformer and v1's `magenta_rt` are installed (see `requirements-t5x.txt`). The model, the loss, the
optimiser, the input pipeline and the checkpoints are the original's; names, steps, readings and curves are a run's.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from darius.checkpoints import t5x as folders
from darius.depthformer.config import DepthformerConfig
from darius.errors import InvalidOption, MissingDependency
from finetune import metrics
from finetune.manifest import Manifest
from finetune.metrics import Row
from finetune.origin import Origin
from finetune.runs import CURVES, EVENTS, SAVING, Run, RunFacts
from finetune.train import Report, Result, TrainOptions, check_codec, check_run, new_facts

PACKAGES = ("t5x", "flaxformer", "magenta_rt.depthformer")


def train_with_t5x(options: TrainOptions, dataset: Manifest, run: Run, report: Report | None = None) -> Result:
    """As `finetune.train.train`, with T5X. No samples are played and nothing is evaluated while it trains.

    Raises:
      MissingDependency: the original is not installed.
      InvalidOption: an option that it does not have; otherwise as `finetune.train.train`.
    """
    for package in PACKAGES:
        _find(package)
    if options.lora or options.micro_batch or options.learning_rate or options.legal_only or options.split:
        raise InvalidOption(
            "The original trainer knows no LoRA, micro-batches, splitting, or learning rates of your own.",
            "Leave those options out, or --trainer t5x.",
        )
    known = run.read_facts()
    check_run(options, run, known)
    with run.owned():
        return _train(options, dataset, run, known, report)


def _train(options: TrainOptions, dataset: Manifest, run: Run, known: RunFacts | None, report: Report | None) -> Result:
    from finetune import origin, sharding, tasks

    model = options.model or (known.model if known else "large")
    start = origin.load(model, offline=options.offline)
    check_codec(dataset, start, model)
    placement = sharding.place(options.device, options.devices)
    _check_devices(placement)
    facts = known or dataclasses.replace(
        new_facts(options, dataset, model, start, placement), trainer="t5x", legal_only=False
    )
    run.write_facts(facts)
    run.copy_assets(options.dataset)
    tuner = interactive_model(start, facts, run)
    batches = _batches(tasks.register(options.dataset, layout=start.config.layout), facts, int(tuner.step))
    return _Loop(options, run, facts, tuner, batches).go(report or (lambda view: None))


class _Loop:
    """Steps of T5X's interactive model, and what is due between them."""

    def __init__(self, options: TrainOptions, run: Run, facts: RunFacts, tuner: Any, batches: Iterator[Any]) -> None:
        from finetune.watch import Watch

        self._options, self._run, self._facts = options, run, facts
        self._tuner, self._batches, self._watch = tuner, batches, Watch()
        self._at = int(tuner.step)
        self._last = max(facts.first_step + options.steps, self._at)
        self._row: Row = {}

    def go(self, report: Report) -> Result:
        from finetune.loop import stop_signals

        self._report = report
        log = metrics.Log(self._run.metrics, self._run.folder / EVENTS, step=self._at)
        try:
            with stop_signals() as stopped:
                self._tell("compiling")
                while self._at < self._last and not stopped.is_set():
                    self._step(log)
                    if self._due():
                        self._save()
                if self._at not in self._run.steps():
                    self._save()
                if stopped.is_set():
                    raise KeyboardInterrupt
        finally:
            log.close()
            title = f"{self._facts.task}, from {self._facts.model}, step {self._at}, T5X"
            metrics.draw(metrics.read(self._run.metrics), self._run.folder / CURVES, title=title)
        return Result(run=self._run.folder, checkpoint=self._run.checkpoint(self._at), step=self._at, last=self._row)

    def _step(self, log: metrics.Log) -> None:
        began = time.perf_counter()
        self._tuner.train_step_from_batch_iterator(self._batches)
        self._at += 1
        reading = _reading(self._tuner.train_summary, time.perf_counter() - began)
        self._row = {"step": self._at, "kind": "train", **reading}
        log.write(self._row)
        good = max(self._run.steps(), default=None)
        checkpoint = None if good is None else self._run.checkpoint(good)
        self._watch.step(self._at, self._row["loss"], None, self._row["learning_rate"], checkpoint)
        self._tell("training")

    def _due(self) -> bool:
        every = self._options.save_every
        return self._at == self._last or (every > 0 and (self._at - self._facts.first_step) % every == 0)

    def _save(self) -> None:
        self._tell("saving")
        self._tuner.save_checkpoint()
        self._run.prune(self._options.keep)

    def _tell(self, doing: str) -> None:
        from finetune.loop import View

        good = max(self._run.steps(), default=None)
        self._report(
            View(
                doing=doing,
                step=self._at,
                first_step=self._facts.first_step,
                last_step=self._last,
                seconds_a_step=self._row.get("seconds", 0.0),
                rows={"train": self._row} if self._row else {},
                checkpoint="" if good is None else str(self._run.checkpoint(good)),
            )
        )


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


def _check_devices(placement: Any) -> None:
    import jax

    if list(placement.mesh.devices.flat) != jax.devices()[: placement.devices] or (
        placement.devices != jax.device_count()
    ):
        raise InvalidOption(
            "The original trainer uses every device that JAX finds.",
            "Leave --device and --devices out; CUDA_VISIBLE_DEVICES chooses.",
        )


def interactive_model(start: Origin, facts: RunFacts, run: Run) -> Any:
    """T5X's interactive model, at the newest checkpoint of the run or at the model that it begins with."""
    logging.getLogger("absl").setLevel(logging.ERROR)  # a page of warnings about its own options
    original = importlib.import_module("magenta_rt.depthformer.model")
    newest = max(run.steps(), default=None)
    with tempfile.TemporaryDirectory(prefix=SAVING, dir=run.folder) as temporary:
        if newest is None:
            source = Path(temporary) / f"checkpoint_{start.step}"
            states = start.param_states or _empty_states(start)
            folders.write(source, folders.Checkpoint(step=start.step, params=start.params, param_states=states))
        else:
            source = run.checkpoint(newest)
        *_, tuner = original.load_pretrained_model(
            checkpoint_dir=str(source),
            size="base",  # a set of gin bindings, whose sizes are given anew
            batch_size=facts.batch_size,
            gin_overrides=_bindings(start.config, facts),
            output_dir=str(run.folder),
        )
    return tuner


def _empty_states(start: Origin) -> dict[str, Any]:
    import jax
    import numpy as np

    from finetune import adafactor, stacks

    empty = jax.eval_shape(adafactor.init, stacks.stack(start.params))
    return adafactor.to_checkpoint(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), empty))


def _bindings(config: DepthformerConfig, facts: RunFacts) -> str:
    values = {
        "ACTIVATION_DTYPE": facts.dtype,
        "EMBED_DIM": config.embed_dim,
        "NUM_HEADS": config.num_heads,
        "HEAD_DIM": config.head_dim,
        "MLP_DIM": config.mlp_dim,
        "NUM_ENCODER_LAYERS": config.num_encoder_layers,
        "NUM_TEMPORAL_LAYERS": config.num_temporal_layers,
        "NUM_DEPTH_LAYERS": config.num_depth_layers,
        "adafactor.Adafactor.step_offset": facts.step_offset,
    }
    return "\n".join(f"{name} = {value!r}" for name, value in values.items())


def _reading(summary: Mapping[str, Any], seconds: float) -> Row:
    """T5X's summary of a step by a run's names."""
    told = {name: float(getattr(value, "value", value)) for name, value in summary.items()}
    return {
        "loss": told["cross_ent_loss_per_all_target_tokens"],
        "z_loss": told["z_loss_per_all_target_tokens"],
        "accuracy": told["accuracy"],
        "learning_rate": told["learning_rate"],
        "seconds": round(seconds, 4),
    }


def _batches(task: str, facts: RunFacts, step: int) -> Iterator[Any]:
    """The original's input pipeline over the registered task; a run that goes on draws anew."""
    import seqio

    dataset = seqio.get_dataset(
        mixture_or_task_name=task,
        task_feature_lengths={"inputs": 1006, "targets": 800},
        feature_converter=seqio.EncDecFeatureConverter(pack=False),
        dataset_split="train",
        shuffle=True,
        num_epochs=None,
        seed=facts.seed + step - facts.first_step,
    )
    batches: Iterator[Any] = dataset.batch(facts.batch_size, drop_remainder=True).as_numpy_iterator()
    return batches

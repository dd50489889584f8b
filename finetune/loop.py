"""The training loop: steps, readings, evaluations, samples, checkpoints, each when it is due. Knows no arithmetic.

A step is read while the next one runs. Nothing of a step is saved before its reading was found sound.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from darius.audio import files
from darius.checkpoints.t5x import Checkpoint
from darius.depthformer import cuda, weights
from darius.devices import memory_errors
from finetune import adafactor, batches, lora, metrics, sharding, stacks, step
from finetune.loss import LossOptions, Sums
from finetune.manifest import Manifest
from finetune.metrics import Row
from finetune.origin import Origin
from finetune.runs import CURVES, EVENTS, SAMPLES, Run, RunFacts
from finetune.samples import Player
from finetune.sharding import Placement
from finetune.step import Batch, State, StepMetrics
from finetune.train import TrainOptions
from finetune.watch import Watch

SAMPLED = 2
"""Clips that a sample continues."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    """Where a run stands, for people: what it does, how far it is, and its last rows by kind."""

    doing: str
    step: int
    first_step: int
    last_step: int
    seconds_a_step: float
    rows: Mapping[str, Row]
    checkpoint: str | None


class Trainer:
    """One run, from its start or its newest checkpoint, to its end."""

    def __init__(
        self,
        *,
        options: TrainOptions,
        dataset: Manifest,
        run: Run,
        facts: RunFacts,
        origin: Origin,
        placement: Placement,
    ) -> None:
        self._options, self._run, self._facts, self._placement = options, run, facts, placement
        self._config, self._parts = origin.config, origin.parts
        layout = origin.config.layout
        self._main = jax.process_index() == 0
        examples = batches.load(dataset.examples_file(options.dataset), layout)
        held_out = dataset.eval_file(options.dataset)
        self._held_out = batches.load(held_out, layout) if held_out else []
        self._sampler = batches.Sampler(
            examples, layout, rows=facts.batch_size, seed=facts.seed, first_step=facts.first_step
        )
        self._to_hear = (self._held_out or examples)[:SAMPLED]
        self._resumed = bool(run.steps())
        self._param_states: Mapping[str, stacks.Array] = {}
        self._state, self._frozen, self._base = self._begin(origin)
        self._step_options = step.StepOptions(
            loss=LossOptions(
                dtype=facts.dtype, legal_only=facts.legal_only, fused=_fused_attention(facts.dtype, placement)
            ),
            lora=facts.lora > 0,
            learning_rate=facts.learning_rate,
            step_offset=facts.step_offset,
            seed=facts.seed,
        )
        self._train_step = step.make(self._config, self._step_options, placement, self._state)
        self._at = int(self._state.step)
        self._last = max(facts.first_step + options.steps, self._at)
        self._watch = Watch()
        self._rows: dict[str, Row] = {}
        self._seconds, self._mark = 0.0, time.perf_counter()
        self._player: Player | None = None
        self._evaluate: Callable[..., Sums] | None = None

    def go(self, report: Callable[[View], None]) -> tuple[int, Row]:
        """Trains to the end; returns the last step and its reading. Raises as `finetune.train.train`."""
        self._report = report
        if self._main:
            self._run.write_facts(self._facts)
            self._run.copy_assets(self._options.dataset)
            self._log = metrics.Log(self._run.metrics, self._run.folder / EVENTS, step=self._at)
        try:
            with stop_signals() as stopped, _memory_sentence(self._facts):
                self._loop(stopped)
        finally:
            if self._main:
                self._draw()
                self._log.close()
        return self._at, self._rows.get("train", {})

    def _loop(self, stopped: threading.Event) -> None:
        if not self._resumed:
            self._evaluate_now()
        self._tell("compiling")
        pending: tuple[int, StepMetrics] | None = None
        while self._at < self._last and not stopped.is_set():
            self._state, found = self._train_step(self._state, self._frozen, self._batch(self._at))
            self._at += 1
            if pending is not None:
                self._read(*pending)
            pending = (self._at, found)
            if self._due():
                self._read(*pending)
                pending = None
                self._stations()
                self._mark = time.perf_counter()
        if pending is not None:
            self._read(*pending)
        if self._at not in self._run.steps():
            self._save()
        if stopped.is_set():
            raise KeyboardInterrupt

    def _due(self) -> bool:
        done = self._at - self._facts.first_step
        every = (self._options.save_every, self._options.eval_every, self._options.sample_every)
        return self._at == self._last or any(n and done % n == 0 for n in every)

    def _stations(self) -> None:
        """What is due after this step; the checkpoint before the sample, which may find that all is lost."""
        done, ended = self._at - self._facts.first_step, self._at == self._last

        def wanted(every: int) -> bool:
            return every > 0 and (ended or done % every == 0)

        if wanted(self._options.eval_every):
            self._evaluate_now()
        if ended or wanted(self._options.save_every):
            self._save()
        if wanted(self._options.sample_every):
            self._sample()

    def _begin(self, origin: Origin) -> tuple[State, dict[str, jax.Array], dict[str, stacks.Array]]:
        """The state, the frozen parameters on the devices, and (LoRA) the model on the host."""
        facts, placement = self._facts, self._placement
        newest = max(self._run.steps(), default=None)
        if facts.lora:
            base = stacks.stack(origin.params)
            self._param_states = origin.param_states
            frozen = _freeze(base, facts.dtype, placement)
            if newest is None:
                fresh = lora.init({name: value.shape for name, value in base.items()}, facts.lora, facts.seed)
                return step.start(origin.step, jax.tree.map(np.asarray, fresh), placement, lora=True), frozen, base
            adapters, moments = lora.restore(self._run.load_adapters(newest))
            return step.start(newest, adapters, placement, lora=True, moments=moments), frozen, base
        found = (
            Checkpoint(step=origin.step, params=origin.params, param_states=origin.param_states)
            if newest is None
            else self._run.load(newest)
        )
        params = stacks.stack(found.params)
        shapes = {name: value.shape for name, value in params.items()}
        moments = adafactor.from_checkpoint(found.param_states, shapes) if found.param_states else None
        return step.start(found.step, params, placement, lora=False, moments=moments), {}, {}

    def _batch(self, at: int) -> Batch:
        drawn = self._sampler.at(at)
        rows = self._facts.micro_batch
        return Batch(*(sharding.put(ids.reshape(-1, rows, ids.shape[-1]), self._placement.batch) for ids in drawn))

    def _read(self, at: int, found: StepMetrics) -> None:
        """Waits for a step and looks at what it found."""
        sums, norm, rate = jax.tree.map(np.asarray, found)
        now = time.perf_counter()
        self._seconds, self._mark = now - self._mark, now
        tokens = self._facts.batch_size * self._config.layout.decoder_length
        row = metrics.reading(sums, tokens)
        row |= {"gradient_norm": float(norm), "learning_rate": float(rate), "seconds": round(self._seconds, 4)}
        self._note("train", row, at=at)
        self._watch.step(at, row["loss"], row["gradient_norm"], row["learning_rate"], self._good())
        self._tell("training")

    def _note(self, kind: str, row: Row, *, at: int) -> None:
        self._rows[kind] = {"step": at, "kind": kind, **row}
        if self._main:
            self._log.write(self._rows[kind])

    def _good(self) -> Path | None:
        newest = max(self._run.steps(), default=None)
        return None if newest is None else self._run.checkpoint(newest)

    def _evaluate_now(self) -> None:
        """The loss of the held-out clips, without dropout."""
        if not self._held_out or not self._options.eval_every:
            return
        self._tell("evaluating")
        if self._evaluate is None:
            self._evaluate = step.make_evaluation(self._config, self._step_options, self._placement)
        rows = self._facts.micro_batch
        found = [
            self._evaluate(self._state, self._frozen, *(sharding.put(ids, self._placement.rows) for ids in windows))
            for windows in batches.last_windows(self._held_out, self._config.layout, rows=rows)
        ]
        sums = Sums(*(np.sum([np.asarray(part) for part in parts], axis=0) for parts in zip(*found, strict=True)))
        self._note("eval", metrics.reading(sums, len(found) * rows * self._config.layout.decoder_length), at=self._at)

    def _save(self) -> None:
        self._tell("saving")
        trained, moments = self._placement.to_host((self._state.trained, self._state.moments))
        if not self._main:
            return
        adapters = None
        if self._facts.lora:
            params, states = lora.export(self._base, trained), self._param_states
            adapters = lora.to_flat(trained, moments)
        else:
            params, states = trained, adafactor.to_checkpoint(moments)
        checkpoint = Checkpoint(step=self._at, params=stacks.unstack(params), param_states=dict(states))
        self._run.save(checkpoint, adapters=adapters, keep=self._options.keep)
        self._draw()
        self._log.settle()

    def _sample(self) -> None:
        """Plays the same clips again, and listens whether there is sound."""
        self._tell("playing")
        trained = self._placement.to_host(self._state.trained)
        if not self._main:
            return
        params = lora.export(self._base, trained) if self._facts.lora else trained
        if self._player is None:
            device = self._placement.mesh.local_devices[0]
            self._player = Player(self._config, self._parts, device, seed=self._facts.seed)
        samples = self._player.play(stacks.unstack(params), self._to_hear)
        for index, sample in enumerate(samples):
            folder = self._run.folder / SAMPLES
            folder.mkdir(exist_ok=True)
            files.save(folder / f"step_{self._at}_{index}.wav", sample.played, overwrite=True)
            files.save(folder / f"real_{index}.wav", sample.real, overwrite=True)
            self._log.write_sound(f"sample/{index}", sample.played.samples, sample.played.rate, self._at)
        silent, real = (
            float(np.mean(part)) for part in zip(*((s.silent, s.real_silent) for s in samples), strict=True)
        )
        self._note("sample", {"silent": silent, "real_silent": real}, at=self._at)
        rate = self._rows["train"]["learning_rate"]
        self._watch.sample(self._at, silent, real, rate, self._good())

    def _draw(self) -> None:
        title = f"{self._facts.task}, from {self._facts.model}, step {self._at}"
        metrics.draw(metrics.read(self._run.metrics), self._run.folder / CURVES, title=title)

    def _tell(self, doing: str) -> None:
        self._report(
            View(
                doing=doing,
                step=self._rows.get("train", {}).get("step", self._at),
                first_step=self._facts.first_step,
                last_step=self._last,
                seconds_a_step=self._seconds,
                rows=dict(self._rows),
                checkpoint=str(self._good() or ""),
            )
        )


def _fused_attention(dtype: str, placement: Placement) -> Literal["cudnn"] | None:
    """cuDNN's kernel where there is one for this number type: NVIDIA cards from Ampere on. Not tried split."""
    architecture = cuda.architecture(placement.mesh.local_devices[0])
    able = architecture is not None and int(architecture) >= 80 and dtype == "bfloat16"
    return "cudnn" if able and not placement.split else None


def _freeze(base: Mapping[str, stacks.Array], dtype: str, placement: Placement) -> dict[str, jax.Array]:
    """A frozen model on the devices in the activations' type, but for the output projection, which stays float32."""
    frozen: dict[str, jax.Array] = {}
    for name, value in base.items():  # one by one: the host never holds a second copy
        frozen |= placement.put_params({name: value}, np.float32 if name == weights.LOGITS else jnp.dtype(dtype))
    return frozen


@contextlib.contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, so that a step is never torn; a second Ctrl-C stops at once."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread() or jax.process_count() > 1:
        yield stopped
        return

    def stop(number: int, frame: object) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _memory_sentence(facts: RunFacts) -> contextlib.AbstractContextManager[None]:
    return memory_errors(
        f"training {facts.model} with {facts.micro_batch} windows at a time",
        "Use a smaller --micro-batch, --lora 16, a smaller --model, or several --devices with --split.",
    )

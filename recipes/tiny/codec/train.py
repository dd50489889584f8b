"""Trains tiny's codec on a pool of clips on the device, by the clock: an autoencoder first, then with the quantiser.

Knows one stage; `recipes.tiny.run` gives it clips and time.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from darius.codec import network, weights
from darius.codec.config import CodecConfig
from darius.codec.stft import spectrogram
from recipes.tiny.codec import losses, quantiser, step
from recipes.tiny.codec import pool as pools
from recipes.tiny.codec.pool import Pool

Refill = Callable[[Pool], Pool]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """rows of `frames` codec frames a step; the rate falls as a cosine of the clock once the quantiser is in.

    Of a refinement, a moving `average` of the weights is what is measured every `check_every` steps, and kept.
    """

    rows: int = 48
    frames: int = 32
    rate: float = 6e-4
    warm_share: float = 0.1
    fit_batches: int = 16
    refill_every: int = 20
    log_every: int = 100
    hopeless_mel: float = 10.0
    average: float = 0.998
    check_every: int = 500
    seed: int = 0


def train(config: CodecConfig, pool: Pool, refill: Refill, until: float, out: Path, settings: Settings) -> step.Params:
    """Trains until the monotonic clock says `until`; writes `joint.npz` and `log.jsonl` to `out`.

    Args:
      refill: called every few steps with the pool; gives it back with newer clips in it.
    """
    out.mkdir(parents=True, exist_ok=True)
    key = jax.random.key(settings.seed)
    params = softened(weights.initialise(config, key))
    state = step.start(params, settings.rows * settings.frames)
    example = (state, pool, key, jnp.float32(0))
    began = time.monotonic()
    with ThreadPoolExecutor(2) as compilers:
        warm, joint = (
            compilers.submit(_compiled, config, settings, partial(step.advance, config, quantise), example)
            for quantise in (False, True)
        )
        advance = warm.result()
        print(f"codec compiled in {time.monotonic() - began:.0f} s", flush=True)
        began = time.monotonic()
        run = _Run(config, settings, refill, out, began, until)
        state, pool = run.go("warm", advance, state, pool, until=began + settings.warm_share * (until - began))
        state = start_quantiser(config, state, pool, settings)
        advance = joint.result()
    state, pool = run.go("joint", advance, state, pool, until=until)
    save(out / "joint.npz", state.params)
    return state.params


def refine(
    config: CodecConfig,
    params: step.Params,
    names: tuple[str, ...],
    pool: Pool,
    held: NDArray[np.int16],
    refill: Refill,
    until: float,
    out: Path,
    settings: Settings,
) -> step.Params:
    """Trains parts (`names`) of a trained codec until the monotonic clock says `until`; codebooks stay as they are.

    Writes `joint.npz` and `log.jsonl` to `out`.

    Args:
      held: clips [clips, n, 2] that are not trained on; the weights that do best on them are what comes back.
    """
    out.mkdir(parents=True, exist_ok=True)
    state = step.start(params, settings.rows * settings.frames, trained=names)
    advance = _compiled(
        config, settings, partial(step.refine, config, names), (state, pool, jax.random.key(0), jnp.float32(0))
    )
    keeper = Keeper(config, {name: params[name] for name in names}, held, settings)
    began = time.monotonic()
    run = _Run(config, settings, refill, out, began, until, after=lambda count, state: keeper.see(count, state.params))
    state, pool = run.go("joint", advance, state, pool, until=until)
    keeper.check(run.count, state.params)
    best = state.params | keeper.best
    save(out / "joint.npz", best)
    return best


class Keeper:
    """Averages the trained parts of the parameters and keeps the average that does best on held-out clips."""

    def __init__(self, config: CodecConfig, trained: step.Params, held: NDArray[np.int16], settings: Settings) -> None:
        self.best = self.average = jax.tree.map(jnp.copy, trained)
        self.lowest = math.inf
        self.settings = settings
        self.held = jnp.asarray(held)

        @jax.jit
        def move(average: step.Params, trained: step.Params, share: jax.Array) -> step.Params:
            return jax.tree.map(lambda a, b: a + share * (b - a), average, trained)

        @jax.jit
        def measure(params: step.Params, held: jax.Array) -> step.Parts:
            wave = held.astype(jnp.float32) / 32768
            embeddings = network.encode_spectrogram(config, params, spectrogram(config, wave))
            levels = jnp.full(len(held), config.num_levels)
            done = quantiser.train_pass(params["quantizer"]["embedding"], embeddings, levels)
            return step.distances(config, params, done.quantised, wave, jax.random.key(0))

        self._move, self._measure = move, measure

    def see(self, count: int, params: step.Params) -> None:
        """After every step; the first steps count for more in the average."""
        share = max(1 - self.settings.average, 1 / (count + 1))
        self.average = self._move(self.average, {name: params[name] for name in self.average}, jnp.float32(share))
        if count % self.settings.check_every == 0:
            self.check(count, params)

    def check(self, count: int, params: step.Params) -> None:
        """Measures the average, and keeps it if there was no better one."""
        parts = self._measure(params | self.average, self.held)
        aim = float(losses.total(parts, losses.REFINING))
        numbers = " ".join(f"{name} {float(value):.3f}" for name, value in parts.items())
        print(f"held out {count}: aim {aim:.4f} {numbers}", flush=True)
        if aim < self.lowest:
            self.lowest, self.best = aim, self.average


def last_loss(out: Path, name: str = "mel_2048", lines: int = 5) -> float:
    """The mean of a loss in the last lines of the log."""
    logged = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()[-lines:]]
    return float(np.mean([line[name] for line in logged]))


def softened(params: step.Params, share: float = 0.3) -> step.Params:
    """Parameters whose residual branches and output layer say little at first.

    What the decoder makes is raised to the third power: a deep stack at full strength starts far too loud, and does
    not find back.
    """
    flat = weights.flatten(params)
    last = ("_a/conv/kernel", "conv1x1_b2/conv/kernel", "base_conv_last/conv/kernel")
    for name, value in flat.items():
        branch = "/conv2d_3x3/conv/kernel" if name.startswith("decoder/") else last[0]
        if name.endswith((branch, *last[1:])):
            flat[name] = value * share
    return weights.nest(flat)


def _compiled(config: CodecConfig, settings: Settings, move: Any, example: tuple[Any, ...]) -> Any:
    def advance(state: step.State, pool: Pool, key: jax.Array, rate: jax.Array) -> tuple[step.State, step.Parts]:
        draw, rest = jax.random.split(key)
        waveform = pools.windows(pool, draw, settings.rows, settings.frames * config.frame_samples)
        return move(state, step.Batch(waveform, rest, rate))

    return jax.jit(advance, donate_argnums=0).lower(*example).compile()


@dataclasses.dataclass
class _Run:
    config: CodecConfig
    settings: Settings
    refill: Refill
    out: Path
    began: float
    until: float
    after: Callable[[int, step.State], None] | None = None
    count: int = 0
    saved: float = dataclasses.field(default_factory=time.monotonic)

    def go(self, name: str, advance: Any, state: step.State, pool: Pool, *, until: float) -> tuple[step.State, Pool]:
        key = jax.random.key(self.settings.seed + len(name))
        first, began = self.count, time.monotonic()
        while time.monotonic() < until or self.count < first + 2:
            rate = self.rate(falls=name == "joint", first=first)
            state, parts = advance(state, pool, jax.random.fold_in(key, self.count), jnp.float32(rate))
            self.count += 1
            if self.after:
                self.after(self.count, state)
            if self.count % self.settings.refill_every == 0:
                pool = self.refill(pool)
                jax.block_until_ready(parts)
            if self.count % self.settings.log_every == 0:
                if self.lost(float(parts["mel_2048"])):
                    print(f"step {self.count}: the codec does not learn, its time goes to others", flush=True)
                    break
                self.report(name, (self.count - first) / (time.monotonic() - began), rate, parts)
            if name == "joint" and time.monotonic() - self.saved > 60:
                save(self.out / "joint.npz", state.params)
                self.saved = time.monotonic()
        return state, pool

    def lost(self, mel: float) -> bool:
        """Whether a third of the time is gone and the sound is still not there."""
        gone = (time.monotonic() - self.began) / (self.until - self.began)
        return gone > 1 / 3 and not mel < self.settings.hopeless_mel

    def rate(self, *, falls: bool, first: int) -> float:
        """Warm-up over 200 steps, then a cosine over the time that is gone, down to a fiftieth."""
        top, gone = self.settings.rate, (time.monotonic() - self.began) / (self.until - self.began)
        cosine = top * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(gone, 1)))) if falls else top
        return cosine * min(1.0, (self.count - first + 1) / 200)

    def report(self, name: str, speed: float, rate: float, parts: step.Parts) -> None:
        line = {"stage": name, "step": self.count, "seconds": round(time.monotonic() - self.began), "rate": rate}
        line |= {part: round(float(value), 4) for part, value in parts.items()}
        with (self.out / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        if self.count % (5 * self.settings.log_every) == 0:
            numbers = " ".join(f"{part} {float(value):.3f}" for part, value in parts.items())
            print(f"{name} {self.count} {line['seconds']}s {speed:.1f}/s lr {rate:.1e} {numbers}", flush=True)


def start_quantiser(config: CodecConfig, state: step.State, pool: Pool, settings: Settings) -> step.State:
    """Codebooks by k-means on the embeddings of fresh windows."""

    @jax.jit
    def embed(params: step.Params, pool: Pool, key: jax.Array) -> jax.Array:
        wave = pools.windows(pool, key, settings.rows, settings.frames * config.frame_samples)
        return network.encode_spectrogram(config, params, spectrogram(config, wave))

    began = time.monotonic()
    keys = jax.random.split(jax.random.key(settings.seed + 99), settings.fit_batches)
    found = [np.asarray(embed(state.params, pool, key)).reshape(-1, config.num_features) for key in keys]
    vectors = np.concatenate(found)
    codebooks = jnp.asarray(quantiser.fit(vectors, config.num_levels, config.codebook_size, rounds=4))
    print(f"k-means on {len(vectors)} embeddings took {time.monotonic() - began:.0f} s", flush=True)
    params = state.params | {"quantizer": {"embedding": codebooks}}
    averages = quantiser.start_averages(codebooks, settings.rows * settings.frames)
    return state._replace(params=params, averages=averages)


def save(path: Path, params: step.Params) -> None:
    """Parameters in one npz with names joined by "/", replaced in one go."""
    partial_path = path.with_name(".partial-" + path.name)
    flat: dict[str, Any] = {name: np.asarray(value, np.float32) for name, value in weights.flatten(params).items()}
    np.savez(partial_path, **flat)
    partial_path.rename(path)

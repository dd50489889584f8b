"""Trains the language model on a pool of clips' codes on the device, by the clock.

Knows one stretch of training; `recipes.tiny.run` gives it clips and time. A stretch begins from the structural start
or from any weights, and its learning rate goes from one value to another while its time goes by.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from darius.depthformer.config import DepthformerConfig
from recipes.tiny.lm.batches import Dropouts, Pool, Sounds, draw
from recipes.tiny.lm.forward import level_losses

FROZEN = ("encoder/layers_0/attention/query/kernel", "encoder/layers_0/attention/key/kernel")
"""The first encoder layer's heads look by position alone, and go on doing so."""

LEVEL_WEIGHTS = np.array([2.0, 2.0, 1.5, 1.5] + [0.1] * 12, np.float32)
"""What the context holds can be copied and carries the rhythm; of the fine levels little more than their frequencies
can be known, and at equal weight a model learns its clips' by heart."""

NAMES = ("loss", "right", "held_out", "held_out_right", "style_hidden", "style_wrong")
"""What the log says of training examples and of held-out ones: see `update` and `measuring`."""

Params = dict[str, jax.Array]
Refill = Callable[[Pool], Pool]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """A stretch: rate goes from rates[0] to rates[1] (times each tensor's pace) along a cosine of its clock."""

    batch: int = 96
    prefix: int = 8
    rates: tuple[float, float] = (2e-3, 2e-3)
    warm_up: int = 150
    fused: bool = False
    dtype: Any = jnp.float32
    dropouts: Dropouts = dataclasses.field(default_factory=Dropouts)
    refill_every: int = 10
    log_every: int = 100
    seed: int = 0


class State(NamedTuple):
    """What a step changes: parameters, Adam's moments, a moving average of the parameters; and each tensor's factor of
    the learning rate (see `paces`), which it does not."""

    params: Params
    moments: Any
    average: Params
    paces: dict[str, Any]


ADAM = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam(b1=0.9, b2=0.98, eps=1e-9))
AVERAGE = 0.997


def begin(params: dict[str, Any], pace: Callable[[str], Any]) -> State:
    """The state before the first step from these parameters."""
    arrays = {name: jnp.asarray(value, jnp.float32) for name, value in params.items()}
    trained = {name: value for name, value in arrays.items() if name not in FROZEN}
    factors = {name: jnp.asarray(pace(name), jnp.float32) for name in trained}
    return State(arrays, ADAM.init(trained), {name: jnp.array(value) for name, value in arrays.items()}, factors)


def loss(by_level: jax.Array) -> jax.Array:
    """The weighted mean of the levels' cross-entropies."""
    share = jnp.asarray(LEVEL_WEIGHTS[: len(by_level)])
    return jnp.sum(by_level * share) / jnp.sum(share)


def update(
    config: DepthformerConfig,
    settings: Settings,
    state: State,
    pool: Pool,
    heard: Sounds,
    key: jax.Array,
    rate: jax.Array,
) -> tuple[State, jax.Array, jax.Array]:
    """One step of Adam: the new state, cross-entropy and share of right codes per level."""
    batch = draw(
        config.layout, pool, heard, key, batch=settings.batch, prefix=settings.prefix, dropouts=settings.dropouts
    )
    trained = {name: value for name, value in state.params.items() if name not in FROZEN}
    fixed = {name: value for name, value in state.params.items() if name in FROZEN}

    def aim(part: Params) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        losses, right = level_losses(
            config, part | fixed, batch, first=settings.prefix, fused=settings.fused, dtype=settings.dtype
        )
        by_level = losses.mean((0, 1))
        return loss(by_level), (by_level, right.mean((0, 1)))

    gradients, (by_level, right) = jax.grad(aim, has_aux=True)(trained)
    updates, moments = ADAM.update(gradients, state.moments)
    params = {name: trained[name] - rate * state.paces[name] * updates[name] for name in trained} | fixed
    # One step that is not a number would end a run: it is left out.
    sound = jnp.isfinite(optax.global_norm(gradients))
    params, moments = jax.tree.map(
        lambda new, old: jnp.where(sound, new, old), (params, moments), (state.params, state.moments)
    )
    average = {name: AVERAGE * state.average[name] + (1 - AVERAGE) * params[name] for name in params}
    return State(params, moments, average, state.paces), by_level, right


def compiled(config: DepthformerConfig, settings: Settings, state: Any, pool: Any, heard: Any) -> Any:
    """`update` compiled for these shapes: (state, pool, heard, key, rate) -> (state, losses, right)."""
    step = jax.jit(partial(update, config, settings), donate_argnums=0)
    return step.lower(state, pool, heard, jax.random.key(0), jnp.float32(0)).compile()


NOTHING_SPOILT = Dropouts(style=0.0, context=0.0, silence=0.0, tiled=0.0, noise=0.0, slips=0.0)


def measuring(config: DepthformerConfig, settings: Settings) -> Any:
    """A function to compile, of parameters, two pools and sounds: on fixed examples, nothing hidden.

    It gives the cross-entropy and share of right codes per level; and of the second pool, whose clips turn into another
    groove, at the turn: how much higher the cross-entropy is with no style, and with that of another clip.
    """

    def on(params: Params, pool: Pool, heard: Sounds, dropouts: Dropouts) -> tuple[jax.Array, jax.Array]:
        batch = draw(
            config.layout,
            pool,
            heard,
            jax.random.key(7),
            batch=settings.batch,
            prefix=settings.prefix,
            dropouts=dropouts,
        )
        losses, right = level_losses(
            config, params, batch, first=settings.prefix, fused=settings.fused, dtype=settings.dtype
        )
        return losses.mean((0, 1)), right.mean((0, 1))

    @jax.jit
    def measure(params: Params, pool: Pool, turning: Pool, heard: Sounds) -> Any:
        losses, right = on(params, pool, heard, NOTHING_SPOILT)
        at_once = dataclasses.replace(NOTHING_SPOILT, at_switch=1.0)
        told, _ = on(params, turning, heard, at_once)
        hidden, _ = on(params, turning, heard, dataclasses.replace(at_once, style=1.0))
        other = turning._replace(styles=jnp.roll(turning.styles, 1, axis=0))
        wrong, _ = on(params, other, heard, at_once)
        return losses, right, hidden - told, wrong - told

    return measure


def rate_at(settings: Settings, step: int, gone: float) -> float:
    """The learning rate when a share `gone` of the stretch is over."""
    first, last = settings.rates
    cosine = last + (first - last) * 0.5 * (1 + np.cos(np.pi * min(max(gone, 0.0), 1.0)))
    return float(cosine) * min(1.0, (step + 1) / settings.warm_up)


def run(
    step: Any,
    state: State,
    pool: Pool,
    heard: Sounds,
    settings: Settings,
    *,
    refill: Refill,
    until: float,
    out: Path,
    check: Callable[[Params], Any],
    save: Callable[[Params, int], None] | None = None,
    first_step: int = 0,
    save_every: float = 75.0,
    names: tuple[str, ...] = NAMES,
) -> tuple[State, Pool, int]:
    """Steps until the monotonic clock says `until`.

    Args:
      step: what `compiled` gave.
      check: measures parameters on held-out clips, for the log.
      save: called now and then with the averaged parameters and the step.
      names: for the log, of the two things that a step gives and of the four that `check` does, each by level.
    """
    key, began = jax.random.key(settings.seed + 1000 * first_step), time.monotonic()
    count, saved, seen = 0, began, []
    while (now := time.monotonic()) < until or count < 2:
        rate = rate_at(settings, count, (now - began) / max(until - began, 1e-3))
        state, losses, right = step(state, pool, heard, jax.random.fold_in(key, count), jnp.float32(rate))
        count += 1
        seen.append((losses, right))
        if count % settings.refill_every == 0:
            jax.block_until_ready(losses)
            pool = refill(pool)
        if count % settings.log_every == 0:
            found = check(state.average)
            _log(out, first_step + count, time.monotonic() - began, count, rate, seen, found, int(pool.filled), names)
            seen = []
        if save is not None and time.monotonic() - saved > save_every:
            save(state.average, first_step + count)
            saved = time.monotonic()
    return state, pool, first_step + count


def _log(
    out: Path,
    step: int,
    gone: float,
    count: int,
    rate: float,
    seen: list[Any],
    check: Any,
    clips: int,
    names: tuple[str, ...],
) -> None:
    trained = (np.mean([np.asarray(pair[n]) for pair in seen], axis=0) for n in (0, 1))
    measured = dict(zip(names, (*trained, *(np.asarray(part) for part in check)), strict=True))
    facts = {"step": step, "seconds": round(gone, 1), "rate": rate, "clips": clips}
    facts |= {name: levels.round(4).tolist() for name, levels in measured.items()}
    with (out / "lm-log.jsonl").open("a") as log:
        log.write(json.dumps(facts) + "\n")
    shown = " ".join(f"{name} {levels[:4].round(3)} {levels[4:].mean():.2f}" for name, levels in measured.items())
    print(f"{step:6d} {gone:4.0f}s {count / gone:.1f}/s lr {rate:.1e} clips {clips} {shown}", flush=True)

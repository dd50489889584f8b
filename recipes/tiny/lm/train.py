"""Trains the language model: `python -m recipes.tiny.lm.train --minutes 50`.

Reads the token shards of `recipes.tiny.codec.encode` and the style codes beside them; writes checkpoints and a log to
`runs/tiny/lm`. Stopped, it goes on from the last checkpoint with --resume. The learning rate follows the clock, not
the step, so that a run of any length on any machine ends annealed.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from darius.depthformer import weights
from darius.depthformer.config import DepthformerConfig
from recipes.tiny.lm import dataset, structure
from recipes.tiny.lm.batches import Batch, Dropouts, draw
from recipes.tiny.lm.forward import level_losses
from recipes.tiny.lm.saved import load_params, load_run, save_run

FROZEN = ("encoder/layers_0/attention/query/kernel", "encoder/layers_0/attention/key/kernel")
"""The encoder's heads look by position alone, and go on doing so: their values and everything else learn."""

LEVEL_WEIGHTS = np.array([2.0, 2.0, 1.5, 1.5] + [0.5] * 12, np.float32)
"""What the context holds can be copied and carries the rhythm; the fine levels matter less."""


class State(NamedTuple):
    """Everything that a step changes."""

    params: dict[str, jax.Array]
    optimiser: Any
    step: int


def optimiser(clip: float = 1.0) -> optax.GradientTransformation:
    """Adam without its learning rate, which `update` takes."""
    return optax.chain(optax.clip_by_global_norm(clip), optax.scale_by_adam(b1=0.9, b2=0.98, eps=1e-9))


def loss(
    config: DepthformerConfig, params: dict[str, jax.Array], batch: Batch, *, near: bool, dtype: Any
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """The weighted mean of the levels' cross-entropies; beside it those, and the share of right codes, [levels]."""
    losses, right = level_losses(config, params, batch, near=near, dtype=dtype)
    by_level = losses.mean((0, 1))
    share = jnp.asarray(LEVEL_WEIGHTS[: len(by_level)])
    return jnp.sum(by_level * share) / jnp.sum(share), (by_level, right.mean((0, 1)))


@partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=(3, 4))
def update(
    config: DepthformerConfig, near: bool, dtype: Any, params: Any, moments: Any, batch: Batch, rate: jax.Array
) -> tuple[Any, Any, jax.Array, jax.Array]:
    """One step of Adam: new parameters and moments, cross-entropy and share of right codes per level."""
    trained = {name: value for name, value in params.items() if name not in FROZEN}
    fixed = {name: value for name, value in params.items() if name in FROZEN}
    grads, (by_level, right) = jax.grad(
        lambda part: loss(config, part | fixed, batch, near=near, dtype=dtype), has_aux=True
    )(trained)
    updates, moments = optimiser().update(grads, moments)
    trained = {name: trained[name] - rate * pace(name) * updates[name] for name in trained}
    return trained | fixed, moments, by_level, right


def pace(name: str) -> float:
    """The learning rate's factor for a tensor.

    A kernel sums hundreds of inputs whose updates agree, and at full rate a dozen steps would wipe out the structure
    it starts with; a row of the token table is seen rarely and alone.
    """
    if name == weights.EMBEDDING or name.endswith("/scale"):
        return 1.0
    return 0.3 if name == weights.LOGITS else 0.1


def begin(params: dict[str, Any]) -> State:
    """Step 0 from these parameters."""
    arrays = {name: jnp.asarray(value) for name, value in params.items()}
    return State(arrays, optimiser().init({k: v for k, v in arrays.items() if k not in FROZEN}), 0)


def learning_rate(peak: float, step: int, progress: float, warmup: int = 40) -> float:
    """Linear warm-up by step, then down along a cosine to a twentieth by the share of the time that is gone."""
    cosine = 0.05 + 0.95 * 0.5 * (1 + np.cos(np.pi * min(max(progress, 0.0), 1.0)))
    return peak * min(1.0, (step + 1) / warmup) * float(cosine)


def main() -> None:
    args = _arguments()
    config = DepthformerConfig.tiny()
    clips = dataset.load(args.clips, "train")
    held_out = dataset.load(args.clips, "validation")
    if args.resume:
        state = State(*load_run(args.out, begin(load_params(args.out)[0]).optimiser))
    else:
        books = dataset.codebooks(args.codec)
        state = begin(structure.initialise(config, books, seed=args.seed, counts=dataset.code_counts(config, clips)))
    print(f"{len(clips)} clips, {len(held_out)} held out, step {state.step}, {jax.devices()[0]}", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    run(config, state, clips, held_out, args)


def run(config: DepthformerConfig, state: State, clips: list[Any], held_out: list[Any], args: Any) -> State:
    """Steps until the time is over; logs, checks and saves on the way."""
    rng = np.random.default_rng(args.seed + state.step)
    dtype = jnp.bfloat16 if args.bfloat16 else jnp.float32
    strict = [clip for clip in held_out if 0 < clip.loop_frames <= 200] or held_out
    probe = draw(config.layout, strict, np.random.default_rng(1), batch=args.batch, chosen=args.frames)
    measure = jax.jit(lambda params, batch: loss(config, params, batch, near=args.near, dtype=dtype)[1])
    began = saved = logged = time.time()
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    length = 60 * args.minutes
    while (gone := time.time() - began) < length:
        rate = learning_rate(args.rate, state.step, args.done + (1 - args.done) * gone / length)
        batch = draw(config.layout, clips, rng, batch=args.batch, chosen=args.frames, dropouts=Dropouts())
        params, moments, by_level, right = update(
            config, args.near, dtype, state.params, state.optimiser, batch, jnp.float32(rate)
        )
        state = State(params, moments, state.step + 1)
        seen.append((np.asarray(by_level), np.asarray(right)))
        if time.time() - logged > args.log_every or state.step == 1:
            _log(args.out, state.step, gone, seen, measure(state.params, probe))
            seen, logged = [], time.time()
        if time.time() - saved > 60 * args.save_every:
            save_run(args.out, state.params, state.optimiser, state.step)
            saved, clips = time.time(), dataset.load(args.clips, "train")  # shards may have arrived
    save_run(args.out, state.params, state.optimiser, state.step)
    return state


def _log(folder: Path, step: int, gone: float, seen: list[Any], check: tuple[jax.Array, jax.Array]) -> None:
    losses, rights = (np.mean([pair[n] for pair in seen], axis=0) for n in (0, 1))
    checked, checked_right = (np.asarray(part) for part in check)
    facts = {"step": step, "seconds": round(gone, 1)}
    facts |= {"loss": losses.round(3).tolist(), "right": rights.round(3).tolist()}
    facts |= {"held_out": checked.round(3).tolist(), "held_out_right": checked_right.round(3).tolist()}
    with (folder / "log.jsonl").open("a") as log:
        log.write(json.dumps(facts) + "\n")
    print(
        f"{step:6d} {gone:6.0f} s  loss 0-3 {losses[:4].mean():.3f} 4- {losses[4:].mean():.3f}"
        f"  right {rights[:4].round(2)}  held out {checked[:4].mean():.3f} {checked[4:].mean():.3f}"
        f"  right {checked_right[:4].round(2)}",
        flush=True,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, default=Path("runs/tiny/clips"), help="token shards and style codes")
    parser.add_argument("--codec", type=Path, default=Path("darius/assets/tiny/codec.safetensors"))
    parser.add_argument("--out", type=Path, default=Path("runs/tiny/lm"))
    parser.add_argument("--minutes", type=float, default=50.0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--frames", type=int, default=16, help="frames of each example that the loss looks at")
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--done", type=float, default=0.0, help="share of the schedule that an earlier run has done")
    parser.add_argument("--near", action=argparse.BooleanOptionalAction, default=True, help="near encoder attention")
    parser.add_argument("--bfloat16", action="store_true", help="activations, on accelerators")
    parser.add_argument("--log-every", type=float, default=60.0, help="seconds")
    parser.add_argument("--save-every", type=float, default=4.0, help="minutes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()

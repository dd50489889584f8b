"""Trains tiny's codec: `python -m recipes.tiny.codec.train --clips runs/tiny/clips --out runs/tiny/codec --minutes 40`.

Stage `all` is an autoencoder (`warm`), then one with the quantiser (`joint`); stage `tokens` encodes the clips with
what came of it; stage `decoder` trains the decoder alone on from there, for tokens that stay as they are. The learning
rate follows the clock, so a run ends when it must; a run goes on from its own files.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from darius.codec import network, rvq, weights
from darius.codec.config import CodecConfig
from darius.codec.stft import spectrogram
from recipes.tiny.codec import data, fast_conv, quantiser, step
from recipes.tiny.codec.encode import encode_shards
from recipes.tiny.codec.ship import ASSET, load_any
from recipes.tiny.data.shards import ClipSet


def main() -> None:
    args = _arguments()
    config = CodecConfig.tiny()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.stage == "tokens":
        encode_shards(args.clips, args.start or ASSET)
        return
    windows = data.Windows(
        ClipSet.open(args.clips, split="train"), data.load_recordings(args.recordings), data.load_sounds(), args.seed
    )
    print(f"{len(windows.clips)} clips, {len(windows.recordings)} recordings, {len(windows.sounds)} lone sounds")
    batches = data.prefetch(windows, args.rows, args.seconds)
    with fast_conv.installed():
        if args.stage == "decoder":
            params = load_any(args.start or ASSET)[1]
            pool = encoded(config, params, batches, args.pool // args.rows)
            state = step.start(params, _frames(config, args), ("decoder",))
            run(state, step.make_decoder(config), pool, args, minutes=args.minutes, name="decoder")
            return
        params = load_any(args.start)[1] if args.start else weights.initialise(config, jax.random.key(args.seed))
        state = step.start(params, _frames(config, args))
        if not args.start:
            warm = args.minutes * args.warm_share
            autoencode = step.make(config, quantise=False)
            state = run(state, autoencode, unencoded(batches), args, minutes=warm, name="warm")
            state = start_quantiser(config, state, batches, args)
        left = args.minutes * (1 - args.warm_share * (not args.start))
        quantise = step.make(config, quantise=True)
        run(state, quantise, unencoded(batches), args, minutes=left, name="joint")


Sounds = Iterator[np.ndarray]
Pairs = Iterator[tuple[np.ndarray, np.ndarray | None]]
"""Batches of waveforms with their tokens, if those are fixed."""


def run(
    state: step.State, advance: step.Step, pairs: Pairs, args: argparse.Namespace, *, minutes: float, name: str
) -> step.State:
    """Steps until the minutes are over; writes `<name>.npz` every few minutes and at the end."""
    key, began, saved, count = jax.random.key(args.seed + 1), time.time(), time.time(), 0
    sums: dict[str, float] = {}
    while (elapsed := (time.time() - began) / 60 / minutes) < 1:
        key, own = jax.random.split(key)
        rate = learning_rate(args.rate, elapsed, count, falls=name != "warm")
        waveform, codes = next(pairs)
        state, parts = advance(state, step.Batch(waveform, own, jnp.float32(rate), codes))
        for part, value in parts.items():
            sums[part] = sums.get(part, 0.0) + float(value)
        count += 1
        if count % args.log_every == 0:
            report(name, count, time.time() - began, rate, {k: v / args.log_every for k, v in sums.items()}, args.out)
            sums = {}
        if time.time() - saved > 180:
            save(args.out / f"{name}.npz", state.params)
            saved = time.time()
    save(args.out / f"{name}.npz", state.params)
    return state


def unencoded(batches: Sounds) -> Pairs:
    return ((batch, None) for batch in batches)


def encoded(config: CodecConfig, params: step.Params, batches: Sounds, count: int) -> Pairs:
    """Encodes `count` batches once, then deals their rows in ever new order."""

    @jax.jit
    def tokens(wave: jax.Array) -> jax.Array:
        return rvq.quantise(params["quantizer"]["embedding"], network.encode(config, params, wave))[0]

    rng, parts = np.random.default_rng(0), []
    for batch, _ in zip(batches, range(count), strict=False):
        parts.append((batch.astype(np.float16), np.asarray(tokens(jnp.asarray(batch)))))
    waves, codes = (np.concatenate(part) for part in zip(*parts, strict=True))
    print(f"{len(waves)} windows encoded", flush=True)
    while True:
        order = rng.permutation(len(waves))
        for rows in order.reshape(count, -1):
            yield waves[rows].astype(np.float32), codes[rows]


def learning_rate(top: float, elapsed: float, count: int, *, falls: bool) -> float:
    """Warm-up over 50 steps, then a cosine over the time share `elapsed` down to a fiftieth."""
    low = top / 50
    cosine = low + (top - low) * 0.5 * (1 + math.cos(math.pi * min(elapsed, 1))) if falls else top
    return cosine * min(1.0, (count + 1) / 50)


def start_quantiser(config: CodecConfig, state: step.State, batches: Sounds, args: argparse.Namespace) -> step.State:
    """Codebooks by k-means on the embeddings of fresh batches."""
    embed = jax.jit(lambda params, wave: network.encode_spectrogram(config, params, spectrogram(config, wave)))
    began, found = time.time(), []
    for _ in range(args.fit_batches):
        found.append(np.asarray(embed(state.params, jnp.asarray(next(batches)))).reshape(-1, config.num_features))
    vectors = np.concatenate(found)
    codebooks = jnp.asarray(quantiser.fit(vectors, config.num_levels, config.codebook_size, rounds=4))
    left = vectors.var(0).mean()
    print(f"k-means on {len(vectors)} embeddings of variance {left:.3f} took {time.time() - began:.0f} s", flush=True)
    params = state.params | {"quantizer": {"embedding": codebooks}}
    return state._replace(params=params, averages=quantiser.start_averages(codebooks, _frames(config, args)))


def report(name: str, count: int, seconds: float, rate: float, parts: dict[str, float], out: Path) -> None:
    line = {"stage": name, "step": count, "seconds": round(seconds), "rate": rate} | parts
    with (out / "log.jsonl").open("a") as log:
        log.write(json.dumps(line) + "\n")
    print(
        f"{name} {count} {seconds:.0f}s lr {rate:.1e} " + " ".join(f"{k} {v:.3f}" for k, v in parts.items()), flush=True
    )


def save(path: Path, params: step.Params) -> None:
    """Parameters in one npz with names joined by "/", replaced in one go."""
    partial = path.with_name(".partial-" + path.name)
    flat: dict[str, Any] = {name: np.asarray(value, np.float32) for name, value in weights.flatten(params).items()}
    np.savez(partial, **flat)
    partial.rename(path)


def _frames(config: CodecConfig, args: argparse.Namespace) -> int:
    return int(args.rows * round(args.seconds * config.frame_rate))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, default=Path("runs/tiny/clips"))
    parser.add_argument("--recordings", type=Path, default=Path("runs/tiny/sounds/package/samples"))
    parser.add_argument("--out", type=Path, default=Path("runs/tiny/codec"))
    parser.add_argument("--stage", choices=("all", "tokens", "decoder"), default="all")
    parser.add_argument("--start", type=Path, help="parameters (.npz or .safetensors) to go on from")
    parser.add_argument("--minutes", type=float, default=35)
    parser.add_argument("--warm-share", type=float, default=0.15, help="part of the time before the quantiser starts")
    parser.add_argument("--rows", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=0.64)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--fit-batches", type=int, default=60)
    parser.add_argument("--pool", type=int, default=4000, help="windows encoded ahead for stage decoder")
    parser.add_argument("--log-every", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()

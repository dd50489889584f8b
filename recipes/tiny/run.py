"""Trains `tiny` by the clock, on a GPU in a few calls or slowly on a CPU: `python -m recipes.tiny.run --minutes 8`.

Worker processes render clips all the time. The codec learns from their sound first (unless --codec names one that is
trained), then all clips are turned into codes as they come, and the language model learns from those for the rest of
the time. --lm goes on from earlier weights. Writes codec.safetensors, depthformer.safetensors and logs to --out.
"""

from __future__ import annotations

import argparse
import dataclasses
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from darius.codec import network, rvq
from darius.codec.config import CodecConfig
from darius.depthformer import weights
from darius.depthformer.config import DepthformerConfig
from darius.style.tiny import load as load_style
from darius.tokens import TokenLayout
from recipes.tiny import sizes, supply
from recipes.tiny.codec import pool as sounds
from recipes.tiny.codec import ship, widen
from recipes.tiny.codec import train as codec_training
from recipes.tiny.lm import batches, listening, paces, package, structure, words
from recipes.tiny.lm import train as lm_training

STYLE = Path("darius/assets/tiny/style.safetensors")
Pace = Callable[[str], Any]
VARIANTS = supply.SOUNDS + supply.TEXTS + supply.NAMES + supply.MIXED
ROWS = 14
"""Clips of a shard that are trained on: as many are always there, the others are held out."""
HELD, HELD_SAMPLES = 24, 8 * 48_000
"""Held-out clips by which a refinement of the codec is judged, and how much of each."""


def main() -> None:
    args = _arguments()
    began = time.monotonic()
    until = began + 60 * args.minutes
    args.out.mkdir(parents=True, exist_ok=True)
    order = supply.Order(
        folder=args.work,
        style=args.style,
        first_seed=args.first_seed,
        workers=args.workers,
        seconds=args.seconds,
        one_shots=args.one_shots,
    )
    workers = supply.start(order)
    try:
        _train(args, order, began, until)
    finally:
        supply.stop(order, workers)


def _train(args: argparse.Namespace, order: supply.Order, began: float, until: float) -> None:
    settings = _settings(args)
    config = package.read(args.lm or args.words[0])[0] if args.lm or args.words else sizes.language_model()
    frames = round(args.seconds * config.layout.frame_rate)
    with ThreadPoolExecutor(2) as compilers:
        if not args.codec_only:
            step = compilers.submit(
                _compile, config, settings, pace_of(args, config), args.clips, args.held_out, frames, bool(args.words)
            )
        codec_until = began + 60 * args.codec_minutes
        codec = ship.load_any(args.codec) if args.codec else train_codec(args, order, codec_until)
        ship.write(args.out / "codec.safetensors", *codec)
        if args.codec_only:
            return
        train_lm(args, order, config, settings, codec, step, until)


def pace_of(args: argparse.Namespace, config: DepthformerConfig) -> Pace:
    """How fast each tensor learns: what copies is spared where training goes on."""
    return partial(paces.going_on if args.lm and not args.words else paces.from_nothing, config)


def _settings(args: argparse.Namespace) -> lm_training.Settings:
    on_gpu = jax.default_backend() != "cpu"
    settings = lm_training.Settings(
        batch=args.batch,
        rates=(args.rates[0], args.rates[1]),
        fused=args.fused,
        dtype=jnp.bfloat16 if on_gpu else jnp.float32,
        log_every=args.log_every,
        seed=args.first_seed,
    )
    return dataclasses.replace(settings, refill_every=2) if not on_gpu else settings


def train_codec(args: argparse.Namespace, order: supply.Order, until: float) -> tuple[CodecConfig, Any]:
    """The codec, trained on whatever is rendered while it learns; with --refine parts of an earlier one."""
    earlier = ship.load_any(args.refine) if args.refine else None
    if earlier and args.decoder_depth:
        earlier = widen.widened(*earlier, args.decoder_depth, args.decoder_units)
    config = earlier[0] if earlier else sizes.codec()
    samples = round(args.seconds * config.sample_rate)
    pool = sounds.start(args.pool, samples, order.one_shots)
    rng, used = np.random.default_rng(args.first_seed), set()
    held: list[NDArray[np.int16]] = []

    def refill(pool: sounds.Pool, most: int = 1) -> sounds.Pool:
        fresh = [path for path in supply.finished(order.folder) if path not in used]
        for sidecar in fresh[:most]:
            used.add(sidecar)
            sound, records, _ = supply.read(sidecar)
            trained = [row for row, record in enumerate(records) if record["split"] == "train"][:ROWS]
            if len(held) < HELD:
                others = [row for row, record in enumerate(records) if record["split"] != "train"]
                held.extend(np.asarray(sound[others, -HELD_SAMPLES:]))
            pool = sounds.add(pool, np.asarray(sound[trained]), rng)
        return pool

    while len(supply.finished(order.folder)) < args.first_shards:
        time.sleep(0.2)
    pool = refill(pool, most=1000)
    print(f"codec begins with {int(pool.filled)} rows", flush=True)
    settings = codec_training.Settings(
        rows=args.rows, frames=args.codec_frames, rate=args.codec_rate, log_every=args.log_every
    )
    if earlier:
        params = codec_training.refine(
            *earlier, tuple(args.parts), pool, np.stack(held[:HELD]), refill, until, args.out, settings
        )
    else:
        params = codec_training.train(config, pool, refill, until, args.out, settings)
    print(f"codec has heard {len(used)} shards of {len(supply.finished(order.folder))}", flush=True)
    if not codec_training.last_loss(args.out) < args.worst_mel:
        print("the codec did not learn: the language model goes on with the shipped one", flush=True)
        return ship.load_any(ship.ASSET)
    # What is shipped is half precision: codes must be those of the shipped file.
    params = jax.tree.map(lambda x: jnp.asarray(jnp.asarray(x, jnp.float16), jnp.float32), params)
    return config, params


def _compile(
    config: DepthformerConfig,
    settings: lm_training.Settings,
    pace: Pace,
    rows: int,
    held_out: int,
    frames: int,
    told: bool,
) -> Any:
    began = time.monotonic()
    layout = config.layout
    shapes = {name: np.zeros(shape, np.float32) for name, shape in weights.shapes(config).items()}
    state = jax.eval_shape(partial(lm_training.begin, pace=pace), shapes)
    pool = jax.eval_shape(lambda: batches.empty(layout, rows, frames, VARIANTS))
    held = jax.eval_shape(lambda: batches.empty(layout, held_out, frames, VARIANTS))
    near = jax.ShapeDtypeStruct((layout.codec_levels, layout.codebook_size, 8), jnp.int16)
    heard = batches.Sounds(near, jax.ShapeDtypeStruct((layout.codec_levels,), jnp.int16))
    kinds = words.Kinds(sounds=supply.SOUNDS, variants=VARIANTS)
    given = (state.params, held, held, heard)
    with ThreadPoolExecutor(1) as beside:
        if told:
            teachers = (state.params, state.params)
            lowered = words.measuring(config, settings, kinds).lower(teachers, *given)
            measure = beside.submit(lowered.compile)
            step = words.compiled(config, settings, kinds, teachers, state, pool, heard)
        else:
            measure = beside.submit(lm_training.measuring(config, settings).lower(*given).compile)
            step = lm_training.compiled(config, settings, state, pool, heard)
        both = step, measure.result()
    print(f"language model compiled in {time.monotonic() - began:.0f} s", flush=True)
    return both


class Encoding(threading.Thread):
    """Turns shards into codes as they come; their sound is deleted. Blocks of `ROWS` clips are in `ready`."""

    def __init__(self, order: supply.Order, config: CodecConfig, params: Any) -> None:
        super().__init__(daemon=True)
        self.order = order
        self.ready: queue.Queue[batches.Pool] = queue.Queue(16)
        self.held: list[tuple[Any, ...]] = []
        self.turning: list[tuple[Any, ...]] = []
        self.over = threading.Event()

        @jax.jit
        def encode(sound: jax.Array) -> jax.Array:
            wave = sound.astype(jnp.float32) / 32768
            with jax.default_matmul_precision("highest"):
                embeddings = network.encode(config, params, wave)
                return rvq.quantise(params["quantizer"]["embedding"], embeddings)[0].astype(jnp.int16)

        self.encode = encode

    def run(self) -> None:
        used: set[Path] = set()
        while not self.over.is_set():
            fresh = [path for path in supply.finished(self.order.folder) if path not in used]
            if not fresh:
                time.sleep(0.2)
            for sidecar in fresh:
                used.add(sidecar)
                self._shard(sidecar)
                if self.over.is_set():
                    return

    def end(self) -> None:
        """Ends the thread, whatever it waits for."""
        self.over.set()
        while self.is_alive():
            while not self.ready.empty():
                self.ready.get()
            self.join(0.2)

    def _shard(self, sidecar: Path) -> None:
        sound, records, styles = supply.read(sidecar)
        codes = np.asarray(self.encode(jnp.asarray(np.asarray(sound))))
        sidecar.with_suffix(".npy").unlink()
        rows = [(codes[n], styles[n], *_places(record)) for n, record in enumerate(records)]
        trained = [row for row, record in zip(rows, records, strict=True) if record["split"] == "train"]
        for row, record in zip(rows, records, strict=True):
            if record["split"] != "train":
                self.held.append(row)
                if record["switch_frame"]:
                    self.turning.append(row)
        self.ready.put(block(trained[:ROWS]))


def _places(record: dict[str, Any]) -> tuple[int, int]:
    """(loop in whole frames if all of the clip or what is before the switch is in time with it, switch), 0 for none."""
    switch, loop = record["switch_frame"] or 0, record["loop_frames"]
    return (int(loop) if (record["strict"] or switch) and loop == int(loop) else 0), switch


def block(rows: list[tuple[Any, ...]]) -> batches.Pool:
    """Clips (codes, styles, loop, switch) as a pool of their own."""
    codes, styles, loop, switch = zip(*rows, strict=True)
    levels = TokenLayout().context_style_levels + 1
    return batches.Pool(
        codes=jnp.asarray(np.stack(codes), jnp.int16),
        styles=jnp.asarray(np.stack(styles)[..., :levels], jnp.int16),
        loop=jnp.asarray(loop, jnp.int32),
        switch=jnp.asarray(switch, jnp.int32),
        filled=jnp.int32(len(rows)),
    )


def _flagged(args: argparse.Namespace) -> dict[str, Any]:
    """What --words names, with style codes that tell words and heads that hear them."""
    config, params, _ = package.read_soft(args.words[0])
    style = load_style(args.style).config
    if style.words_level != config.layout.context_style_levels - 1:
        raise SystemExit(f"{args.style} tells no words from sounds. Make one with recipes.tiny.style --with-words.")
    return listening.attend_style(config, words.flagged(config, params, style.level_sizes[style.words_level]))


def train_lm(
    args: argparse.Namespace,
    order: supply.Order,
    config: DepthformerConfig,
    settings: lm_training.Settings,
    codec: tuple[CodecConfig, Any],
    step: Future[Any],
    until: float,
) -> None:
    """The language model, on the codes of whatever is rendered."""
    layout, books = config.layout, np.asarray(codec[1]["quantizer"]["embedding"], np.float32)
    encoding = Encoding(order, *codec)
    silence = np.asarray(encoding.encode(jnp.zeros((1, 20 * codec[0].frame_samples, 2), jnp.int16)))[0, -1]
    heard = batches.sounds(books, silence)
    encoding.start()
    rng, pool = np.random.default_rng(args.first_seed + 1), None
    first: list[NDArray[np.int16]] = []

    def refill(pool: batches.Pool) -> batches.Pool:
        while not encoding.ready.empty():
            pool = batches.add(pool, encoding.ready.get(), rng)
        return pool

    pool = batches.empty(layout, args.clips, round(args.seconds * layout.frame_rate), VARIANTS)
    while int(pool.filled) < ROWS * args.first_shards or len(encoding.turning) < args.held_out:
        fresh = encoding.ready.get()
        first.append(np.asarray(fresh.codes).reshape(-1, layout.codec_levels))
        pool = batches.add(pool, fresh, rng)
    held, turning = block(encoding.held[: args.held_out]), block(encoding.turning[: args.held_out])
    counts = np.stack([np.bincount(level, minlength=layout.codebook_size) for level in np.concatenate(first).T])
    shares = (counts / counts.sum(1, keepdims=True)).clip(1e-12)
    used = np.exp(-(shares * np.log(shares)).sum(1)) / layout.codebook_size
    print(
        f"codebook use (perplexity): {used.round(2)}; codes in use {np.mean(counts > 0, axis=1).round(2)}", flush=True
    )
    if args.lm:
        config, params, begun = package.read_soft(args.lm)
        if args.style_heads:
            params = listening.attend_style(config, params)
    elif args.words:
        params, begun = _flagged(args), 0
    else:
        params, begun = structure.initialise(config, books, seed=0, counts=counts), 0
    advance, measure = step.result()
    if args.words:
        teachers = tuple(jax.tree.map(jnp.float32, package.read_soft(path)[1]) for path in args.words)
        advance, measure = partial(advance, teachers), partial(measure, teachers)
    print(f"language model begins at step {begun} with {int(pool.filled)} clips, {len(held.loop)} held out", flush=True)

    def save(params: lm_training.Params, count: int) -> None:
        package.write(args.out / "depthformer.safetensors", config, jax.device_get(params), step=count)

    state, pool, count = lm_training.run(
        advance,
        lm_training.begin(params, pace_of(args, config)),
        pool,
        heard,
        settings,
        refill=refill,
        until=until,
        out=args.out,
        check=lambda params: measure(params, held, turning, heard),
        save=save,
        first_step=begun,
        names=words.NAMES if args.words else lm_training.NAMES,
    )
    save(state.average, count)
    encoding.end()
    print(f"step {count}, {int(pool.filled)} clips", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/tiny/out"))
    parser.add_argument("--work", type=Path, default=Path("runs/tiny/clips"), help="shards on their way")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--codec", type=Path, help="a trained codec; without it one is trained first")
    parser.add_argument("--refine", type=Path, help="a trained codec that is to learn more; its codebooks stay")
    parser.add_argument("--parts", nargs="+", default=["decoder"], help="of the codec to refine: encoder, decoder")
    parser.add_argument("--decoder-depth", type=int, help="with --refine: make the decoder that wide first")
    parser.add_argument("--decoder-units", type=int, default=1, help="and that deep at its bottleneck")
    parser.add_argument("--codec-rate", type=float, default=6e-4)
    parser.add_argument("--codec-minutes", type=float, default=5.0)
    parser.add_argument("--worst-mel", type=float, default=6.0, help="training distance, dB, of a codec worth having")
    parser.add_argument("--codec-only", action="store_true")
    parser.add_argument("--lm", type=Path, help="weights to go on from")
    parser.add_argument("--style-heads", action="store_true", help="with --lm: give it new heads for the style")
    parser.add_argument("--words", type=Path, nargs=2, help="weights to be like without words, and with words")
    parser.add_argument("--style", type=Path, default=STYLE, help="the style model")
    parser.add_argument("--rates", type=float, nargs=2, default=(2e-3, 2e-5), help="learning rate, first and last")
    parser.add_argument("--batch", type=int, default=96, help="examples a step of the language model")
    parser.add_argument("--rows", type=int, default=48, help="windows a step of the codec")
    parser.add_argument("--codec-frames", type=int, default=32, help="codec frames of a window")
    parser.add_argument("--pool", type=int, default=1000, help="clips on the device for the codec")
    parser.add_argument("--clips", type=int, default=24_000, help="clips on the device for the language model")
    parser.add_argument("--held-out", type=int, default=64)
    parser.add_argument("--first-shards", type=int, default=24, help="shards to wait for before anything begins")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of a clip")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=20)
    parser.add_argument("--one-shots", type=Path, help="folder of CC0 one-shots, see fetch_sounds.sh")
    parser.add_argument("--log-every", type=int, default=100)
    parser.add_argument("--fused", action="store_true", help="cuDNN's attention in the encoder, see lm/forward.py")
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""Trains the style model of `tiny` on generated clips: `python -m recipes.tiny.style --clips runs/tiny/clips`.

Text and audio encoders learn together: a caption should be near every clip of the batch that it fits (one clip of
techno is as right for "techno" as another). Then residual k-means of both kinds of embeddings gives the codes.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darius.audio.waveform import Waveform
from darius.checkpoints import safetensors_io
from darius.style.features import audio_features, mel_frames, text_features
from darius.style.quantize import rvq_encode
from darius.style.tiny import TinyStyle, TinyStyleConfig, layers, load
from recipes.tiny.data.captions import draw_phrases, spoken
from recipes.tiny.data.shards import ClipSet
from recipes.tiny.data.synth import RATE

Float = NDArray[np.float32]
Params = dict[str, Float]

WINDOWS = 9
"""Of a clip: all of it, its first half, its second half, then random ones."""

SHORTEST_SECONDS = 3.0
CAPTIONS_PER_CLIP = 16
UNSEEN_WEIGHT = -2.0
"""Weight (logarithm) of pieces of text that training never saw: they count little beside known ones."""

_FILLERS = ("a", "the", "with", "some", "music", "loop", "track", "beat", "style", "like", "very", "and", "my", "song")


# ---------------------------------------------------------------- features, cached beside the clips


def shard_features(sidecar: Path) -> Float:
    """Audio features of every clip of a shard, float32 [clips, WINDOWS, features]; computed once, then read."""
    cache = sidecar.with_name(sidecar.stem.replace("clips", "features") + ".npy")
    if not cache.exists():
        clips = np.load(sidecar.with_suffix(".npy"), mmap_mode="r")
        rng = np.random.default_rng(int(sidecar.stem[-5:]))
        np.save(cache, np.stack([clip_features(clip, rng) for clip in clips]))
    return np.load(cache)


def clip_features(clip: NDArray[np.int16], rng: np.random.Generator) -> Float:
    """Audio features of some windows of a clip's samples [n, 2], float32 [WINDOWS, features]."""
    mels, width = mel_frames(Waveform(clip.astype(np.float32) / 32768, RATE))
    frames, shortest = len(mels), int(SHORTEST_SECONDS * 50)
    spans = [(0, frames), (0, frames // 2), (frames // 2, frames)]
    while len(spans) < WINDOWS:
        length = int(np.exp(rng.uniform(np.log(shortest), np.log(frames))))
        start = int(rng.integers(0, frames - length + 1))
        spans.append((start, start + length))
    return np.stack([audio_features(mels[a:b], width) for a, b in spans])


def all_features(folder: Path, workers: int) -> Float:
    """Features of all clips in the order of `ClipSet.open(folder)`."""
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        return np.concatenate(pool.map(shard_features, sorted(folder.glob("clips-*.jsonl")), chunksize=1))


# ---------------------------------------------------------------- captions as arrays


def vocabulary(records: list[dict[str, Any]]) -> dict[str, int]:
    """Every phrase of every clip, numbered."""
    phrases = {phrase for record in records for aspect in record["words"].values() for phrase in aspect}
    return {phrase: i for i, phrase in enumerate(sorted(phrases))}


def phrase_rows(phrase_lists: list[list[str]], phrases: dict[str, int]) -> Float:
    """Which phrases are in which list, float32 [lists, phrases] of 0 and 1."""
    rows = np.zeros((len(phrase_lists), len(phrases)), np.float32)
    for row, chosen in zip(rows, phrase_lists, strict=True):
        row[[phrases[phrase] for phrase in chosen]] = 1
    return rows


def roughened(text: str, rng: np.random.Generator) -> str:
    """Filler words and typing mistakes, so that neither confuses the text encoder."""
    words = text.split(" ")
    for _ in range(int(rng.integers(0, 3)) if rng.random() < 0.4 else 0):
        words.insert(int(rng.integers(0, len(words) + 1)), str(rng.choice(_FILLERS)))
    if rng.random() < 0.15:
        i = int(rng.integers(len(words)))
        if len(words[i]) > 4:
            drop = int(rng.integers(1, len(words[i])))
            words[i] = words[i][:drop] + words[i][drop + 1 :]
    return " ".join(words)


def bags_of_pieces(texts: list[str], buckets: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """How often each piece is in each text, uint8 [texts, used], and the buckets of the `used` pieces."""
    found = [text_features(text, buckets) for text in texts]
    used = np.unique(np.concatenate(found))
    bags = np.zeros((len(texts), len(used)), np.uint8)
    for bag, pieces in zip(bags, found, strict=True):
        np.add.at(bag, np.searchsorted(used, pieces), 1)
    return bags, used


# ---------------------------------------------------------------- training


def initial_params(
    config: TinyStyleConfig, features: Float, rows: int, rng: np.random.Generator
) -> dict[str, NDArray[np.float32]]:
    """Small random weights, a text table of `rows`; audio features are scaled by their own spread."""
    flat = features.reshape(-1, features.shape[-1])
    params = {"audio/mean": flat.mean(axis=0), "audio/scale": flat.std(axis=0) + 1e-3}
    params["text/table"] = rng.standard_normal((rows, config.core_dim + 1)) * 0.1
    params["text/table"][:, -1] = 0
    sizes = {"text": (config.core_dim, 256, config.core_dim), "audio": (flat.shape[-1], 256, 256, config.core_dim)}
    for name, widths in sizes.items():
        for i, (before, after) in enumerate(itertools.pairwise(widths)):
            params[f"{name}/{i}/kernel"] = rng.standard_normal((before, after)) / np.sqrt(before)
            params[f"{name}/{i}/bias"] = np.zeros(after)
    return {name: value.astype(np.float32) for name, value in params.items()}


def batch_loss(params, scale, batch, key):
    """Cross-entropy, both ways, against all pairs of the batch in which the caption fits the clip."""
    import jax
    import jax.numpy as jnp

    def direction(x):
        # not `norm`: its gradient at a zero vector is not a number
        return x * jax.lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + 1e-9)

    table = params["text/table"]
    counts = batch["bags"].astype(jnp.float32) * jnp.exp(table[:, -1])
    mean = counts @ table[:, :-1] / counts.sum(axis=1, keepdims=True)
    text = direction(layers(params, "text", mean))
    mask_key, noise_key = jax.random.split(key)
    heard = jnp.clip((batch["features"] - params["audio/mean"]) / params["audio/scale"], -5, 5)
    heard = heard + 0.2 * jax.random.normal(noise_key, heard.shape)
    heard = heard * jax.random.bernoulli(mask_key, 0.8, heard.shape) / 0.8
    audio = direction(layers(params, "audio", heard))
    fits = (batch["asked"] @ batch["has"].T > batch["asked"].sum(axis=1, keepdims=True) - 0.5).astype(jnp.float32)
    logits = jnp.exp(scale) * text @ audio.T
    by_text = -jnp.sum(fits / fits.sum(axis=1, keepdims=True) * jax.nn.log_softmax(logits, axis=1), axis=1)
    by_audio = -jnp.sum(fits / fits.sum(axis=0, keepdims=True) * jax.nn.log_softmax(logits, axis=0), axis=0)
    own = jnp.sum((text - audio) ** 2, axis=1)
    return by_text.mean() + by_audio.mean() + 0.3 * own.mean()


def fit(config: TinyStyleConfig, features: Float, records: list[dict[str, Any]], *, steps: int, batch: int, seed: int):
    """Train both encoders; returns the parameters and the captions that were used."""
    import jax
    import jax.numpy as jnp
    import optax

    rng = np.random.default_rng(seed)
    phrases = vocabulary(records)
    has = phrase_rows([[p for aspect in r["words"].values() for p in aspect] for r in records], phrases)
    chosen = [draw_phrases(r["words"], rng) for r in records for _ in range(CAPTIONS_PER_CLIP)]
    captions = [roughened(spoken(c, rng), rng) for c in chosen]
    asked = phrase_rows(chosen, phrases)
    bags, used = bags_of_pieces(captions, config.text_buckets)
    schedule = optax.warmup_cosine_decay_schedule(0.0, 2e-3, 100, steps)
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=0.02))
    start = {k: jnp.asarray(v) for k, v in initial_params(config, features, len(used), rng).items()}
    fixed = {k: start.pop(k) for k in ("audio/mean", "audio/scale")}
    weights = (start, jnp.float32(np.log(10.0)))
    state = optimiser.init(weights)

    @jax.jit
    def step(weights, state, data, key):
        def loss(w):
            return batch_loss(w[0] | fixed, jnp.clip(w[1], 0, np.log(30.0)), data, key)

        value, gradient = jax.value_and_grad(loss)(weights)
        updates, state = optimiser.update(gradient, state, weights)
        return optax.apply_updates(weights, updates), state, value

    began, recent = time.monotonic(), []
    for i in range(steps):
        clips = rng.choice(len(records), size=min(batch, len(records)), replace=False)
        which = clips * CAPTIONS_PER_CLIP + rng.integers(0, CAPTIONS_PER_CLIP, len(clips))
        windows = features[clips, rng.integers(0, WINDOWS, len(clips))]
        data = {"bags": bags[which], "asked": asked[which], "has": has[clips], "features": windows}
        weights, state, value = step(weights, state, data, jax.random.key(seed * 1_000_003 + i))
        recent.append(float(value))
        if (i + 1) % 100 == 0:
            print(f"step {i + 1:5d}  loss {np.mean(recent[-100:]):.3f}  {time.monotonic() - began:.0f} s", flush=True)
    params = {k: np.asarray(v) for k, v in (weights[0] | fixed).items()}
    table = np.zeros((config.text_buckets, config.core_dim + 1), np.float32)
    table[:, -1] = UNSEEN_WEIGHT
    table[used] = params["text/table"]
    return params | {"text/table": table}, captions


def residual_kmeans(x: Float, sizes: tuple[int, ...], rng: np.random.Generator, rounds: int = 8) -> Float:
    """Codebooks of all levels one below the other, float32 [sum(sizes), dim]."""
    residual, books = x.copy(), []
    for size in sizes:
        centres = residual[rng.choice(len(residual), size, replace=False)].copy()
        for _ in range(rounds):
            owner = rvq_encode(centres[None], residual)[:, 0]
            counts = np.bincount(owner, minlength=size)
            sums = np.stack([np.bincount(owner, residual[:, d], size) for d in range(x.shape[1])], axis=1)
            centres = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres).astype(np.float32)
            empty = np.flatnonzero(counts == 0)
            centres[empty] = residual[rng.choice(len(residual), len(empty))]
        residual -= centres[rvq_encode(centres[None], residual)[:, 0]]
        books.append(centres)
        print(f"level of {size:4d} codes: {1 - np.mean(residual**2) / np.mean(x**2):.3f} explained so far", flush=True)
    return np.concatenate(books)


def train(clips: Path, out: Path, *, steps: int, batch: int, workers: int, seed: int = 0) -> None:
    """Features, encoders, codes, one file, and how well the held-out clips are told apart."""
    records, features = ClipSet.open(clips).records, all_features(clips, workers)
    known = np.array([record["split"] == "train" for record in records])
    config = TinyStyleConfig()
    kept = [record for record in records if record["split"] == "train"]
    params, captions = fit(config, features[known], kept, steps=steps, batch=batch, seed=seed)
    params = with_codes(config, params, features[known], captions, np.random.default_rng(seed))
    half = {name: value.astype(np.float16) for name, value in params.items()}
    safetensors_io.save(out, half, {"config": config.to_dict()}, overwrite=True)
    report(load(out), features[~known], [record for record in records if record["split"] != "train"])


def with_codes(
    config: TinyStyleConfig, params: Params, features: Float, captions: list[str], rng: np.random.Generator
) -> Params:
    """The parameters with the centres of both kinds of embeddings, and codebooks for both together."""
    nothing = np.zeros(config.core_dim, np.float32)
    codes = np.zeros((sum(config.learned_sizes), config.core_dim), np.float32)
    params = params | {"text/centre": nothing, "audio/centre": nothing, "codes": codes}
    captions = [str(caption) for caption in rng.choice(captions, min(6000, len(captions)), replace=False)]
    windows = rng.permutation(features.reshape(-1, features.shape[-1]))[:6000]

    def embedded(model: TinyStyle) -> tuple[Float, Float]:
        both = np.stack([model.core_text(caption) for caption in captions]), model.core_audio(windows)
        return both[0][:, : config.core_dim], both[1][:, : config.core_dim]

    text, audio = embedded(TinyStyle(config, params))
    params = params | {"text/centre": text.mean(axis=0), "audio/centre": audio.mean(axis=0)}
    both = np.concatenate(embedded(TinyStyle(config, params)))
    return params | {"codes": residual_kmeans(both, config.learned_sizes, rng)}


def with_words(old: Path, out: Path) -> None:
    """A style model from before there was a level for the share of words, with one: its other codes move up by one.

    So a language model that read the old codes can be asked in the new ones (`recipes.tiny.lm.words`).

    Raises:
      SystemExit: it has such a level already, or other levels than this recipe makes.
    """
    params, before = safetensors_io.load(old), TinyStyleConfig.from_dict(safetensors_io.metadata(old)["config"])
    config = TinyStyleConfig(core_dim=before.core_dim, text_buckets=before.text_buckets)
    if before.words_level is not None or before.level_sizes[:-1] != config.learned_sizes:
        raise SystemExit(f"{old} has a level for words already, or other levels than this recipe makes.")
    codes = np.asarray(params["codes"])[: sum(config.learned_sizes)]
    safetensors_io.save(out, params | {"codes": codes}, {"config": config.to_dict()}, overwrite=True)


def report(model: TinyStyle, features: Float, records: list[dict[str, Any]], among: int = 100) -> dict[str, float]:
    """Retrieval of held-out clips by their full caption, genre by its name, and how alike the codes of both are."""
    audio = model.core_audio(features[:among, 0])
    text = np.stack([model.core_text(record["caption"]) for record in records[:among]])
    rank = np.argsort(np.argsort(-text @ audio.T, axis=1), axis=1)[np.arange(len(text)), np.arange(len(text))]
    genres = sorted({record["genre"] for record in records})
    names = np.stack([model.core_text(genre) for genre in genres])
    told = np.argmax(model.core_audio(features[:, 0]) @ names.T, axis=1)
    truth = np.array([genres.index(record["genre"]) for record in records])
    codes_alike = model.tokenize_core(audio)[:, 0] == model.tokenize_core(text)[:, 0]
    numbers = {
        "clips": float(len(text)),
        "top1": float(np.mean(rank < 1)),
        "top5": float(np.mean(rank < 5)),
        "genre_by_name": float(np.mean(told == truth)),
        "same_first_code": float(np.mean(codes_alike)),
        "own_similarity": float(np.mean(np.sum(text * audio, axis=1))),
        "other_similarity": float(np.mean(text @ audio.T)),
    }
    print("  ".join(f"{name} {value:.3f}" for name, value in numbers.items()), flush=True)
    return numbers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, default=Path("runs/tiny/clips"), help="of recipes.tiny.data.render")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("darius/assets/tiny/style.safetensors"))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--with-words", type=Path, help="no training: this model, with a level for the share of words")
    args = parser.parse_args()
    if args.with_words:
        with_words(args.with_words, args.out)
        return
    train(args.clips, args.out, steps=args.steps, batch=args.batch, workers=args.workers)


if __name__ == "__main__":
    main()

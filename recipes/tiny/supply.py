"""Clips without end: worker processes render shards and label them with style codes until they are told to stop.

A shard is `clips-00000.npy`, `style-00000.npz` and, last, `clips-00000.jsonl` (see `recipes.tiny.data.shards`). A
reader deletes a shard's sound once it is done with it; workers pause while more of it lies there than `most`.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darius.style.tiny import TinyStyle, load
from recipes.tiny.data.captions import SYNONYMS, draw_phrases, full_caption, spoken, words_of
from recipes.tiny.data.clip import Clip, draw_clip
from recipes.tiny.data.groove import stream
from recipes.tiny.data.shards import shard_paths, to_int16, write_shard
from recipes.tiny.data.sounds import load_sounds
from recipes.tiny.style import clip_features

STOP = "stop"
"""A file of this name in the folder ends all workers."""

SOUNDS, TEXTS, NAMES, MIXED = 3, 3, 5, 8
"""Style codes of a clip: of its sound, of captions, of its genre's bare names, of words with the sound before."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """What the workers are to make.

    Attributes:
      folder: where shards go.
      style: the style model's file.
      first_seed: of the first clip; shard k holds `shard_clips` seeds from first_seed + k * shard_clips on.
      workers: processes; worker w makes the shards w, w + workers, w + 2 * workers, ...
      seconds: of each clip.
      most: shards whose sound may lie in the folder.
      one_shots: folder of CC0 one-shots, if there is one.
    """

    folder: Path
    style: Path
    first_seed: int
    workers: int
    seconds: float = 20.0
    shard_clips: int = 16
    most: int = 400
    one_shots: Path | None = None


def start(order: Order) -> list[Any]:
    """Starts the workers, fresh interpreters with nothing inherited."""
    order.folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=work, args=(order, own), daemon=True) for own in range(order.workers)]
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # a core each; read when a worker loads numpy
    for worker in workers:
        worker.start()
    if before is None:
        del os.environ["OMP_NUM_THREADS"]
    else:
        os.environ["OMP_NUM_THREADS"] = before
    return workers


def stop(order: Order, workers: list[Any], patience: float = 5.0) -> None:
    """Tells the workers to end, and ends those that do not."""
    (order.folder / STOP).touch()
    until = time.monotonic() + patience
    for worker in workers:
        worker.join(max(0.1, until - time.monotonic()))
        if worker.is_alive():
            worker.terminate()


def work(order: Order, own: int) -> None:
    """One worker: shard after shard until the stop file is there."""
    sounds, style = load_sounds(order.one_shots), load(order.style)
    for index in itertools.count(own, order.workers):
        while len(list(order.folder.glob("clips-*.npy"))) >= order.most:
            if (order.folder / STOP).exists():
                return
            time.sleep(0.5)
        rows, records, styles = [], [], []
        for seed in range(
            order.first_seed + index * order.shard_clips, order.first_seed + (index + 1) * order.shard_clips
        ):
            if (order.folder / STOP).exists():
                return
            clip = draw_clip(seed, order.seconds, sounds)
            record, codes = labelled(clip, style)
            rows.append(to_int16(clip.samples))
            records.append(record)
            styles.append(codes)
        target = order.folder / f"style-{index:05d}.npy"
        np.save(target.with_name(".partial-" + target.name), np.stack(styles))
        target.with_name(".partial-" + target.name).rename(target)
        write_shard(order.folder, index, rows, records)


def labelled(clip: Clip, style: TinyStyle) -> tuple[dict[str, Any], NDArray[np.int16]]:
    """A clip's record with words and caption, and its style codes int16 [variants, levels]."""
    record = clip.record()
    words = words_of(record, clip.groove.drum_roles)
    record |= {"words": words, "caption": full_caption(words)}
    rng = stream(clip.seed, "labels")
    sound = style.core_audio(clip_features(to_int16(clip.sound), rng))
    past = sound if clip.past is None else style.core_audio(clip_features(to_int16(clip.past), rng))
    names = (record["genre"], *SYNONYMS.get(record["genre"], ()))
    texts = [spoken(draw_phrases(words, rng), rng) for _ in range(TEXTS)]
    texts += [record["genre"] if rng.random() < 0.6 else str(rng.choice(names)) for _ in range(NAMES)]
    text = np.stack([style.core_text(words) for words in texts])
    # Two in three of the mixtures are with a bare name.
    chosen = rng.integers(0, len(text), MIXED) if rng.random() < 1 / 3 else rng.integers(TEXTS, len(text), MIXED)
    windows = rng.integers(0, len(past), MIXED)
    # As a user mixes them: words, and some of the loop that is heard.
    share = rng.uniform(0.2, 1.0 if clip.past is None else 0.5, (MIXED, 1))
    mixed = (text[chosen] + share * past[windows]) / (1 + share)
    codes = style.tokenize_core(np.concatenate([sound[:SOUNDS], text, mixed]).astype(np.float32))
    return record, codes.astype(np.int16)


def finished(folder: Path) -> list[Path]:
    """The sidecars of all shards that are there."""
    return sorted(folder.glob("clips-*.jsonl"))


def read(sidecar: Path) -> tuple[NDArray[np.int16], list[dict[str, Any]], NDArray[np.int16]]:
    """A shard's sound [clips, samples, 2] (memory-mapped), records and style codes [clips, variants, levels]."""
    index = int(sidecar.stem[-5:])
    sound = np.load(shard_paths(sidecar.parent, index)[0], mmap_mode="r")
    records = [json.loads(line) for line in sidecar.read_text().splitlines()]
    return sound, records, np.load(sidecar.parent / f"style-{index:05d}.npy")

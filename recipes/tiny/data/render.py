"""Renders clips into shards: `python -m recipes.tiny.data.render --clips N --seconds 16 --workers 2 --out DIR`.

Seeds run from --first-seed; shard k holds the seeds k*--shard-clips and on, so a stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipes.tiny.data.captions import full_caption, words_of
from recipes.tiny.data.clip import make_clip
from recipes.tiny.data.shards import shard_paths, to_int16, write_shard
from recipes.tiny.data.sounds import ONE_SHOTS, Sounds, load_sounds

_sounds = functools.lru_cache(maxsize=1)(load_sounds)
"""A worker reads the recorded sounds once."""


def render_shard(index: int, seeds: range, seconds: float, folder: Path, one_shots: Path | None) -> int:
    """Render and write one shard; returns its index."""
    rendered = [_render_clip(seed, seconds, _sounds(one_shots)) for seed in seeds]
    write_shard(folder, index, [audio for audio, _ in rendered], [record for _, record in rendered])
    return index


def _render_clip(seed: int, seconds: float, sounds: Sounds) -> tuple[NDArray[np.int16], dict[str, Any]]:
    clip = make_clip(seed, seconds, sounds)
    record = clip.record()
    words = words_of(record, clip.groove.drum_roles)
    record |= {"seconds": seconds, "words": words, "caption": full_caption(words)}
    return to_int16(clip.samples), record


def render(
    folder: Path, *, clips: int, seconds: float, workers: int, shard_clips: int, first_seed: int, one_shots: Path | None
) -> None:
    """Render `clips` clips; shards that exist already are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = []
    for index, start in enumerate(range(0, clips, shard_clips)):
        seeds = range(first_seed + start, first_seed + min(start + shard_clips, clips))
        if not shard_paths(folder, index)[1].exists():
            jobs.append((index, seeds, seconds, folder, one_shots))
    began = time.monotonic()
    # a fresh interpreter for each worker: nothing inherited, and a task is a whole shard
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        waiting = [pool.apply_async(render_shard, job) for job in jobs]
        for done, shard in enumerate(waiting, start=1):
            index = shard.get()
            audio = done * shard_clips * seconds
            rate = audio / (time.monotonic() - began)
            print(f"shard {index:5d}  {done}/{len(jobs)}  {audio / 3600:.2f} h  {rate:.0f}x real time", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1200)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--shard-clips", type=int, default=64)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument(
        "--one-shots", type=Path, default=ONE_SHOTS, help="folder of CC0 one-shots, see fetch_sounds.sh"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/tiny/clips"))
    args = parser.parse_args()
    render(
        args.out,
        clips=args.clips,
        seconds=args.seconds,
        workers=args.workers,
        shard_clips=args.shard_clips,
        first_seed=args.first_seed,
        one_shots=args.one_shots,
    )


if __name__ == "__main__":
    main()

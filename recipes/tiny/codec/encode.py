"""Encodes clips to tokens: `python -m recipes.tiny.codec.encode --clips runs/tiny/clips`.

Beside each shard `clips-00000.npy` comes `tokens-00000.npy`: int16 [clips, frames, 16], RVQ codes 0..1023. Shards
that have one are left alone, unless --again.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darius.codec.codec import Codec
from recipes.tiny.codec import fast_conv
from recipes.tiny.codec.ship import ASSET, load_any


def main() -> None:
    args = _arguments()
    encode_shards(args.clips, args.params, rows=args.rows, again=args.again)


def encode_shards(folder: Path, params: Path, *, rows: int = 8, again: bool = False) -> None:
    """Writes the tokens of every finished shard of a folder."""
    codec = Codec(*load_any(params))
    with fast_conv.installed():
        for sidecar in sorted(folder.glob("clips-*.jsonl")):
            shard = sidecar.with_suffix(".npy")
            target = tokens_path(shard)
            if target.exists() and not again:
                continue
            began = time.time()
            tokens = encode(codec, np.load(shard, mmap_mode="r"), rows)
            partial = target.with_name(".partial-" + target.name)
            np.save(partial, tokens)
            partial.rename(target)
            seconds = tokens.shape[0] * tokens.shape[1] / codec.config.frame_rate
            print(f"{target.name}: {seconds / (time.time() - began):.0f} times real time", flush=True)


def tokens_path(shard: Path) -> Path:
    """Where the tokens of `clips-00000.npy` are: `tokens-00000.npy` beside it."""
    return shard.with_name(shard.name.replace("clips-", "tokens-"))


def encode(codec: Codec, clips: NDArray[np.int16], rows: int = 8) -> NDArray[np.int16]:
    """int16 samples [clips, n, 2] -> int16 tokens [clips, ceil(n / frame_samples), levels], `rows` clips at a time."""
    found = []
    for start in range(0, len(clips), rows):
        samples = clips[start : start + rows].astype(np.float32) / np.float32(32768)
        missing = rows - len(samples)
        codes = codec.encode(np.pad(samples, ((0, missing), (0, 0), (0, 0))), codec.num_levels)
        found.append(np.asarray(codes)[: rows - missing].astype(np.int16))
    return np.concatenate(found)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, default=Path("runs/tiny/clips"))
    parser.add_argument("--params", type=Path, default=ASSET, help=".npz of a run or .safetensors")
    parser.add_argument("--rows", type=int, default=8, help="clips at a time")
    parser.add_argument("--again", action="store_true", help="replace tokens that are there")
    return parser.parse_args()


if __name__ == "__main__":
    main()

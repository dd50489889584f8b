"""Token shards as clips: `tokens-00000.npy` and `style-00000.npz` beside `clips-00000.jsonl`. Knows files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darius.depthformer.config import DepthformerConfig
from darius.errors import ModelNotFound
from recipes.tiny.lm.batches import Clip

STYLE_KINDS = ("audio", "mixed", "text")


def load(folder: Path, split: str) -> list[Clip]:
    """Every clip of a split ("train" or "validation") that has tokens, in the order of the shards.

    A shard without style codes gets -1 (unknown) for style, so that training can begin before they are there.

    Raises:
      ModelNotFound: no shard has tokens.
    """
    clips = [
        clip
        for tokens in sorted(folder.glob("tokens-*.npy"))
        for record, clip in _shard(tokens)
        if record["split"] == split
    ]
    if not clips:
        raise ModelNotFound(f"{folder} has no tokens.", "Run `python -m recipes.tiny.codec.encode` first.")
    return clips


def _shard(tokens: Path) -> list[tuple[dict[str, Any], Clip]]:
    codes = np.load(tokens)
    sidecar = tokens.with_name(tokens.stem.replace("tokens", "clips") + ".jsonl")
    records = [json.loads(line) for line in sidecar.read_text().splitlines()]
    return [
        (record, Clip(codes=own, styles=styles, loop_frames=_loop_frames(record)))
        for record, own, styles in zip(records, codes, _styles(tokens, len(codes)), strict=True)
    ]


def _styles(tokens: Path, clips: int) -> NDArray[np.int16]:
    """Style codes of all kinds, [clips, variants, levels]."""
    path = tokens.with_name(tokens.stem.replace("tokens", "style") + ".npz")
    if not path.exists():
        return np.full((clips, 1, 12), -1, np.int16)
    with np.load(path) as file:
        return np.concatenate([file[kind] for kind in STYLE_KINDS], axis=1).astype(np.int16)


def _loop_frames(record: dict[str, Any]) -> int:
    """The loop's length if it is whole frames and the clip repeats it strictly, else 0."""
    frames = record["loop_frames"]
    return int(frames) if record["strict"] and frames == int(frames) else 0


def code_counts(config: DepthformerConfig, clips: Sequence[Clip]) -> NDArray[np.int64]:
    """How often each code occurs, [levels, codes]."""
    size = config.layout.codebook_size
    codes = np.concatenate([clip.codes for clip in clips]).astype(np.int64)
    return np.stack([np.bincount(level, minlength=size) for level in codes.T])


def codebooks(codec: Path) -> NDArray[np.float32]:
    """The codec's RVQ vectors [levels, codes, dims], from a shipped file or a run's .npz."""
    from recipes.tiny.codec.ship import load_any

    return np.asarray(load_any(codec)[1]["quantizer"]["embedding"], np.float32)

"""Shards on disk: `clips-00000.npy` (int16 [clips, samples, 2], 48 kHz) beside `clips-00000.jsonl` (a record a clip).

A shard is there once its .jsonl is: it is written last, and both are renamed into place. Knows files, not music.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipes.tiny.data.synth import RATE, Signal


def shard_paths(folder: Path, index: int) -> tuple[Path, Path]:
    """The audio and the records file of a shard."""
    stem = folder / f"clips-{index:05d}"
    return stem.with_suffix(".npy"), stem.with_suffix(".jsonl")


def write_shard(folder: Path, index: int, clips: list[NDArray[np.int16]], records: list[dict[str, Any]]) -> None:
    """Write both files of a shard; readers never see half of one."""
    audio, sidecar = shard_paths(folder, index)
    partial = folder / f".partial-{index:05d}.npy"
    np.save(partial, np.stack(clips))
    partial.rename(audio)
    lines = partial.with_suffix(".jsonl")
    lines.write_text("".join(json.dumps(record) + "\n" for record in records))
    lines.rename(sidecar)


def to_int16(samples: Signal) -> NDArray[np.int16]:
    """float32 in -1..1 to 16 bits."""
    return np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)


@dataclasses.dataclass(frozen=True)
class ClipSet:
    """The clips of a folder's finished shards, memory-mapped; `clip(i)` and `records[i]` belong together."""

    records: list[dict[str, Any]]
    _shards: list[NDArray[np.int16]]
    _places: list[tuple[int, int]]

    @classmethod
    def open(cls, folder: str | Path, *, split: str | None = None) -> ClipSet:
        """All finished shards now in `folder`; `split` is "train", "validation" or None for both."""
        records, shards, places = [], [], []
        for sidecar in sorted(Path(folder).glob("clips-*.jsonl")):
            shards.append(np.load(sidecar.with_suffix(".npy"), mmap_mode="r"))
            for row, line in enumerate(sidecar.read_text().splitlines()):
                record = json.loads(line)
                if split in (None, record["split"]):
                    records.append(record | {"shard": sidecar.stem, "row": row})
                    places.append((len(shards) - 1, row))
        return cls(records, shards, places)

    def __len__(self) -> int:
        return len(self.records)

    def clip(self, index: int) -> NDArray[np.int16]:
        """Samples of a clip, int16 [n, 2], not yet read from disk."""
        shard, row = self._places[index]
        return self._shards[shard][row]

    def window(self, index: int, start: int, length: int) -> Signal:
        """`length` samples from `start`, float32 [length, 2]."""
        return self.clip(index)[start : start + length].astype(np.float32) / np.float32(32768)

    def random_window(self, rng: np.random.Generator, seconds: float) -> tuple[int, Signal]:
        """A clip and a window of it that starts at any sample: (clip index, float32 [n, 2])."""
        index, length = int(rng.integers(len(self))), round(seconds * RATE)
        start = int(rng.integers(0, len(self.clip(index)) - length + 1))
        return index, self.window(index, start, length)

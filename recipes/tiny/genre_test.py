"""A judge of genres that shares nothing with the model: linear discriminants of held-out generated clips.

It hears statistics of spectrum and rhythm (`darius.style.features`, which are no weights), clips at tempi of every
kind, so that it cannot go by tempo, and both clean clips and muffled ones.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darius.audio.waveform import Waveform
from darius.style.features import audio_features, mel_frames
from recipes.tiny.data.clip import Clip, make_clip
from recipes.tiny.data.sounds import load_sounds
from recipes.tiny.data.timing import Grid

FIRST_SEED = 500_000_000
"""Of the judge's clips and of other held-out ones: seeds divisible by ten, which no training sees."""

SECONDS = 14.0
_sounds = lru_cache(maxsize=1)(load_sounds)


def held_out(count: int) -> Iterator[Clip]:
    """Clips that nothing was trained on."""
    for n in range(count):
        yield make_clip(FIRST_SEED + 10 * n, 10.0, _sounds(None))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judge:
    """Linear discriminants: scores = features @ weights + bias. `own`: its shares on clean clips it did not see."""

    genres: tuple[str, ...]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    own: dict[str, float] = dataclasses.field(default_factory=dict)

    @classmethod
    def train(cls, genres: Sequence[str], clips: int) -> Judge:
        """Of `clips` clips a genre, four in five are learned from."""
        jobs = [(genre, n) for n in range(clips) for genre in genres]
        with multiprocessing.get_context("spawn").Pool(min(24, os.cpu_count() or 1)) as pool:
            heard = np.stack(pool.starmap(_features, jobs, chunksize=4))
        labels = np.array([genres.index(genre) for genre, _ in jobs])
        known = len(jobs) * 4 // 5
        judge = cls._fit(tuple(genres), heard[:known], labels[:known])
        ranks = [judge._rank(row, label) for row, label in zip(heard[known:], labels[known:], strict=True)]
        own = {"named": float(np.mean(np.array(ranks) < 1)), "among_three": float(np.mean(np.array(ranks) < 3))}
        return dataclasses.replace(cls._fit(tuple(genres), heard, labels), own=own)

    @classmethod
    def of(cls, genres: Sequence[str], clips: int, path: Path | None) -> Judge:
        """The judge in a file, if there is one; else a new one, which is written there."""
        if path is not None and path.exists():
            with np.load(path) as file:
                own = dict(zip(("named", "among_three"), file["own"].tolist(), strict=True))
                kept = {name: file[name] for name in ("mean", "scale", "weights", "bias")}
                return cls(genres=tuple(file["genres"].tolist()), own=own, **kept)
        judge = cls.train(genres, clips)
        if path is not None:
            arrays = {name: getattr(judge, name) for name in ("genres", "mean", "scale", "weights", "bias")}
            np.savez(path, own=list(judge.own.values()), **arrays)
        return judge

    @classmethod
    def _fit(cls, genres: tuple[str, ...], heard: NDArray[np.float32], labels: NDArray[np.int64]) -> Judge:
        mean, scale = heard.mean(0).astype(np.float64), heard.std(0) + 1e-3
        x = np.clip((heard - mean) / scale, -4, 4)
        centres = np.stack([x[labels == n].mean(0) for n in range(len(genres))])
        within = np.cov((x - centres[labels]).T)
        spread = 0.6 * within + 0.4 * np.eye(len(within)) * np.trace(within) / len(within)
        weights = np.linalg.solve(spread, centres.T)
        return cls(genres=genres, mean=mean, scale=scale, weights=weights, bias=-0.5 * np.sum(centres.T * weights, 0))

    def rank(self, music: Waveform, genre: str) -> int:
        """How many other genres it finds likelier."""
        return self._rank(audio_features(*mel_frames(music)), self.genres.index(genre))

    def _rank(self, heard: NDArray[np.float32], label: int) -> int:
        scores = np.clip((heard - self.mean) / self.scale, -4, 4) @ self.weights + self.bias
        return int((scores > scores[label]).sum())


def _features(genre: str, number: int) -> NDArray[np.float32]:
    seed = FIRST_SEED + 1_000_000 + 10 * number
    bpm = float(np.random.default_rng(seed).uniform(84, 156))
    bars = 2
    grid = Grid(bpm=bpm, bars=bars, length=round(bars * 240 / bpm * 48_000), swing=0.0)
    clip = make_clip(seed, SECONDS, _sounds(None), genre=genre, in_step_with=grid if number % 3 else None)
    return audio_features(*mel_frames(Waveform(clip.samples, 48_000)))

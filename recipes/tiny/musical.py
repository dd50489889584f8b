"""Numbers that say whether music goes on: tempo, level, brightness, repetition, drift. numpy only."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darius.audio.mel import log_mel
from darius.audio.onsets import onset_strength, tempo_peaks
from darius.audio.resample import resample
from darius.audio.waveform import Waveform
from recipes.tiny.codec.measures import onset_times

RATIOS = (0.25, 1 / 3, 0.5, 2 / 3, 0.75, 1.0, 4 / 3, 1.5, 2.0, 3.0, 4.0)
"""What counts as a tempo's simple ratios: the strongest period of a rhythm need not be the beat."""

OCTAVES = (0.25, 0.5, 1.0, 2.0, 4.0)

MARKS: dict[str, Callable[[dict[str, float]], bool]] = {
    "in tempo": lambda row: row["tempo_error"] < 0.01,
    "in tempo, octaves only": lambda row: row["octave_error"] < 0.01,
    "level within 3 dB": lambda row: abs(row["level_db"]) < 3,
    "level within 3 dB, unmatched": lambda row: abs(row["unmatched_db"]) < 3,
    "no copy": lambda row: row["likeness"] < 0.9,
    "bars differ": lambda row: row["bars_differ_db"] > 0.5,
    "no silent bar": lambda row: row["quietest_bar_db"] > -40,
    "centroid within an octave": lambda row: 0.5 < row["brightness"] < 2,
}
"""What a continuation should be."""


def tempo_error(waveform: Waveform, bpm: float, ratios: tuple[float, ...] = RATIOS) -> float:
    """How far the strongest onset period is from the nearest allowed ratio of the tempo, as a share of it."""
    peaks = tempo_peaks(*onset_strength(waveform.samples, waveform.rate))
    if not peaks:
        return 1.0
    return float(min(abs(peaks[0].bpm / (bpm * ratio) - 1.0) for ratio in ratios))


def compare(music: Waveform, loop: Waveform, bpm: float, bars: int = 8) -> dict[str, float]:
    """A continuation against its loop."""
    cut = np.array_split(music.samples, bars)
    levels = [_decibel(_power(bar)) for bar in cut]
    mels = [log_mel(bar, music.rate, num_mels=64, floor_db=-80).mean(0) for bar in cut]
    return {
        "tempo_error": tempo_error(music, bpm),
        "octave_error": tempo_error(music, bpm, OCTAVES),
        "level_db": _decibel(_power(music.samples) / max(_power(loop.samples), 1e-12)),
        "quietest_bar_db": min(levels) - max(levels),
        "brightness": centroid(music) / max(centroid(loop), 1.0),
        "likeness": likeness(music, loop),
        "bars_differ_db": float(np.mean([np.abs(a - b).mean() for a, b in itertools.pairwise(mels)])),
    }


def repetition(codes: NDArray[np.int32], most: int = 260) -> dict[str, float]:
    """The share of coarse codes that come again after the period at which most do."""
    shares = [np.mean(codes[lag:, :4] == codes[:-lag, :4]) for lag in range(8, min(most, len(codes) // 2))]
    return {"repeats": float(max(shares))}


def centroid(waveform: Waveform) -> float:
    """Mean frequency of the power spectrum's magnitudes, Hz."""
    mono = waveform.samples.mean(axis=1) if waveform.samples.ndim == 2 else waveform.samples
    blocks = mono[: len(mono) // 4096 * 4096].reshape(-1, 4096) * np.hanning(4096)
    sizes = np.abs(np.fft.rfft(blocks)).mean(0)
    return float((sizes * np.fft.rfftfreq(4096, 1 / waveform.rate)).sum() / max(sizes.sum(), 1e-12))


def likeness(music: Waveform, loop: Waveform, rate: int = 12_000) -> float:
    """The largest normalised cross-correlation of the loop with any equally long part of the music."""
    long, short = (resample(w.samples.mean(axis=1), w.rate, rate) for w in (music.stereo(), loop.stereo()))
    short = short[: len(long)]
    size = 1 << (len(long) + len(short)).bit_length()
    product = np.fft.irfft(np.fft.rfft(long, size) * np.conj(np.fft.rfft(short, size)), size)
    product = product[: len(long) - len(short) + 1]
    energy = np.concatenate([[0.0], np.cumsum(np.square(long, dtype=np.float64))])
    energy = energy[len(short) :] - energy[: -len(short)]
    return float(np.max(np.abs(product) / np.sqrt(energy * np.square(short, dtype=np.float64).sum() + 1e-9)))


def drift(music: Waveform, start_up: float = 20.0) -> dict[str, float]:
    """The last minute over the first after start-up: level, brightness, onset rate; and the worst of in between.

    Shorter music is compared by its thirds.
    """
    minute = int(min(60.0, (music.duration - start_up) / 3) * music.rate)
    first = music.cut(int(start_up * music.rate), int(start_up * music.rate) + minute)
    last = music.cut(len(music) - minute, len(music))
    seconds = np.array_split(music.samples[int(start_up * music.rate) :], int(music.duration - start_up))
    powers = np.array([_power(second) for second in seconds])
    return {
        "level": float(np.sqrt(_power(last.samples) / max(_power(first.samples), 1e-12))),
        "brightness": centroid(last) / max(centroid(first), 1.0),
        "onsets": _onset_rate(last) / max(_onset_rate(first), 1e-3),
        "quietest_second_db": _decibel(float(powers.min() / np.median(powers))),
        "peak": float(np.abs(music.samples).max()),
        "clipped": float(np.mean(np.abs(music.samples) >= 1.0)),
    }


def rms(waveform: Waveform) -> float:
    """Root of the mean power of a waveform's samples, at least 1e-6."""
    return max(float(np.sqrt(_power(waveform.samples))), 1e-6)


def _onset_rate(waveform: Waveform) -> float:
    envelope, rate = onset_strength(waveform.samples, waveform.rate)
    return len(onset_times(envelope, rate)) / waveform.duration


def _power(samples: NDArray[Any]) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64)))


def _decibel(power: float) -> float:
    return 10 * float(np.log10(max(power, 1e-12)))

"""Small seeded sounds with a known tempo."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from darius.audio.bars import bar_samples
from darius.audio.waveform import Samples, Waveform

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples" / "loops"
LOOPS = HERE.parent / "loops"


def sine(seconds: float, *, rate: int = 44_100, hertz: float = 440.0, gain: float = 0.5, channels: int = 2) -> Waveform:
    time = np.arange(round(seconds * rate)) / rate
    mono = (gain * np.sin(2 * np.pi * hertz * time)).astype(np.float32)
    return Waveform(np.repeat(mono[:, None], channels, axis=1), rate)


def noise(seconds: float, *, rate: int = 44_100, gain: float = 0.1, seed: int = 0, channels: int = 2) -> Waveform:
    random = np.random.default_rng(seed)
    return Waveform((gain * random.standard_normal((round(seconds * rate), channels))).astype(np.float32), rate)


def _hit(kind: str, rate: int, random: np.random.Generator) -> Samples:
    time = np.arange(round(0.12 * rate)) / rate
    if kind == "kick":
        wave = np.sin(2 * np.pi * (50 * time - 0.75 * np.exp(-40 * time))) * np.exp(-25 * time)
    elif kind == "snare":
        wave = (0.5 * random.standard_normal(len(time)) + np.sin(2 * np.pi * 190 * time)) * np.exp(-35 * time) * 0.6
    else:
        wave = np.diff(random.standard_normal(len(time)), prepend=0.0) * np.exp(-90 * time) * 0.2
    return wave.astype(np.float32)


def place(total: int, hits: list[tuple[float, float, str]], rate: int, seed: int = 0) -> Waveform:
    """Hits (second, gain, kind), their tails wrapping around to the start."""
    random = np.random.default_rng(seed)
    mono = np.zeros(total, np.float32)
    for second, gain, kind in hits:
        hit = gain * _hit(kind, rate, random)
        np.add.at(mono, (round(second * rate) + np.arange(len(hit))) % total, hit)
    return Waveform((0.5 * mono / np.abs(mono).max())[:, None], rate)


def clicks(bpm: Fraction | int | str, bars: int, *, beats: int = 4, rate: int = 44_100) -> Waveform:
    """A metronome: an accented click on the downbeat, softer ones on the beats, softest on the eighths."""
    beat = float(60 / Fraction(bpm))
    hits = [(i * beat, 1.0 if i % beats == 0 else 0.6, "snare") for i in range(bars * beats)]
    hits += [((i + 0.5) * beat, 0.3, "hat") for i in range(bars * beats)]
    return place(bar_samples(bars, beats, bpm, rate), hits, rate)


def drums(bpm: Fraction | int | str, bars: int, *, swing: float = 0.0, seed: int = 0, rate: int = 44_100) -> Waveform:
    """A drum loop: backbeat, some extra kicks, hats on eighths and ghosts on sixteenths, a few ms of human timing.

    Args:
      swing: how late every second sixteenth is, in sixteenths.
    """
    random = np.random.default_rng(seed)
    step = float(15 / Fraction(bpm))
    kicks = {0, 8, *random.choice([3, 6, 7, 10, 11, 14], 2).tolist()}
    hits = []
    for bar in range(bars):
        for i in range(16):
            at = (16 * bar + i + (swing if i % 2 else 0.0)) * step + random.normal(0.0, 0.002)
            if i in kicks:
                hits.append((at, 1.0, "kick"))
            if i in (4, 12):
                hits.append((at, 0.9, "snare"))
            if i % 2 == 0 or random.random() < 0.3:
                hits.append((at, 0.6 if i % 2 == 0 else 0.3, "hat"))
    return place(bar_samples(bars, 4, bpm, rate), hits, rate, seed)

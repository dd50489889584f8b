"""Drum hits from formulas: one function per drum, random within taste.

Knows single hits; knows no rhythm and no recorded sound.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from recipes.tiny.data.synth import (
    RATE,
    Signal,
    band_filter,
    decay,
    noise,
    oscillator,
    seconds_of,
    sine_sweep,
)

SOFT, ANALOGUE, HARD = 0, 1, 2
"""Kit styles: acoustic-like, drum machine, driven."""

ROLES = ("kick", "snare", "clap", "hat", "open_hat", "ride", "shaker", "rim", "conga", "tom")

_METAL_PARTIALS = (1, 1.34, 1.72, 1.98, 2.43, 3.1)


def _kick(style: int, rng: np.random.Generator) -> Signal:
    n = int(RATE * rng.uniform(0.25, 0.8 if style == ANALOGUE else 0.5))
    pitch = rng.uniform(42, 60) + rng.uniform(80, 260) * np.exp(-seconds_of(n) / rng.uniform(0.008, 0.03))
    ring = rng.uniform(0.06, 0.12) + (0.1 if style == ANALOGUE else 0)
    click = rng.uniform(0.05, 0.4) * noise(rng, n) * decay(n, 0.002)
    return np.tanh((sine_sweep(pitch) * decay(n, ring) + click) * (1 + 1.5 * style))


def _skin(rng: np.random.Generator, hertz: float, ring: float, wires: float) -> Signal:
    """A tuned skin with a second partial and a band of noise (snare wires)."""
    n = int(RATE * 0.35)
    t = seconds_of(n)
    tone = sine_sweep(hertz * (1 + 0.5 * np.exp(-t / 0.01))) + 0.5 * np.sin(2 * np.pi * hertz * 1.6 * t)
    rattle = band_filter(noise(rng, n), "high", rng.uniform(800, 2500)) * decay(n, rng.uniform(0.05, 0.14))
    return np.tanh(tone * decay(n, ring) * 0.7 + rattle * wires)


def _snare(style: int, rng: np.random.Generator) -> Signal:
    return _skin(rng, rng.uniform(170, 230), rng.uniform(0.04, 0.09), 0.7)


def _tom(style: int, rng: np.random.Generator) -> Signal:
    return _skin(rng, rng.uniform(80, 160), rng.uniform(0.08, 0.18), 0.08)


def _clap(style: int, rng: np.random.Generator) -> Signal:
    n = int(RATE * 0.4)
    envelope = np.zeros(n, np.float32)
    for hand in range(4):
        start = int(hand * 0.011 * RATE)
        envelope[start:] += decay(n - start, 0.006 if hand < 3 else rng.uniform(0.05, 0.1))
    return band_filter(noise(rng, n), "band", (rng.uniform(700, 1000), rng.uniform(2200, 5000))) * envelope * 1.6


def _metal(rng: np.random.Generator, seconds: float, ring: float, tune: float, lowest: float) -> Signal:
    """Hats and cymbals: six inharmonic squares and noise through a high-pass."""
    n = int(RATE * seconds)
    base = rng.uniform(300, 480) * tune
    squares = sum(oscillator("square", base * k, n, rng.uniform(0, 1)) for k in _METAL_PARTIALS)
    mix = squares * rng.uniform(0.05, 0.2) + noise(rng, n) * rng.uniform(0.3, 0.9)
    return band_filter(mix.astype(np.float32), "high", lowest) * decay(n, ring) * 0.9


def _hat(style: int, rng: np.random.Generator) -> Signal:
    return _metal(rng, 0.09, rng.uniform(0.012, 0.03), 1.0, rng.uniform(5000, 8500))


def _open_hat(style: int, rng: np.random.Generator) -> Signal:
    return _metal(rng, 0.4, rng.uniform(0.08, 0.2), 1.0, rng.uniform(5000, 8500))


def _ride(style: int, rng: np.random.Generator) -> Signal:
    return _metal(rng, 0.9, rng.uniform(0.2, 0.4), 2.2, rng.uniform(3000, 5000))


def _shaker(style: int, rng: np.random.Generator) -> Signal:
    n = int(RATE * 0.08)
    swell = np.sin(np.pi * np.arange(n) / n) ** 2
    return band_filter(noise(rng, n), "band", (4000, 11_000)) * swell * 0.8


def _rim(style: int, rng: np.random.Generator) -> Signal:
    n = int(RATE * 0.07)
    w = 2 * np.pi * rng.uniform(420, 1900) * seconds_of(n)
    return (np.sin(w) + 0.6 * np.sin(2.6 * w)) * decay(n, rng.uniform(0.008, 0.02))


def _conga(style: int, rng: np.random.Generator) -> Signal:
    n = int(RATE * 0.3)
    pitch = rng.uniform(180, 420) * (1 + 0.25 * np.exp(-seconds_of(n) / 0.015))
    return sine_sweep(pitch) * decay(n, rng.uniform(0.05, 0.12)) + 0.2 * noise(rng, n) * decay(n, 0.004)


_HITS: dict[str, Callable[[int, np.random.Generator], Signal]] = {
    "kick": _kick,
    "snare": _snare,
    "clap": _clap,
    "hat": _hat,
    "open_hat": _open_hat,
    "ride": _ride,
    "shaker": _shaker,
    "rim": _rim,
    "conga": _conga,
    "tom": _tom,
}


def hit(role: str, style: int, rng: np.random.Generator) -> Signal:
    """One synthetic hit of a drum, float32 [n], about unit peak."""
    return _HITS[role](style, rng).astype(np.float32)

"""Signal building blocks: wavetables, envelopes, filters, and adding or convolving on a circle.

Knows samples at 48 kHz; knows no notes, drums or genres. Everything is a pure function; arrays are float32.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import butter, sosfilt

RATE = 48_000
Signal = NDArray[np.float32]

_TABLE_BITS = 12
_LOWEST_HZ = 40.0
_OCTAVES = 9


def _partial(shape: str, k: int) -> float:
    """Amplitude of partial k (from 1) of a waveform."""
    odd = k % 2
    match shape:
        case "saw":
            return 1 / k
        case "square":
            return odd / k
        case "triangle":
            return odd * (-1) ** (k // 2) / k**2
        case "pulse":
            return abs(np.sin(np.pi * k * 0.2)) / k
        case "sine":
            return float(k == 1)
        case "organ":
            return {1: 1, 2: 0.8, 3: 0.5, 4: 0.4, 6: 0.3, 8: 0.25}.get(k, 0.0)
        case "soft":
            return 1 / k**1.6
        case "reed":
            return (1 if odd else 0.35) / k**1.1
        case "voice":
            return float(np.exp(-(((k - 4) / 2.5) ** 2)) + 0.6 / k)
    raise ValueError(f"no waveform named {shape}")


@functools.cache
def _table(shape: str, octave: int) -> Signal:
    """One cycle of a waveform with partials up to 20 kHz for the highest pitch of the octave."""
    size = 1 << _TABLE_BITS
    partials = max(1, int(20_000 / (_LOWEST_HZ * 2**octave)) - 1)
    spectrum = np.zeros(size // 2 + 1, complex)
    for k in range(1, min(partials, size // 2 - 1) + 1):
        spectrum[k] = -0.5j * size * _partial(shape, k)
    cycle = irfft(spectrum, size)
    return (cycle / np.abs(cycle).max()).astype(np.float32)


def oscillator(shape: str, hertz: float, length: int, phase: float = 0.0) -> Signal:
    """A steady band-limited tone; `phase` in cycles."""
    octave = int(np.clip(np.ceil(np.log2(max(hertz, _LOWEST_HZ) / _LOWEST_HZ)), 0, _OCTAVES - 1))
    # a 32-bit phase accumulator wraps by itself
    position = np.arange(length, dtype=np.uint32) * np.uint32(hertz / RATE * 2**32)
    position += np.uint32(int(phase * 2**32) & 0xFFFFFFFF)
    return _table(shape, octave)[position >> np.uint32(32 - _TABLE_BITS)]


def sine_sweep(hertz: NDArray) -> Signal:
    """A sine whose frequency follows `hertz` [n]."""
    return np.sin(2 * np.pi * np.cumsum(hertz) / RATE).astype(np.float32)


def seconds_of(length: int) -> NDArray:
    """Time in seconds of each of `length` samples."""
    return np.arange(length) / RATE


def decay(length: int, seconds: float) -> Signal:
    """Exponential decay with time constant `seconds`."""
    return np.exp(-np.arange(length) / (seconds * RATE)).astype(np.float32)


def noise(rng: np.random.Generator, *shape: int) -> Signal:
    """White Gaussian noise."""
    return rng.standard_normal(shape, dtype=np.float32)


def band_filter(x: Signal, kind: str, hertz: float | tuple[float, float], order: int = 2) -> Signal:
    """Butterworth filter along time; `kind` is "low", "high" or "band"."""
    return sosfilt(butter(order, hertz, kind, fs=RATE, output="sos"), x, axis=0).astype(np.float32)


def _resonant_lowpass(hertz: float, q: float) -> NDArray:
    """Second-order section of a resonant low-pass (the usual audio biquad)."""
    w = 2 * np.pi * float(np.clip(hertz, 30, 20_000)) / RATE
    alpha, c = np.sin(w) / (2 * q), np.cos(w)
    b = (1 - c) / 2
    return np.array([[b, 2 * b, b, 1 + alpha, -2 * c, 1 - alpha]]) / (1 + alpha)


def swept_lowpass(x: Signal, rest: float, peak: float, seconds: float, q: float, steps: int = 5) -> Signal:
    """Low-pass whose cutoff falls from `peak` to `rest` hertz: static filters cross-faded along the envelope."""
    if peak <= rest * 1.3:
        return sosfilt(_resonant_lowpass(rest, q), x, axis=0).astype(np.float32)
    cutoffs = np.geomspace(rest, peak, steps)
    place = decay(len(x), seconds) * (steps - 1)  # in filters; the logarithm of the cutoff moves linearly
    out = np.zeros_like(x)
    for k, cutoff in enumerate(cutoffs):
        share = np.clip(1 - np.abs(place - k), 0, 1).astype(np.float32)
        share = share if x.ndim == 1 else share[:, None]
        out += share * sosfilt(_resonant_lowpass(cutoff, q), x, axis=0).astype(np.float32)
    return out


def repitch(x: Signal, ratio: float) -> Signal:
    """Play `x` [n] `ratio` times as fast (linear interpolation)."""
    return np.interp(np.arange(0, len(x) - 1, ratio), np.arange(len(x)), x).astype(np.float32)


def add_circular(loop: Signal, position: float, sound: Signal, gain: float = 1.0, pan: float = 0.0) -> None:
    """Add `sound` [n] or [n, 2] into `loop` [length, 2] in place; what runs past the end wraps to the start."""
    sides = np.array([gain * min(1, 1 - pan), gain * min(1, 1 + pan)], np.float32)
    sound = (sound if sound.ndim == 2 else sound[:, None]) * sides
    at, done = round(position) % len(loop), 0
    while done < len(sound):
        count = min(len(loop) - at, len(sound) - done)
        loop[at : at + count] += sound[done : done + count]
        at, done = 0, done + count


def convolve_circular(loop: Signal, impulse: Signal) -> Signal:
    """`loop` [length, 2] convolved with `impulse` [n, 2], the tail wrapped so that the loop stays seamless."""
    length = len(loop)
    size = next_fast_len(length + len(impulse), True)
    spectrum = rfft(np.ascontiguousarray(loop.T), size) * rfft(np.ascontiguousarray(impulse.T), size)
    full = irfft(spectrum, size).T
    wet = full[:length].copy()
    for start in range(length, size, length):
        tail = full[start : start + length]
        wet[: len(tail)] += tail
    return wet.astype(np.float32)


def rms(x: Signal) -> float:
    """Root mean square over all samples and channels."""
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))

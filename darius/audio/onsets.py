"""Onset strength and the periodicities in it: where notes begin, and how regularly.

Knows envelopes, not bars or files. Spectral flux after Masri (1996) with log-compressed magnitudes.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darius.audio.mel import power_blocks

Envelope = NDArray[np.float64]
"""Onset strength, not negative, float64 [t]."""

_COMPRESSION = 500.0
_LEAST_RISE = 1.0
"""Summed over the spectrum; less is ripple: a steady tone has no onsets. Onsets of loops reach 100 to 300."""
_HOP_SECONDS = 128 / 44_100
_WINDOW_SECONDS = 1024 / 44_100


def onset_strength(samples: ArrayLike, rate: int, *, wrap: bool = False) -> tuple[Envelope, float]:
    """Spectral flux: how much louder the spectrum gets from one window to the next.

    Args:
      samples: [n] or [n, channels] (channels are averaged in power, so that wide stereo does not cancel).
      wrap: the sound is a loop, its start follows its end; otherwise it starts out of silence, which is an onset.

    Returns:
      The envelope, float64 [1 + n // hop], value t at time t / envelope_rate; and envelope_rate in Hz (about 344).
    """
    samples = np.asarray(samples, np.float32)
    channels = samples.T if samples.ndim == 2 else samples[None]
    # The loudest sample counts as full scale, so that quiet music has the same onsets.
    channels = channels / max(float(np.abs(channels).max(initial=0.0)), 1e-9)
    hop = max(1, round(rate * _HOP_SECONDS))
    window = 2 * round(rate * _WINDOW_SECONDS / 2)
    rises = []
    last: NDArray[np.float32] | None = None
    spectra = [power_blocks(channel, window=window, hop=hop, wrap=wrap) for channel in channels]
    for powers in zip(*spectra, strict=True):
        level = np.log1p(_COMPRESSION * np.sqrt(np.mean(powers, axis=0)))
        before = level[:1] if last is None else last
        rise = np.maximum(np.diff(level, axis=0, prepend=before), 0.0).sum(axis=1, dtype=np.float64)
        rises.append(np.maximum(rise - _LEAST_RISE, 0.0))
        last = level[-1:]
    return np.concatenate(rises), rate / hop


def autocorrelation(envelope: Envelope, *, max_lag: int | None = None, circular: bool = False) -> Envelope:
    """Autocorrelation of the envelope about its mean, 1 at lag 0, float64 [max_lag + 1].

    Args:
      max_lag: in envelope samples; by default half the envelope.
      circular: the end meets the beginning, as in a loop that repeats; otherwise each lag is divided by the number
        of pairs it has.
    """
    count = len(envelope)
    max_lag = min(count - 1, count // 2 if max_lag is None else max_lag)
    centred = envelope - envelope.mean()
    size = count if circular else 1 << (2 * count - 1).bit_length()
    spectrum = np.fft.rfft(centred, size)
    raw = np.fft.irfft(spectrum * spectrum.conj(), size)[: max_lag + 1]
    if not circular:
        raw = raw * (count / (count - np.arange(max_lag + 1)))
    return np.asarray(raw / raw[0] if raw[0] > 0 else np.zeros_like(raw))


def grid_concentration(envelope: Envelope, envelope_rate: float, step_seconds: ArrayLike) -> NDArray[np.float64]:
    """How well onsets gather on a grid of any phase: the length of their circular mean, 0 (evenly spread) to 1.

    Args:
      step_seconds: the grid's step, one or many; a sixteenth at `bpm` is 15 / bpm.

    Returns:
      float64 of the shape of `step_seconds`.
    """
    steps = np.asarray(step_seconds, np.float64)
    turns = np.arange(len(envelope)) / envelope_rate / steps.reshape(-1, 1)
    total = envelope.sum()
    if total <= 0:
        return np.zeros(steps.shape)
    mean = np.exp(2j * np.pi * turns) @ envelope / total
    return np.asarray(np.abs(mean)).reshape(steps.shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TempoPeak:
    """A peak of the onset autocorrelation: one beat of this tempo later, the onsets look alike."""

    bpm: float
    strength: float


def tempo_peaks(
    envelope: Envelope, envelope_rate: float, *, slowest: float = 50.0, fastest: float = 220.0, most: int = 8
) -> tuple[TempoPeak, ...]:
    """Peaks of the onset autocorrelation between two tempi, strongest first.

    The place of a peak is interpolated by a parabola; it is good to about 0.1 %. Half, double and 3:2 of the tempo
    are usually among them: which one is the beat is not decided here.
    """
    correlation = autocorrelation(envelope, max_lag=int(60.0 / slowest * envelope_rate) + 2)
    peaks = []
    first = max(1, int(60.0 / fastest * envelope_rate))
    for lag in range(first, len(correlation) - 1):
        left, here, right = correlation[lag - 1 : lag + 2]
        if here > 0 and left < here >= right:
            shift = 0.5 * (left - right) / (left - 2 * here + right)
            peaks.append(TempoPeak(bpm=60.0 * envelope_rate / (lag + shift), strength=float(here)))
    inside = [peak for peak in peaks if slowest <= peak.bpm <= fastest]
    return tuple(sorted(inside, key=lambda peak: -peak.strength)[:most])

"""Log-mel spectrograms in numpy, for pictures, features and tests.

The scale is HTK's, mel = 2595 log10(1 + f / 700); the filters are triangles of height 1, no narrower than one
Fourier bin, so that none is empty. Power is scaled so that a sine of amplitude 1 is about 0 dB.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float32]

_BLOCK = 1024
"""Windows transformed at once, so that long material needs little memory."""


def hertz_to_mel(hertz: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(2595.0 * np.log10(1.0 + np.asarray(hertz, np.float64) / 700.0))


def mel_to_hertz(mel: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(700.0 * (10.0 ** (np.asarray(mel, np.float64) / 2595.0) - 1.0))


@functools.lru_cache(maxsize=16)
def mel_filters(rate: int, window: int, num_mels: int, f_min: float, f_max: float) -> Float:
    """Triangular filters, float32 [window // 2 + 1, num_mels], read-only."""
    bins = np.arange(window // 2 + 1) * (rate / window)
    edges = mel_to_hertz(np.linspace(hertz_to_mel(f_min), hertz_to_mel(f_max), num_mels + 2))
    centre = edges[1:-1]
    rise = np.maximum(centre - edges[:-2], rate / window)
    fall = np.maximum(edges[2:] - centre, rate / window)
    distance = bins[:, None] - centre
    filters = np.maximum(0.0, 1.0 - np.where(distance < 0, -distance / rise, distance / fall)).astype(np.float32)
    filters.flags.writeable = False
    return filters


def power_blocks(mono: Float, *, window: int, hop: int, wrap: bool = False) -> Iterator[Float]:
    """Power spectra of Hann windows, blocks of float32 [<= 1024, window // 2 + 1].

    Window t is centred on sample t * hop; there are 1 + n // hop of them. A sine of amplitude 1 on a bin has power 1.

    Args:
      wrap: the sound is a loop: beyond each end is the other end, instead of silence.
    """
    shape = np.hanning(window + 1)[:-1].astype(np.float32)
    shape = shape * np.float32(2.0 / shape.sum())
    padded = np.pad(np.asarray(mono, np.float32), window // 2, mode="wrap" if wrap else "constant")
    windows = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    for start in range(0, len(windows), _BLOCK):
        spectrum = np.fft.rfft(windows[start : start + _BLOCK] * shape)
        yield (spectrum.real**2 + spectrum.imag**2).astype(np.float32)


def log_mel(
    samples: ArrayLike,
    rate: int,
    *,
    num_mels: int = 128,
    window: int = 2048,
    hop: int = 512,
    f_min: float = 20.0,
    f_max: float | None = None,
    floor_db: float = -100.0,
) -> Float:
    """Log-mel spectrogram in dB, float32 [1 + n // hop, num_mels].

    Args:
      samples: [n] or [n, channels] (channels are averaged).
      rate: Hz.
      window, hop: in samples; row t is centred on sample t * hop.
      f_min, f_max: the band in Hz; f_max defaults to half the rate, and is at most that.
      floor_db: nothing is lower than this.
    """
    mono = np.asarray(samples, np.float32)
    if mono.ndim == 2:
        mono = mono.mean(axis=1)
    top = min(rate / 2, f_max or rate / 2)
    filters = mel_filters(rate, window, num_mels, f_min, top)
    mels = np.concatenate([power @ filters for power in power_blocks(mono, window=window, hop=hop)])
    floor = np.float32(10.0 ** (floor_db / 10.0))
    # Its logarithm may round to just below it.
    return np.asarray(np.maximum(10.0 * np.log10(np.maximum(mels, floor)), floor_db), np.float32)

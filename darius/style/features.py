"""What tiny's style model hears and reads: spectrum and rhythm statistics of a sound, hashed pieces of a text.

Knows arrays and strings; knows no weights. Every number here is part of the trained model: change one, train again.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
import zlib

import numpy as np
from numpy.typing import NDArray

from darius.audio.waveform import Waveform

Float = NDArray[np.float32]

RATE = 48_000
HOP = 960
WINDOW = 2048
MELS = 64
_BAND_EDGES = (0, 8, 20, 40, MELS)  # mels; about 30-280, 280-1000, 1000-3700 and 3700-16000 Hz
_RANGE_DB = (-70.0, 30.0)  # around the mean power of the sound
_LAGS = np.unique(np.round(np.geomspace(5, 100, 40)).astype(int))  # of HOP: 0.1 to 2 s


def mel_frames(waveform: Waveform) -> tuple[Float, float]:
    """Log-mel spectrogram of the mid signal, dB [frames, MELS] at 50 frames a second, and its stereo width.

    Width is the level of the side signal against the mid, in dB / 20, at least -3.
    """
    from darius.audio.mel import log_mel
    from darius.audio.resample import to_rate

    stereo = to_rate(waveform, RATE).stereo().samples
    mid, side = stereo.mean(axis=1), (stereo[:, 0] - stereo[:, 1]) / 2
    width = np.log10((np.mean(side**2) + 1e-9) / (np.mean(mid**2) + 1e-9) + 1e-6) / 2
    return log_mel(mid, RATE, num_mels=MELS, window=WINDOW, hop=HOP, f_min=30, f_max=16_000), float(width)


def audio_features(mels: Float, width: float) -> Float:
    """A fixed number of statistics of a log-mel spectrogram of any length, float32 [features].

    Loudness does not count: levels are taken against the mean power of the sound.
    """
    power = 10.0 ** (mels / 10.0)
    reference = 10.0 * np.log10(np.mean(power) + 1e-10)
    levels = (np.clip(mels - reference, *_RANGE_DB) / 20.0).astype(np.float32)
    rise = np.maximum(np.diff(levels, axis=0, prepend=levels[:1]), 0.0)
    low, high = np.percentile(levels, [10, 90], axis=0)
    spectrum = [levels.mean(axis=0), levels.std(axis=0), low, high, 4 * rise.mean(axis=0)]
    bands = [rise[:, a:b].mean(axis=1) for a, b in itertools.pairwise(_BAND_EDGES)]
    onsets = np.stack([band - band.mean() for band in bands])
    scale = np.sqrt(np.mean(onsets**2, axis=1)) + 1e-4
    together = (onsets @ onsets.T) / onsets.shape[1] / np.outer(scale, scale)
    rhythm = [_autocorrelation(onset) for onset in onsets]
    extra = [together[np.triu_indices(len(bands), 1)], 4 * scale, np.array([width])]
    return np.asarray(np.concatenate([*spectrum, *rhythm, *extra]), np.float32)


def _autocorrelation(onset: Float) -> Float:
    """Autocorrelation of an onset curve at `_LAGS`, 1 at lag 0, corrected for the overlap; 0 where it is too short."""
    n = len(onset)
    spectrum = np.fft.rfft(onset, 2 * n)
    full = np.fft.irfft(spectrum * spectrum.conj())[:n]
    out = np.zeros(len(_LAGS), np.float32)
    usable = _LAGS[: np.searchsorted(_LAGS, 0.8 * n)]
    out[: len(usable)] = full[usable] / (full[0] + 1e-6 * n) * n / (n - usable)
    return out


def text_features(text: str, buckets: int) -> NDArray[np.int64]:
    """Hashed pieces of a text, int64 [pieces]: words, pairs of words, and runs of 3 and 4 letters within words.

    Case and accents do not count. A text without any letter or digit has none.
    """
    plain = unicodedata.normalize("NFKD", text.casefold())
    words = re.findall(r"[\w&]+", "".join(c for c in plain if not unicodedata.combining(c)))
    pieces = [f"word {word}" for word in words]
    pieces += [f"pair {a} {b}" for a, b in itertools.pairwise(words)]
    for word in words:
        marked = f"<{word}>"
        pieces += [marked[i : i + n] for n in (3, 4) for i in range(len(marked) - n + 1)]
    return np.array([zlib.crc32(piece.encode()) % buckets for piece in pieces], np.int64)

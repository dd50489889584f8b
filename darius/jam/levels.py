"""A jam's level: one gain, found on its first bar and kept, and peaks held under the headroom. Knows samples only."""

from __future__ import annotations

import math

import numpy as np

from darius.audio.loudness import Mode, limit, matching_gain
from darius.audio.waveform import Samples, Waveform

PAD_SECONDS = 0.025
"""How far the limiter looks to each side; with that much known, a stretch is limited as the whole would be."""
_MOST_LIMITING = 10.0 ** (6.0 / 20.0)
"""A limiter that takes off more than 6 dB is heard; the gain is smaller instead."""


def first_gain(first: Waveform, bar: int, reference: Waveform | None, mode: Mode, ceiling: float) -> float:
    """The gain of a jam, from its first chunk.

    Args:
      first: the first chunk, as the model made it.
      bar: samples of its first bar, whose level is matched.
      reference: the loop's first bar; None without a loop.
      mode: "lufs" falls back to RMS where a bar is too short or too quiet for LUFS.
    """
    if mode == "none" or reference is None:
        return 1.0
    gain = matching_gain(first.cut(0, bar), reference, "auto" if mode == "lufs" else mode)
    peak = first.peak * gain
    return gain * min(1.0, ceiling * _MOST_LIMITING / peak) if peak > 0 else gain


def levelled(window: Samples, rate: int, gain: float, mode: Mode, ceiling: float) -> Samples:
    """A stretch of a jam at its gain, peaks limited; the same in its middle whatever stretch is taken.

    Args:
      window: float32 [n, 2]: what is wanted, and `pad(rate)` samples more on each side.
    """
    if mode == "none":
        return window
    return limit((window * np.float32(gain)).astype(np.float32), rate, ceiling=ceiling)


def pad(rate: int) -> int:
    """Samples to know on each side of a stretch."""
    return math.ceil(PAD_SECONDS * rate)

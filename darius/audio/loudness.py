"""Levels: measuring them, giving music the level of a loop, and a limiter that never clips and never jumps.

Knows samples only. Loudness is ITU-R BS.1770 (LUFS) by pyloudnorm; everything is compared as stereo, because a mono
file played on two speakers is as loud as its stereo copy.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import threading
from typing import Literal

import numpy as np

from darius.audio.waveform import Samples, Waveform
from darius.errors import InvalidOption

Mode = Literal["auto", "lufs", "rms", "none"]
MODES: tuple[Mode, ...] = ("auto", "lufs", "rms", "none")

CEILING = 10.0 ** (-0.3 / 20.0)
"""-0.3 dBFS: no sample is larger, whatever the level."""
_LUFS_SECONDS = 0.4
_MOST_GAIN_DB = 24.0
"""Near silence is not blown up to music's level."""
_MOST_LIMITING_DB = 12.0
"""A limiter that takes off more would be heard; beyond that the whole is made quieter instead."""
_CLOSE = 10.0 ** (0.3 / 20.0)
_MOST_TRIES = 4
_LIMITER_SECONDS = 0.020


@dataclasses.dataclass(frozen=True, kw_only=True)
class Level:
    """Levels of some audio, in dB relative to full scale; -inf for silence.

    Attributes:
      lufs: integrated loudness; None if there is less than 0.4 s, or nothing above -70 LUFS.
    """

    lufs: float | None
    rms_db: float
    peak_db: float


def get_ready() -> None:
    """Loads in the background what measuring needs: a second or two, once, while others wait for a device anyway."""
    threading.Thread(target=importlib.import_module, args=("pyloudnorm",), daemon=True).start()


def _decibel(amplitude: float) -> float:
    return 20.0 * math.log10(amplitude) if amplitude > 0 else -math.inf


def _rms(waveform: Waveform) -> float:
    return math.sqrt(float(np.mean(np.square(waveform.samples, dtype=np.float64)))) if len(waveform) else 0.0


def _lufs(waveform: Waveform) -> float | None:
    # A little more than a block: the library counts blocks with a floor.
    if waveform.duration < _LUFS_SECONDS + 0.001:
        return None
    import pyloudnorm

    samples = waveform.stereo().samples.astype(np.float64)
    with np.errstate(divide="ignore"):
        loudness = float(pyloudnorm.Meter(waveform.rate).integrated_loudness(samples))
    return loudness if math.isfinite(loudness) else None


def measure(waveform: Waveform) -> Level:
    """Integrated loudness, RMS over time and channels, and sample peak."""
    return Level(lufs=_lufs(waveform), rms_db=_decibel(_rms(waveform)), peak_db=_decibel(waveform.peak))


def check_mode(mode: str) -> Mode:
    """Raises InvalidOption unless `mode` is one of `MODES`."""
    for known in MODES:
        if mode == known:
            return known
    raise InvalidOption(f"There is no loudness mode '{mode}'.", f"Use one of {', '.join(MODES)}.")


def matching_gain(waveform: Waveform, reference: Waveform, mode: Mode = "auto") -> float:
    """The factor that gives a waveform the level of the reference: at most 24 dB up, 1 where either is silent.

    Raises:
      InvalidOption: mode "lufs", and one of them is too short (0.4 s) or too quiet to be measured so.
    """
    if mode == "none":
        return 1.0
    pair: tuple[float | None, float | None] = (None, None)
    if mode != "rms":
        pair = (_lufs(waveform), _lufs(reference))
        if mode == "lufs" and None in pair:
            raise InvalidOption("The loop or its continuation is too short or too quiet for LUFS.", "Use auto or rms.")
    ours, theirs = pair
    if ours is None or theirs is None:
        ours, theirs = _decibel(_rms(waveform.stereo())), _decibel(_rms(reference.stereo()))
    if not (math.isfinite(ours) and math.isfinite(theirs)):
        return 1.0
    return float(10.0 ** (min(theirs - ours, _MOST_GAIN_DB) / 20.0))


def limit(samples: Samples, rate: int, *, ceiling: float = CEILING) -> Samples:
    """Turns down what exceeds the ceiling, and 20 ms around it smoothly; all channels alike.

    The gain at each sample is a weighted mean of lowest gains whose windows all contain that sample: it is smooth,
    and never above what the sample needs. Samples far from any peak are returned as they are.
    """
    from scipy.ndimage import minimum_filter1d, uniform_filter1d

    peaks = np.abs(samples).max(axis=1, initial=0.0).astype(np.float64)
    if peaks.max(initial=0.0) <= ceiling:
        return samples
    half = max(1, round(_LIMITER_SECONDS / 2 * rate))
    needed = np.minimum(1.0, ceiling / np.maximum(peaks, ceiling))
    lowest = minimum_filter1d(needed, 2 * half + 1, mode="nearest")
    # Two running means of `half + 1` reach `half` to each side together: a triangular weight.
    smooth = uniform_filter1d(uniform_filter1d(lowest, 2 * (half // 2) + 1), 2 * (half // 2) + 1)
    gain = np.minimum(smooth, needed)
    return np.asarray(np.clip(samples * gain[:, None], -ceiling, ceiling), np.float32)


def match(
    samples: Samples, rate: int, reference: Waveform, mode: Mode = "auto", *, ceiling: float = CEILING
) -> Samples:
    """Gives samples float32 [n, channels] the level of the reference by one gain, then limits peaks.

    One gain for the whole: nothing jumps. What the limiter takes off is made up for by more gain, as long as no peak
    would exceed the ceiling by more than 12 dB; from there on the result stays quieter than the reference.

    Args:
      mode: "lufs"; "rms"; "auto" (LUFS where both are long enough, else RMS); "none" (only the ceiling holds).
    """
    waveform = Waveform(samples, rate)
    untouched = ceiling / max(waveform.peak, 1e-9)
    most = min(untouched * 10.0 ** (_MOST_LIMITING_DB / 20.0), 10.0 ** (_MOST_GAIN_DB / 20.0))
    gain = min(matching_gain(waveform, reference, mode), most)
    for _ in range(_MOST_TRIES):
        limited = limit((waveform.samples * np.float32(gain)).astype(np.float32), rate, ceiling=ceiling)
        if not untouched < gain < most:
            break
        missing = matching_gain(Waveform(limited, rate), reference, mode)
        if missing < _CLOSE:
            break
        gain = min(gain * missing, most)
    return limited

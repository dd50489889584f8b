"""Numbers that say how close a decoded sound is to its original. numpy only; waveforms are float32 [n, 2]."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darius.audio import files
from darius.audio.loudness import measure
from darius.audio.mel import log_mel
from darius.audio.onsets import onset_strength
from darius.audio.resample import resample
from darius.audio.waveform import Waveform

RATE = 48_000
FLOOR_DB = -80.0


def compare(original: NDArray[np.float32], decoded: NDArray[np.float32]) -> dict[str, float]:
    """Log-mel distance (dB), loudness difference (LU; RMS dB), onset F1 within 30 ms and envelope correlation,
    and the waveform's signal-to-noise ratio below 500 Hz (dB)."""
    mels = [log_mel(sound, RATE, num_mels=128, floor_db=FLOOR_DB) for sound in (original, decoded)]
    levels = [measure(Waveform(np.ascontiguousarray(sound), RATE)) for sound in (original, decoded)]
    envelopes = [onset_strength(sound, RATE) for sound in (original, decoded)]
    rate = envelopes[0][1]
    return {
        "mel_db": float(np.abs(mels[0] - mels[1]).mean()),
        "loudness_lu": (levels[1].lufs or -70.0) - (levels[0].lufs or -70.0),
        "rms_db": levels[1].rms_db - levels[0].rms_db,
        "onset_f1": onset_f1(onset_times(envelopes[0][0], rate), onset_times(envelopes[1][0], rate)),
        "onset_correlation": float(np.corrcoef(envelopes[0][0], envelopes[1][0])[0, 1]),
        "low_snr_db": low_snr(original, decoded),
    }


def loops(folders: Sequence[Path]) -> list[tuple[str, NDArray[np.float32]]]:
    """The loops in some folders, stereo at 48 kHz, by name."""
    found = []
    for path in (path for folder in folders for path in sorted(folder.glob("*.flac"))):
        sound = files.load(path).stereo()
        found.append((path.stem, np.asarray(resample(sound.samples, sound.rate, RATE), np.float32)))
    return found


def onset_times(envelope: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
    """Peaks of an onset envelope in seconds: the largest within 30 ms, and well above the 200 ms around."""
    near, around = max(1, round(0.03 * rate)), max(1, round(0.1 * rate))
    padded = np.pad(envelope, around)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * around + 1)
    close = windows[:, around - near : around + near + 1]
    peaks = (envelope >= close.max(1)) & (envelope > windows.mean(1) + 0.1 * envelope.max()) & (envelope > 0)
    return np.flatnonzero(peaks) / rate


def onset_f1(wanted: NDArray[np.float64], found: NDArray[np.float64], tolerance: float = 0.03) -> float:
    """F1 score of onsets, each matched at most once, in order of time. 1 where neither has any."""
    if not len(wanted) and not len(found):
        return 1.0
    hits, first = 0, 0
    for time in wanted:
        while first < len(found) and found[first] < time - tolerance:
            first += 1
        if first < len(found) and found[first] <= time + tolerance:
            hits, first = hits + 1, first + 1
    return 2 * hits / (len(wanted) + len(found))


def low_snr(original: NDArray[np.float32], decoded: NDArray[np.float32], below: float = 500.0) -> float:
    """Signal-to-noise ratio of everything under `below` Hz: whether phase is kept where it is heard."""
    count = int(below * len(original) / RATE)
    wanted, made = (np.fft.rfft(sound, axis=0)[:count] for sound in (original, decoded))
    noise = np.square(np.abs(wanted - made)).sum()
    return float(10 * np.log10(np.square(np.abs(wanted)).sum() / max(float(noise), 1e-12)))


def usage(codes: NDArray[np.int32], size: int) -> NDArray[np.float64]:
    """Perplexity of each level's codes as a share of the codebook: float64 [levels]. codes: [frames, levels]."""
    shares = []
    for level in codes.T:
        share = np.bincount(level, minlength=size) / len(level)
        share = share[share > 0]
        shares.append(np.exp(-(share * np.log(share)).sum()) / size)
    return np.array(shares)

"""The tempo of a loop and how many whole bars it has: from what the file says, its length, and its onsets.

A loop is usually cut to whole bars, so its length allows only a few tempi; of these the right one is where the onsets
gather on the sixteenth grid and repeat after a beat, two and four. Where none of them fits, the loop is not cut to
whole bars: then the grid alone decides, and the bars that are whole are used.
"""

from __future__ import annotations

import dataclasses
import math
import os
from fractions import Fraction

from darius.audio import hints
from darius.audio.bars import Bpm, bar_samples, exact_bpm
from darius.audio.candidates import TempoCandidate, length_tempo, rate_tempi
from darius.audio.waveform import Waveform
from darius.errors import BadAudio, InvalidOption

WHOLE_SECONDS = 0.020
"""A loop is cut to whole bars if its length is within this of them."""
MAX_BEATS_PER_BAR = 32
_SURE_FIT = 0.35
"""A fit from which on there is no doubt that there is a rhythm (the six example loops have 0.4 to 0.9)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TempoEstimate:
    """The tempo of a loop.

    Attributes:
      bpm: beats per minute; a whole or half number where the length is within 0.1 % of it.
      exact_bpm: the tempo at which the whole length is exactly `used_bars` bars; equals `bpm` if not `whole`.
      bars: the loop's length in bars at `bpm`.
      whole: the loop is cut to whole bars, within 20 ms.
      used_bars: whole bars that can be used, from the start; at least 1.
      confidence: 0 to 1; 1 when the tempo was given.
      source: "given", "file name", "file tag", "length and onsets" or "onsets".
      candidates: what the length and the onsets say, best first (empty if the tempo was given).
    """

    bpm: Fraction
    exact_bpm: Fraction
    bars: float
    whole: bool
    used_bars: int
    beats_per_bar: int
    confidence: float
    source: str
    candidates: tuple[TempoCandidate, ...] = ()


def find_tempo(
    waveform: Waveform,
    *,
    path: str | os.PathLike[str] | None = None,
    beats_per_bar: int = 4,
    bpm: Bpm | None = None,
) -> TempoEstimate:
    """Finds a loop's tempo and bars.

    `bpm` wins when given; then a tempo in the file name; then the file's own tag (ACID chunk); then the length and the
    onsets.

    Args:
      path: where the loop came from, for its name and tag.

    Raises:
      InvalidOption: `bpm` or `beats_per_bar` is out of range.
      BadAudio: not even one bar fits into the loop.
    """
    if not 1 <= beats_per_bar <= MAX_BEATS_PER_BAR:
        raise InvalidOption(
            f"A bar cannot have {beats_per_bar} beats.", f"Use 1 to {MAX_BEATS_PER_BAR}, for example 4."
        )
    if bpm is not None:
        return _stated(waveform, exact_bpm(bpm), beats_per_bar, 1.0, "given", ())
    candidates = rate_tempi(waveform, beats_per_bar)
    for tempo, confidence, source in _hints(waveform, path, beats_per_bar):
        if _fitting_bars(waveform, tempo, beats_per_bar) >= 1:
            agreed = min(1.0, confidence + 0.1 * _is_whole(waveform, tempo, beats_per_bar))
            return _stated(waveform, tempo, beats_per_bar, agreed, source, candidates)
    if not candidates:
        raise BadAudio(
            f"The loop is too short ({waveform.duration:.2f} s) for a bar of {beats_per_bar} beats.",
            "Give its tempo with --bpm, or fewer beats with --beats-per-bar.",
        )
    return _heard(waveform, beats_per_bar, candidates)


def _hints(waveform: Waveform, path: str | os.PathLike[str] | None, beats: int) -> list[tuple[Fraction, float, str]]:
    """(tempo, confidence, source) of each thing that the file says, most trusted first."""
    if path is None:
        return []
    bare = next((n for n in hints.bare_numbers(path) if _is_whole(waveform, n, beats)), None)
    said = [
        (hints.name_tempo(path), 0.9, "file name"),
        (bare, 0.8, "file name"),
        (hints.tag_tempo(path), 0.85, "file tag"),
    ]
    return [(tempo, confidence, source) for tempo, confidence, source in said if tempo is not None]


def _bars(waveform: Waveform, bpm: Fraction, beats: int) -> Fraction:
    return Fraction(len(waveform), waveform.rate) * bpm / (60 * beats)


def _is_whole(waveform: Waveform, bpm: Fraction, beats: int) -> bool:
    count = round(_bars(waveform, bpm, beats))
    miss = abs(len(waveform) - bar_samples(count, beats, bpm, waveform.rate))
    return count >= 1 and miss <= WHOLE_SECONDS * waveform.rate


def _fitting_bars(waveform: Waveform, bpm: Fraction, beats: int) -> int:
    bars = _bars(waveform, bpm, beats)
    return round(bars) if _is_whole(waveform, bpm, beats) else math.floor(bars)


def _stated(
    waveform: Waveform,
    bpm: Fraction,
    beats: int,
    confidence: float,
    source: str,
    candidates: tuple[TempoCandidate, ...],
) -> TempoEstimate:
    used = _fitting_bars(waveform, bpm, beats)
    if used < 1:
        raise BadAudio(
            f"The loop is shorter than one bar: {waveform.duration:.2f} s, and {beats} beats at {float(bpm):g} bpm "
            f"are {60 * beats / float(bpm):.2f} s.",
            "Give another tempo with --bpm, or fewer beats with --beats-per-bar.",
        )
    whole = _is_whole(waveform, bpm, beats)
    return TempoEstimate(
        bpm=bpm,
        exact_bpm=length_tempo(waveform, used, beats) if whole else bpm,
        bars=float(_bars(waveform, bpm, beats)),
        whole=whole,
        used_bars=used,
        beats_per_bar=beats,
        confidence=confidence,
        source=source,
        candidates=candidates,
    )


def _heard(waveform: Waveform, beats: int, candidates: tuple[TempoCandidate, ...]) -> TempoEstimate:
    best = candidates[0]
    rivals = [other.fit for other in candidates[1:] if not other.is_octave_of(best)]
    doubt = 0.5 * max(rivals, default=0.0) / best.fit if best.fit > 0 else 1.0
    confidence = round(min(1.0, best.fit / _SURE_FIT) * (1.0 - doubt), 2)
    source = "length and onsets" if best.whole else "onsets"
    return _stated(waveform, best.bpm, beats, confidence, source, candidates)

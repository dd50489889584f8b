"""Which tempi a loop may have: those at which it is whole bars, and those its onsets suggest by themselves."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

import numpy as np

from darius.audio.bars import bar_samples
from darius.audio.rhythm import Rhythm, grid_fit, tempo_fit, usual
from darius.audio.waveform import Waveform

SLOWEST, FASTEST = 55.0, 200.0
"""Tempi that are looked for, in bpm; a file or a user may state others."""
MAX_WHOLE_BARS = 64
SNAP = Fraction(1, 1000)
"""A tempo this near to a whole or half bpm is taken to be it: loops are often a few samples too long."""
SNAP_SECONDS = 0.020
"""But not if the loop would then be longer or shorter than its bars by more than this."""
_FREE_SNAP = Fraction(25, 10_000)
"""Onsets alone tell a tempo less exactly than a length does."""
_FREE_TRUST = 0.75
"""Most loops are cut to whole bars: other tempi need to fit better by this much."""
_LENGTH_ALONE = 0.03
"""What the length says without any onsets: that a usual tempo with a usual number of bars is likeliest."""
_MOST = 8
_SAME_TEMPO = 0.02
"""Candidates nearer than this are one, and the better is kept."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TempoCandidate:
    """A tempo that a loop may have.

    Attributes:
      bpm: beats per minute, snapped to a whole or half number when very near.
      bars: the loop's length in bars at that tempo.
      whole: the candidate comes from the loop being whole bars.
      fit: how well it fits, 0 to about 1.5.
    """

    bpm: Fraction
    bars: float
    whole: bool
    fit: float

    def is_octave_of(self, other: TempoCandidate) -> bool:
        """The same, half, double, a quarter or four times the tempo, within 2 %."""
        octaves = math.log2(self.bpm / other.bpm)
        return abs(octaves - round(octaves)) < 0.03


def length_tempo(waveform: Waveform, bars: int, beats_per_bar: int) -> Fraction:
    """The tempo at which the length is exactly `bars` bars."""
    return Fraction(bars * beats_per_bar * 60 * waveform.rate, len(waveform))


def snapped_tempo(waveform: Waveform, bars: int, beats_per_bar: int) -> Fraction:
    """The tempo that whoever cut the loop probably meant.

    The roundest decimal that gives the length to the sample; else a whole, else a half bpm within 0.1 % (and 20 ms
    over the loop); else the exact quotient.
    """
    exact = length_tempo(waveform, bars, beats_per_bar)
    for digits in (1, 2, 10, 100):
        tempo = Fraction(round(exact * digits), digits)
        if abs(bar_samples(bars, beats_per_bar, tempo, waveform.rate) - len(waveform)) <= 1:
            return tempo
    for digits in (1, 2):
        tempo = Fraction(round(exact * digits), digits)
        miss = abs(bar_samples(bars, beats_per_bar, tempo, waveform.rate) - len(waveform))
        if abs(tempo / exact - 1) <= SNAP and miss <= SNAP_SECONDS * waveform.rate:
            return tempo
    return exact


def rate_tempi(waveform: Waveform, beats_per_bar: int) -> tuple[TempoCandidate, ...]:
    """The tempi that a loop may have, the best first; empty if it is too short for a bar at any."""
    found = _whole_tempi(waveform, beats_per_bar) + _free_tempi(waveform, beats_per_bar)
    kept: list[TempoCandidate] = []
    for candidate in sorted(found, key=lambda c: -c.fit):
        if all(abs(candidate.bpm / other.bpm - 1) > _SAME_TEMPO for other in kept):
            kept.append(candidate)
    return tuple(kept[:_MOST])


def _whole_tempi(waveform: Waveform, beats: int) -> list[TempoCandidate]:
    rhythm = Rhythm.of(waveform, circular=True)
    found = []
    for bars in range(1, MAX_WHOLE_BARS + 1):
        if SLOWEST <= float(length_tempo(waveform, bars, beats)) <= FASTEST:
            bpm = snapped_tempo(waveform, bars, beats)
            fit = (tempo_fit(rhythm, float(bpm)) + _LENGTH_ALONE * usual(float(bpm))) * _usual_count(bars)
            found.append(TempoCandidate(bpm=bpm, bars=float(bars), whole=True, fit=round(fit, 4)))
    return found


def _usual_count(bars: int) -> float:
    """How usual it is that a loop has so many bars."""
    if bars & (bars - 1) == 0:
        return 1.0
    return 0.85 if bars % 2 == 0 or bars == 3 else 0.7


def _free_tempi(waveform: Waveform, beats: int) -> list[TempoCandidate]:
    rhythm = Rhythm.of(waveform, circular=False)
    tempi = np.arange(SLOWEST, FASTEST, 0.02)
    fits = grid_fit(rhythm, tempi)
    peaks = np.flatnonzero((fits[1:-1] > fits[:-2]) & (fits[1:-1] >= fits[2:])) + 1
    found = []
    for place in sorted(peaks, key=lambda p: -fits[p])[: 2 * _MOST]:
        heard = Fraction(round(float(tempi[place]), 2)).limit_denominator(100)
        bpm = heard
        if abs(round(heard) / heard - 1) <= _FREE_SNAP:
            bpm = Fraction(round(heard))
        bars = float(Fraction(len(waveform), waveform.rate) * bpm / (60 * beats))
        if bars >= 1:
            fit = _FREE_TRUST * tempo_fit(rhythm, float(heard))
            found.append(TempoCandidate(bpm=bpm, bars=bars, whole=False, fit=round(fit, 4)))
    return found

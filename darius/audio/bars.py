"""Musical time in exact fractions: bars to samples, bar lines, and loops fitted to whole codec frames.

Knows arithmetic only. Positions are computed from the start and rounded once, so nothing drifts however long a
stream runs.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction

from darius.errors import InvalidOption

MIN_BPM = 20
MAX_BPM = 400

Bpm = Fraction | float | int | str
"""A tempo as people write it. A float means its shortest decimal: 93.4 is 467/5, not the nearest binary fraction."""


def exact_bpm(bpm: Bpm) -> Fraction:
    """The tempo as an exact fraction.

    Args:
      bpm: a fraction, a number, or text such as "93.5" or "280/3".

    Raises:
      InvalidOption: not a number, or outside 20 to 400 beats a minute.
    """
    hint = f"Give beats per minute from {MIN_BPM} to {MAX_BPM}, for example 120 or 93.5."
    try:
        exact = Fraction(repr(float(bpm))) if isinstance(bpm, float) else Fraction(bpm)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise InvalidOption(f"'{bpm}' is not a tempo.", hint) from None
    if not MIN_BPM <= exact <= MAX_BPM:
        raise InvalidOption(f"A tempo of {bpm} bpm is out of range.", hint)
    return exact


def bar_seconds(bars: Fraction | int, beats_per_bar: int, bpm: Bpm) -> Fraction:
    """How long `bars` bars last, in seconds, exactly."""
    return Fraction(bars) * beats_per_bar * 60 / exact_bpm(bpm)


def bar_samples(bars: Fraction | int, beats_per_bar: int, bpm: Bpm, rate: int) -> int:
    """How many samples `bars` bars are: the exact product, rounded once (half to even)."""
    return round(bar_seconds(bars, beats_per_bar, bpm) * rate)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BarGrid:
    """Bar lines of a steady tempo at a sample rate; bar 0 starts at sample 0."""

    bpm: Fraction
    beats_per_bar: int = 4
    rate: int = 48_000

    def __post_init__(self) -> None:
        object.__setattr__(self, "bpm", exact_bpm(self.bpm))
        if self.beats_per_bar < 1:
            raise InvalidOption(f"A bar of {self.beats_per_bar} beats is not possible.", "Give 1 beat or more.")

    @property
    def seconds_per_bar(self) -> Fraction:
        return bar_seconds(1, self.beats_per_bar, self.bpm)

    @property
    def samples_per_bar(self) -> Fraction:
        """Exact, rarely whole."""
        return self.seconds_per_bar * self.rate

    def position(self, bar: Fraction | int) -> int:
        """The sample at which bar number `bar` starts, within half a sample of the exact place."""
        return round(self.samples_per_bar * bar)

    def length(self, first: int, bars: int = 1) -> int:
        """Samples from the start of bar `first` to the start of bar `first + bars`; lengths add up to positions."""
        return self.position(first + bars) - self.position(first)

    def lines(self, bars: int) -> list[int]:
        """The `bars + 1` bar lines of that many bars, the last at the end of the last bar."""
        return [self.position(bar) for bar in range(bars + 1)]

    def bar_at(self, sample: int) -> int:
        """The bar that is running at `sample`."""
        guess = int(sample / self.samples_per_bar)
        return guess + 1 if self.position(guess + 1) <= sample else guess


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrameGrid:
    """A loop fitted to codec frames: `repeats` of the loop, resampled by `ratio`, are exactly `frames` frames."""

    frames: int
    repeats: int
    ratio: Fraction
    """Fitted length over true length; multiply lengths (or the source rate's inverse) by it. Within the limit of 1."""

    @property
    def change(self) -> float:
        """How much tempo and pitch move, as a signed part of one: +0.003 is 0.3 % longer and lower."""
        return float(self.ratio - 1)


def frame_grid(
    loop_seconds: Fraction, bars: int, *, frame_rate: int = 25, limit: Fraction = Fraction(4, 1000)
) -> FrameGrid:
    """Whole codec frames for a loop, changing its length by at most `limit`.

    Every bar becomes whole frames where the limit allows; otherwise the whole loop; otherwise the fewest repeats of
    the loop that come close enough (5 s always do at 25 frames/s and 0.4 %).

    Args:
      loop_seconds: exact length of the loop.
      bars: how many whole bars it has.
    """
    if loop_seconds <= 0 or bars < 1:
        raise ValueError(f"a loop of {loop_seconds} s and {bars} bars has no grid")
    exact = Fraction(loop_seconds) * frame_rate
    by_bar = bars * round(exact / bars)
    if by_bar and abs(by_bar / exact - 1) <= limit:
        return FrameGrid(frames=by_bar, repeats=1, ratio=by_bar / exact)
    repeats = 1
    while abs(round(exact * repeats) / (exact * repeats) - 1) > limit:
        repeats += 1
    frames = round(exact * repeats)
    return FrameGrid(frames=frames, repeats=repeats, ratio=frames / (exact * repeats))

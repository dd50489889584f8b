"""A loop got ready to be encoded, all of which a thread without the device can do. Knows no stream."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import TYPE_CHECKING

from darius.audio.waveform import Samples, Waveform
from darius.beneath import Beneath, choose, loop_and_words
from darius.context import stretch_of, whole_bars
from darius.jam.settings import JamSettings
from darius.style.mix import StyleRequest

if TYPE_CHECKING:
    from darius.engine import Model


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class HeardLoop:
    """A loop's whole bars, and what the codec is to hear of them.

    Attributes:
      bars: stereo, at the loop's own rate.
      first_bar: whose level the jam takes.
      stretch: seconds of the model per second of music.
      beneath: what is heard of the words.
      sound: at the codec's rate, see `loop_and_words`.
    """

    bars: Waveform
    first_bar: Waveform
    stretch: Fraction
    beneath: Beneath | None
    sound: Samples

    @classmethod
    def of(cls, model: Model, settings: JamSettings, loop: Waveform, style: StyleRequest) -> HeardLoop:
        """Any loop, cut as the settings say. Raises BadAudio if nothing is in it."""
        bars, count = whole_bars(loop, settings.seconds_per_bar)
        grid = settings.timing == "grid" or (settings.timing == "auto" and model.prefers_frame_grid)
        stretch = stretch_of(count, settings.seconds_per_bar, model.frame_rate, grid=grid)
        words = choose(model, style, bpm=settings.bpm, beats_per_bar=settings.beats_per_bar)
        sound = loop_and_words(model, bars, words, bpm=settings.bpm, stretch=stretch, end=Fraction(0))
        first = bars.cut(0, round(Fraction(len(bars), count)))
        return cls(bars=bars, first_bar=first, stretch=stretch, beneath=words, sound=sound)

"""A loop got ready to be encoded, all of which a thread without the device can do. Knows no stream and no style."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import TYPE_CHECKING

from darius.audio.waveform import Samples, Waveform
from darius.context import loop_sound, stretch_of, whole_bars
from darius.jam.settings import JamSettings

if TYPE_CHECKING:
    from darius.engine import Model


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class HeardLoop:
    """A loop's whole bars, and what the codec is to hear of them.

    Attributes:
      bars: stereo, at the loop's own rate.
      first_bar: whose level the jam takes.
      stretch: seconds of the model per second of music.
      sound: at the codec's rate, see `loop_sound`.
    """

    bars: Waveform
    first_bar: Waveform
    stretch: Fraction
    sound: Samples

    @classmethod
    def of(cls, model: Model, settings: JamSettings, loop: Waveform) -> HeardLoop:
        """Any loop, cut as the settings say. Raises BadAudio if nothing is in it."""
        bars, count = whole_bars(loop, settings.seconds_per_bar)
        grid = settings.timing == "grid" or (settings.timing == "auto" and model.prefers_frame_grid)
        stretch = stretch_of(count, settings.seconds_per_bar, model.frame_rate, grid=grid)
        sound = loop_sound(model, bars, stretch=stretch, end=Fraction(0))
        first = bars.cut(0, round(Fraction(len(bars), count)))
        return cls(bars=bars, first_bar=first, stretch=stretch, sound=sound)

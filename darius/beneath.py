"""Words that are heard: a groove beneath the loop, for a model that follows what it hears more than its style.

A large model plays words that only its style codes say. A small one goes on with what it heard, so a package that has
openings lets it hear the one that is nearest to the words, beneath the loop, in time with it, in the words' share of
the style. A model without openings hears the loop alone. Knows no stream, no network and no device.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from darius import openings
from darius.audio.bars import Bpm
from darius.audio.waveform import Samples, Waveform
from darius.context import loop_sound
from darius.style.mix import StyleRequest

if TYPE_CHECKING:
    from darius.engine import Model
    from darius.openings import Opening

NEAR = 0.5
"""How near an opening's words must be (cosine): what no opening is near to is left to the style codes."""
MOST = 0.9
"""The largest share: something of a loop is always heard."""


class Beneath(NamedTuple):
    """An opening and its share of the power of what is heard, in tenths: a small move of a slider changes nothing."""

    opening: Opening
    share: float


def choose(model: Model, style: StyleRequest, *, bpm: Bpm | None, beats_per_bar: int) -> Beneath | None:
    """What is to be heard of the words; None where there are none, no opening is near, or the music is not in 4/4."""
    words = math.fsum(weight for _, weight in style.texts)
    if not model.openings or not words or bpm is None or beats_per_bar != openings.BEATS_PER_BAR:
        return None
    opening, nearness = openings.nearest(model.openings, model, style)
    share = round(min(words / (words + style.loop_weight), MOST), 1)
    return Beneath(opening, share) if nearness >= NEAR and share else None


def loop_and_words(
    model: Model, loop: Waveform, beneath: Beneath | None, *, bpm: Bpm | None, stretch: Fraction, end: Fraction
) -> Samples:
    """`loop_sound` with the opening in it, as loud as the loop alone; downbeats fall together.

    Args:
      end: seconds of music into the loop, which began on a downbeat, at which the window ends.
    """
    sound = loop_sound(model, loop, stretch=stretch, end=end)
    if beneath is None:
        return sound
    groove, beats = beneath.opening.load()
    played = openings.at_tempo(groove.stereo(), beats, bpm)
    words = loop_sound(model, played, stretch=stretch, end=end)
    level = _rms(sound) / max(_rms(words), 1e-9)
    mixed = math.sqrt(1 - beneath.share) * sound + math.sqrt(beneath.share) * level * words
    return np.asarray(mixed, np.float32)


def _rms(samples: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))

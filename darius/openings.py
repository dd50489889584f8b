"""What music from words alone goes on from, where a model needs something: short grooves, chosen by the words.

A large model makes music out of silence; a small one takes silence for the music and goes on being silent. So a package
may have openings: loops in 4/4, each named by the words that it is for. A model without any begins in silence, as the
original does. Knows files and styles; knows no weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from darius.audio.bars import Bpm, exact_bpm
from darius.audio.waveform import Waveform
from darius.context import loop_codes, stretch_of
from darius.style.mix import StyleRequest, style_vector
from darius.tokens import Codes

if TYPE_CHECKING:
    from darius.engine import Model

SUFFIX = ".ogg"
BEATS_PER_BAR = 4


class Opening(NamedTuple):
    """A loop of whole bars that states its tempo; its file's name is `words`."""

    words: str
    path: Path

    def load(self) -> tuple[Waveform, int]:
        """The loop, and how many beats it has. Raises BadAudio."""
        from darius.audio import files

        loop = files.load(self.path)
        return loop, round(loop.duration * (files.tempo_tag(self.path) or 120.0) / 60)


def of_folder(folder: Path) -> tuple[Opening, ...]:
    """The openings in a folder, by their words; none where there is no such folder."""
    return tuple(Opening(path.stem, path) for path in sorted(folder.glob(f"*{SUFFIX}")))


def choose(openings: Sequence[Opening], model: Model, style: StyleRequest, seed: int) -> Opening:
    """The opening whose words are nearest to the style's; without words, the seed's.

    Args:
      openings: at least one.
    """
    opening, nearness = nearest(openings, model, style)
    return opening if nearness > -1 else openings[seed % len(openings)]


def nearest(openings: Sequence[Opening], model: Model, style: StyleRequest) -> tuple[Opening, float]:
    """The opening whose words are nearest to the style's, and how near: their cosine; -1 where the style has no words.

    Args:
      openings: at least one.
    """
    wanted = style_vector(StyleRequest(texts=style.texts, loop_weight=0.0), model.style)
    if wanted is None or not np.any(wanted):
        return openings[0], -1.0
    known = model.style.embed_text([opening.words for opening in openings])
    lengths = np.linalg.norm(known, axis=1) * np.linalg.norm(wanted)
    nearness = known @ wanted / np.maximum(lengths, 1e-9)
    best = int(np.argmax(nearness))
    return openings[best], float(nearness[best])


def context(model: Model, style: StyleRequest, seed: int, *, bpm: Bpm | None = None, stretch: Fraction) -> Codes:
    """What a stream without a loop continues, int32 [up to memory_frames, levels]: silence, or an opening to its end.

    Args:
      bpm: the music's tempo, which the opening takes by being played faster or slower; None for the opening's own.
      stretch: seconds of the model per second of music.
    """
    if not model.openings:
        return model.nothing()
    loop, beats = choose(model.openings, model, style, seed).load()
    return loop_codes(model, at_tempo(loop.stereo(), beats, bpm), stretch=stretch, end=Fraction(0))


def grid_stretch(model: Model, bpm: Bpm) -> Fraction:
    """The stretch under which two bars of an opening are whole frames; 1 for models that need neither."""
    bar = Fraction(60 * BEATS_PER_BAR) / exact_bpm(bpm)
    return stretch_of(2, bar, model.frame_rate, grid=bool(model.openings) and model.prefers_frame_grid)


def at_tempo(loop: Waveform, beats: int, bpm: Bpm | None) -> Waveform:
    """The loop at a tempo, or at half or twice of it, whichever changes its pitch least."""
    if bpm is None:
        return loop
    faster = float(exact_bpm(bpm)) * loop.duration / (60 * beats)
    faster *= 2.0 ** -np.round(np.log2(faster))
    return Waveform(loop.samples, round(loop.rate * faster))

"""Music from words alone: a small model goes on from a groove in their style, others from silence as ever."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest
from jam.small_model import small_model

from darius import openings, session
from darius.audio.onsets import onset_strength
from darius.batching import Advance
from darius.context import silence_codes, stretch_of
from darius.jam import Jam, JamSettings
from darius.style.mix import StyleRequest, WeightedText

if TYPE_CHECKING:
    from darius.model import Model

SILENT, AUDIBLE = -60.0, -35.0
"""dB of full scale, rms: what nobody hears, and what everybody does."""


def words(*texts: str) -> StyleRequest:
    return StyleRequest(texts=tuple(WeightedText(text) for text in texts))


def level(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-12))


def stream(model: Model, style: StyleRequest, chunks: int) -> list[np.ndarray]:
    """The first chunks of a stream of words alone, 2 s each."""
    jam, heard = Jam.start(model, JamSettings(bpm=None, loudness="none"), style=style, seed=1), []
    while len(heard) < chunks:
        while jam.frames_needed():
            streams, knobs = jam.call()
            samples, codes, after = session.advance(model, streams, [knobs])
            jam.feed(Advance(samples[0], codes[0], after))
        chunk = jam.cut()
        assert chunk is not None
        heard.append(chunk.samples)
    return heard


def test_words_alone_are_heard_with_tiny(tiny: Model) -> None:
    """It was trained on music that goes on: after silence it plays silence (-97 dB of full scale, measured)."""
    without = dataclasses.replace(tiny, openings=())
    assert level(stream(without, words("acid house"), 1)[0]) < SILENT
    for chunk in stream(tiny, words("acid house"), 2):
        assert level(chunk) > AUDIBLE


def test_the_opening_is_the_one_whose_words_are_nearest(tiny: Model) -> None:
    def chosen(*texts: str, seed: int = 0) -> str:
        return openings.choose(tiny.openings, tiny, words(*texts), seed).words

    assert [chosen(opening.words) for opening in tiny.openings] == [opening.words for opening in tiny.openings]
    assert (chosen("jazz piano"), chosen("chill lofi beats"), chosen("reggae dub")) == ("jazz trio", "lofi", "dub")
    assert chosen("techno", "techno", "lofi") == "techno"  # the mixture counts


def test_without_words_the_seed_chooses(tiny: Model) -> None:
    chosen = {openings.choose(tiny.openings, tiny, StyleRequest(), seed).words for seed in range(len(tiny.openings))}
    assert len(chosen) == len(tiny.openings) > 20


def test_every_opening_is_two_bars_of_whole_frames_at_a_common_level(tiny: Model) -> None:
    for opening in tiny.openings:
        loop, beats = opening.load()
        assert beats == 8, opening
        frames = loop.duration * tiny.frame_rate
        assert abs(frames - round(frames)) < 1e-3
        assert level(loop.samples) == pytest.approx(20 * np.log10(0.12), abs=1.0)


@pytest.mark.parametrize("bpm", ["60", "97.531", "120", "174"])
def test_an_opening_takes_the_musics_tempo(tiny: Model, bpm: str) -> None:
    """Its pitch changes by less than an octave's half: it may be played at half or twice the tempo."""
    for opening in tiny.openings:
        loop, beats = opening.load()
        played = openings.at_tempo(loop, beats, bpm)
        ratio = played.rate / loop.rate
        assert 0.7 < ratio < 1.42
        times = played.duration / (beats * 60 / float(bpm))
        assert np.log2(times) == pytest.approx(round(np.log2(times)), abs=1e-4)


def test_its_beat_is_that_tempos_in_the_context(tiny: Model) -> None:
    """Heard through the codec: onsets of a stepping groove repeat after its two bars."""
    stretch = openings.grid_stretch(tiny, "125")
    codes = openings.context(tiny, words("techno"), 0, bpm="125", stretch=stretch)
    assert codes.shape == (tiny.memory_frames, tiny.levels) and codes.min() >= 0
    sound = np.asarray(tiny.codec.decode(codes[None]))[0]
    envelope, rate = onset_strength(sound, tiny.codec.sample_rate)
    lag = round(8 * 60 / 125 * float(stretch) * rate)
    assert np.corrcoef(envelope[:-lag], envelope[lag:])[0, 1] > 0.8


def test_two_bars_are_whole_frames_on_the_models_clock(tiny: Model) -> None:
    for bpm in ("87.3", "133.7", "171"):
        stretch = openings.grid_stretch(tiny, bpm)
        frames = 8 * 60 / Fraction(bpm) * stretch * tiny.frame_rate
        assert frames == round(frames) and abs(stretch - 1) <= Fraction(4, 1000)
        assert stretch == stretch_of(2, 240 / Fraction(bpm), tiny.frame_rate, grid=True)


def test_a_model_without_openings_begins_in_silence_as_the_original_does() -> None:
    model = small_model()
    assert model.openings == () and openings.grid_stretch(model, "133.7") == 1
    codes = openings.context(model, words("techno"), 0, bpm="120", stretch=Fraction(1))
    assert np.array_equal(codes, silence_codes(model))

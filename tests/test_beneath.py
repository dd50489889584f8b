"""Words that are heard: a groove beneath the loop, for a model that follows what it hears; others hear a loop only."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darius import beneath, openings, piece
from darius.audio import files
from darius.audio.tempo import find_tempo
from darius.audio.waveform import Waveform
from darius.beneath import Beneath
from darius.context import loop_sound
from darius.continuation import ContinuationOptions
from darius.jam import Jam, JamSettings
from darius.style.mix import StyleRequest, WeightedText

if TYPE_CHECKING:
    from darius.model import Model

SETTINGS = JamSettings(bpm="120", bars_per_chunk=1, rate=44_100)


def asked(*texts: str, loop_weight: float = 1.0) -> StyleRequest:
    return StyleRequest(texts=tuple(WeightedText(text) for text in texts), loop_weight=loop_weight)


def chosen(model: Model, style: StyleRequest, bpm: str | None = "120", beats: int = 4) -> Beneath | None:
    return beneath.choose(model, style, bpm=bpm, beats_per_bar=beats)


def heard(model: Model, loop: Waveform, style: StyleRequest, end: Fraction = Fraction(0)) -> np.ndarray:
    words = chosen(model, style)
    return beneath.loop_and_words(model, loop, words, bpm="120", stretch=Fraction(1), end=end)


@pytest.mark.parametrize(("loop_weight", "share"), [(0.0, 0.9), (0.3, 0.8), (1.0, 0.5), (4.0, 0.2)])
def test_words_are_heard_in_their_share_of_the_style(tiny: Model, loop_weight: float, share: float) -> None:
    found = chosen(tiny, asked("acid house", loop_weight=loop_weight))
    assert found is not None
    assert (found.opening.words, found.share) == ("acid house", share)


def test_what_cannot_be_heard_is_left_to_the_style_codes(tiny: Model) -> None:
    without = dataclasses.replace(tiny, openings=())
    assert chosen(without, asked("acid house")) is None  # as every larger model
    assert chosen(tiny, asked()) is None
    assert chosen(tiny, asked("xyzzy")) is None  # no opening is near
    assert chosen(tiny, StyleRequest(texts=(WeightedText("acid house", 0.0),))) is None
    assert chosen(tiny, asked("acid house", loop_weight=30.0)) is None
    assert chosen(tiny, asked("acid house"), beats=3) is None  # the openings are in 4/4
    assert chosen(tiny, asked("acid house"), bpm=None) is None


def test_without_words_the_loop_is_heard_as_it_is(tiny: Model, loop: Path) -> None:
    music = files.load(loop)
    alone = loop_sound(tiny, music, stretch=Fraction(1), end=Fraction(0))
    np.testing.assert_array_equal(heard(tiny, music, asked()), alone)


@settings(max_examples=8, deadline=None)
@given(end=st.fractions(0, 16, max_denominator=16), loop_weight=st.sampled_from([0.0, 0.3, 1.0, 3.0]))
def test_the_groove_lies_on_the_loops_bars_and_adds_no_level(tiny: Model, end: Fraction, loop_weight: float) -> None:
    """A click on each downbeat of a loop of one bar; what is heard minus the click's share is the opening's."""
    bar = np.zeros((88_200, 2), np.float32)
    bar[:64] = 0.9
    style = asked("house", loop_weight=loop_weight)
    mixed, words = heard(tiny, Waveform(bar, 44_100), style, end), chosen(tiny, style)
    assert words is not None
    alone = loop_sound(tiny, Waveform(bar, 44_100), stretch=Fraction(1), end=end)
    groove, beats = words.opening.load()
    placed = loop_sound(tiny, openings.at_tempo(groove.stereo(), beats, "120"), stretch=Fraction(1), end=end)
    rest = mixed - np.sqrt(1 - words.share) * alone
    likeness = np.vdot(rest, placed) / np.linalg.norm(rest) / np.linalg.norm(placed)
    assert likeness > 0.999
    assert np.linalg.norm(rest) == pytest.approx(np.sqrt(words.share) * np.linalg.norm(alone), rel=1e-3)


def test_a_piece_with_words_goes_on_from_both(tiny: Model, loop: Path) -> None:
    music = files.load(loop)
    tempo = find_tempo(music, path=loop)

    def context(style: StyleRequest) -> np.ndarray:
        options = ContinuationOptions(bars=1, style=style)
        plan = piece.plan(tiny, options, loop=music, tempo=tempo)
        return piece.Piece.start(tiny, plan, options, style=None, seeds=[0]).call()[0].context[0]

    alone, told = context(asked()), context(asked("drum and bass", loop_weight=0.3))
    coarse = slice(None), slice(0, 4)
    assert np.mean(alone[coarse] != told[coarse]) > 0.5
    np.testing.assert_array_equal(alone, context(asked("xyzzy")))


def test_a_jam_hears_words_that_come_while_it_plays_and_words_that_go(tiny: Model, loop: Path) -> None:
    jam = Jam.start(tiny, SETTINGS, loop=files.load(loop), seed=1)

    def context() -> np.ndarray:
        jam.settle()
        return np.array(jam.call()[0].context[0])

    alone = context()
    jam.update(style=asked("drum and bass", loop_weight=0.3))
    told = context()
    assert np.mean(told != alone) > 0.5
    jam.update(style=asked("drum and bass", loop_weight=0.32))  # a small move of a slider
    np.testing.assert_array_equal(context(), told)
    jam.update(style=asked())
    np.testing.assert_array_equal(context(), alone)

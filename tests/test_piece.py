"""A piece that someone else advances: the same music as on a device of its own, and the levels a server promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from jam.small_model import small_model

from darius import piece
from darius.audio.tempo import find_tempo
from darius.audio.waveform import Waveform
from darius.batching import Conductor
from darius.continuation import ContinuationOptions, continue_loop
from darius.errors import InvalidOption

if TYPE_CHECKING:
    from darius.model import Model


@pytest.fixture(scope="module")
def model() -> Model:
    return small_model()


@pytest.fixture(scope="module")
def loop() -> Waveform:
    rng = np.random.default_rng(5)
    beat = np.exp(-np.arange(4000) / 400) * rng.normal(size=4000) * 0.4
    return Waveform(np.tile(beat, 8).astype(np.float32), 8000)  # 8 beats at 120 bpm


def take(model: Model, options: ContinuationOptions, loop: Waveform | None) -> piece.Take:
    """A piece advanced by a conductor, as a server does it."""
    tempo = None if loop is None else find_tempo(loop, bpm=options.bpm)
    plan = piece.plan(model, options, loop=loop, tempo=tempo)
    conductor = Conductor(model, buckets=(1,))
    style = piece.style_codes(model, plan, options)
    made = conductor.run(lambda: piece.Piece.start(model, plan, options, style=style, seeds=[options.seed or 0]))
    playing = made.result(600)
    while not playing.complete:
        playing.feed(conductor.advance(*playing.call()).result(600))
    assert conductor.close(600)
    return playing.finish()[0]


def test_a_conductor_makes_the_same_piece_as_continue_loop(model: Model, loop: Waveform) -> None:
    options = ContinuationOptions(bars=1, bpm=120, seed=3, guidance=0.0)
    alone = continue_loop(model, loop, options).waveforms[0]
    assert np.array_equal(take(model, options, loop).waveform.samples, alone.samples)


def test_the_first_bars_gain_holds_for_all_and_peaks_keep_the_headroom(model: Model, loop: Waveform) -> None:
    options = ContinuationOptions(bars=2, bpm=120, seed=3, level_of="first bar", loudness="rms", headroom_db=3)
    result = take(model, options, loop)
    assert result.waveform.peak <= 10 ** (-3 / 20) * 1.0001
    untouched = take(model, ContinuationOptions(bars=2, bpm=120, seed=3, level_of="first bar", loudness="none"), loop)
    calm = np.abs(untouched.waveform.samples * result.gain).max(axis=1) < 0.2
    assert np.median((result.waveform.samples / (untouched.waveform.samples + 1e-12))[calm]) == pytest.approx(
        result.gain, rel=1e-3
    )


def test_with_no_loudness_nothing_is_changed_at_all(model: Model, loop: Waveform) -> None:
    options = ContinuationOptions(bars=1, bpm=120, seed=3, level_of="first bar", loudness="none", headroom_db=12)
    result = take(model, options, loop)
    bare = take(model, ContinuationOptions(bars=1, bpm=120, seed=3, level_of="first bar", loudness="none"), loop)
    assert result.gain == 1.0
    assert np.array_equal(result.waveform.samples, bare.waveform.samples)


def test_fades_touch_the_outer_edges_alone(model: Model, loop: Waveform) -> None:
    bare = ContinuationOptions(bars=1, bpm=120, seed=3, level_of="first bar", loudness="none")
    faded = ContinuationOptions(bars=1, bpm=120, seed=3, level_of="first bar", loudness="none", fade_seconds=0.005)
    one, other = take(model, bare, loop).waveform.samples, take(model, faded, loop).waveform.samples
    assert np.array_equal(one[40:-40], other[40:-40])
    assert not other[0].any() and not other[-1].any()


def test_without_a_loop_music_comes_out_of_silence_at_a_fixed_peak(model: Model) -> None:
    result = take(model, ContinuationOptions(bars=1, bpm="97.5", seed=3, sample_rate=44100), None)
    assert len(result.waveform) == round(4 * 60 / 97.5 * 44100)
    assert result.waveform.peak == pytest.approx(0.95, abs=1e-4)


def test_without_a_loop_a_tempo_has_to_be_given(model: Model) -> None:
    with pytest.raises(InvalidOption, match="tempo"):
        piece.plan(model, ContinuationOptions(bars=1))

"""What a jam listens to: whole bars, tiled in time up to any place in the music, encoded once."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from jam.small_model import LAYOUT, small_model

from darius.audio.waveform import Waveform
from darius.context import MOST_SECONDS, loop_codes, played_sound, silence_codes, stretch_of, whole_bars
from darius.errors import BadAudio
from darius.model import Model

BAR = Fraction(2)


@pytest.fixture(scope="module")
def model() -> Model:
    return small_model()


def loop(seconds: float, rate: int = 8000, channels: int = 2) -> Waveform:
    rng = np.random.default_rng(1)
    return Waveform(rng.normal(0, 0.1, (round(seconds * rate), channels)).astype(np.float32), rate)


@pytest.mark.parametrize(
    ("seconds", "bars"), [(8, 4), (9.9, 4), (7.97, 4), (7.9, 3), (2, 1), (0.5, 1), (1.99, 1), (61, 30), (64, 30)]
)
def test_whole_bars_are_kept_a_missing_end_is_filled_and_a_short_loop_repeats(seconds: float, bars: int) -> None:
    kept, count = whole_bars(loop(seconds), BAR)
    assert count == bars and len(kept) == bars * 2 * 8000 and kept.channels == 2


def test_a_loop_shorter_than_a_bar_goes_round() -> None:
    short = loop(0.5)
    kept, _ = whole_bars(short, BAR)
    assert np.array_equal(kept.samples, np.tile(short.samples, (4, 1)))


def test_only_the_last_bars_can_be_asked_for() -> None:
    whole = loop(8)
    kept, count = whole_bars(whole, BAR, last=3)
    assert count == 3 and np.array_equal(kept.samples, whole.samples[2 * 8000 :])
    assert whole_bars(whole, BAR, last=9)[1] == 4


def test_odd_tempi_give_exact_lengths() -> None:
    bar = 4 * 60 / Fraction("93.4")
    kept, count = whole_bars(loop(11, 44_100), bar)
    assert count == 4 and len(kept) == round(4 * bar * 44_100)


def test_without_bars_the_whole_counts_and_very_long_audio_only_with_its_end() -> None:
    assert len(whole_bars(loop(3.3), None)[0]) == round(3.3 * 8000)
    assert len(whole_bars(loop(70), None)[0]) == MOST_SECONDS * 8000


@pytest.mark.parametrize("samples", [np.zeros((0, 2)), np.full((100, 2), np.nan), np.full((100, 1), np.inf)])
def test_what_is_no_sound_is_refused(samples: np.ndarray) -> None:
    with pytest.raises(BadAudio):
        whole_bars(Waveform(samples, 8000), BAR)


def test_bars_become_whole_frames_only_on_the_grid() -> None:
    bar = 4 * 60 / Fraction(97)
    assert stretch_of(4, bar, 25, grid=False) == 1
    stretch = stretch_of(4, bar, 25, grid=True)
    assert (bar * 25 * stretch).denominator == 1 and abs(stretch - 1) < Fraction(4, 1000)
    assert stretch_of(1, None, 25, grid=True) == 1


def test_a_context_has_one_length_and_known_codes(model: Model) -> None:
    for codes in (
        loop_codes(model, loop(2), stretch=Fraction(1), end=Fraction(0)),
        loop_codes(model, loop(33.3, 44_100), stretch=Fraction(1003, 1000), end=Fraction(1, 3)),
        silence_codes(model),
    ):
        assert codes.shape == (LAYOUT.context_frames, LAYOUT.codec_levels) and codes.min() >= 0


def test_ten_frames_later_the_same_loop_has_moved_on_by_ten_frames(model: Model) -> None:
    """So a loop that is put in while the music is in the middle of a bar is heard in the middle of its bar."""
    bars = loop(2)
    at_line = loop_codes(model, bars, stretch=Fraction(1), end=Fraction(0))
    later = loop_codes(model, bars, stretch=Fraction(1), end=Fraction(10, 25))
    assert np.mean(later[:-10] == at_line[10:]) > 0.98
    assert np.mean(later == at_line) < 0.5


def test_a_round_later_it_is_the_same(model: Model) -> None:
    bars = loop(2)
    at_line = loop_codes(model, bars, stretch=Fraction(1), end=Fraction(0))
    assert np.array_equal(at_line, loop_codes(model, bars, stretch=Fraction(1), end=Fraction(6)))


def test_what_was_played_can_be_heard_again(model: Model) -> None:
    codes = silence_codes(model)
    heard = played_sound(model, codes)
    assert heard.samples.shape == (50 * 320, 2) and heard.rate == 8000
    late = model.codec.lookahead_frames * 320
    whole = np.asarray(model.codec.decode(codes[None]))[0]
    assert np.abs(heard.samples[late:] - whole[: len(whole) - late]).max() < 1e-4

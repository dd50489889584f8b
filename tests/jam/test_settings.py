"""A jam's clock: every chunk in its exact place, computed from the decimal text of the tempo."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darius.errors import InvalidOption
from darius.jam.settings import JamSettings


@given(
    bpm=st.decimals(20, 400, places=3).map(str),
    bars=st.integers(1, 8),
    beats=st.integers(1, 7),
    rate=st.sampled_from([8000, 22050, 44100, 48000, 96000, 192000]),
    index=st.integers(0, 10_000),
)
def test_chunk_k_begins_at_the_exact_product_rounded_once(
    bpm: str, bars: int, beats: int, rate: int, index: int
) -> None:
    settings = JamSettings(bpm=bpm, bars_per_chunk=bars, beats_per_bar=beats, rate=rate)
    exact = index * bars * beats * 60 / Fraction(bpm) * rate
    assert abs(settings.chunk_start(index) - exact) <= Fraction(1, 2)


def test_chunks_lie_end_to_end_over_ten_thousand_of_them() -> None:
    settings = JamSettings(bpm="97.531", bars_per_chunk=1, beats_per_bar=3, rate=44_100)
    lengths = [settings.chunk_start(k + 1) - settings.chunk_start(k) for k in range(10_000)]
    assert sum(lengths) == round(10_000 * 3 * 60 / Fraction("97.531") * 44_100)
    assert set(lengths) == {81_389, 81_390}


def test_a_tempo_given_as_a_number_is_its_shortest_decimal() -> None:
    assert JamSettings(bpm=93.4).chunk_duration == JamSettings(bpm="93.4").chunk_duration == 16 * 60 / Fraction("93.4")


def test_without_a_tempo_chunks_are_seconds_and_may_overlap() -> None:
    settings = JamSettings(bpm=None, overlap_seconds=Fraction(1, 25))
    assert settings.seconds_per_bar is None
    assert [settings.chunk_start(k) for k in range(3)] == [0, 96_000, 192_000]
    assert settings.overlap == 1920


@pytest.mark.parametrize(
    "wrong",
    [
        {"bpm": "0"},
        {"bpm": "fast"},
        {"bpm": "nan"},
        {"bars_per_chunk": 0},
        {"bars_per_chunk": 65},
        {"beats_per_bar": 17},
        {"rate": 7999},
        {"rate": 192_001},
        {"loudness": "loud"},
        {"headroom_db": -1.0},
        {"headroom_db": float("nan")},
        {"style_ramp_seconds": -1.0},
        {"timing": "swing"},
        {"bpm": "20", "bars_per_chunk": 64},
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(wrong: dict) -> None:
    with pytest.raises(InvalidOption) as refused:
        JamSettings(**({"bpm": "120"} | wrong))
    assert refused.value.hint

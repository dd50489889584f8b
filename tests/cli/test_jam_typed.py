"""What a musician types while a jam plays."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darius.errors import InvalidOption
from darius.style.mix import WeightedText
from darius_cli.jamming.typed import Change, Reseed, understand


def test_words_are_styles_with_weights() -> None:
    assert understand("acid house, dub:0.5") == Change(
        styles=(WeightedText("acid house", 1.0), WeightedText("dub", 0.5))
    )
    assert understand("style piano") == Change(styles=(WeightedText("piano", 1.0),))


@pytest.mark.parametrize(
    ("line", "change"),
    [
        ("t 1.3", Change(temperature=1.3)),
        ("temperature 0", Change(temperature=0.0)),
        ("k 20", Change(top_k=20)),
        ("TOPK 0", Change(top_k=0)),
        ("guidance 2.5", Change(guidance=2.5)),
        ("loop 0.4", Change(loop_weight=0.4)),
    ],
)
def test_a_knob_and_a_number_turn_it(line: str, change: Change) -> None:
    assert understand(line) == change


def test_a_knobs_name_within_words_is_a_style() -> None:
    assert understand("loop digging") == Change(styles=(WeightedText("loop digging", 1.0),))
    assert understand("g funk") == Change(styles=(WeightedText("g funk", 1.0),))


def test_the_other_words() -> None:
    assert understand("?") == understand("help") == "help"
    assert understand("q") == understand("quit\n") == "quit"
    assert understand("reseed") == Reseed()
    assert understand("reseed other loop.wav") == Reseed(Path("other loop.wav"))
    assert understand("   ") is None


@pytest.mark.parametrize("line", ["t", "t -1", "t 11", "t nan", "k 1.5", "k 2000", "g 99", "loop inf", "dub:-1"])
def test_what_cannot_be_is_refused_in_a_sentence(line: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        understand(line)
    assert caught.value.message.strip() and caught.value.hint.strip()


@given(st.text())
def test_no_line_breaks_it(line: str) -> None:
    try:
        understand(line)
    except InvalidOption as refused:
        assert str(refused)

"""The wire's rules for fields: empty is not given, blank pairs go together, numbers are forgiven their point."""

from __future__ import annotations

from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from darius.errors import DariusError, InvalidOption
from darius.style.mix import WeightedText
from serve.forms import Fields, Flag, Whole, check, numbers, weighted_texts


class Form(Fields):
    bars: Annotated[Whole, Field(ge=1, le=64)] = 8
    loud: Flag = False
    name: str | None = None


@pytest.mark.parametrize("bars", ["4", "4.0", 4, "4e0"])
def test_a_whole_number_may_have_a_point(bars: object) -> None:
    assert check(Form, {"bars": bars}).bars == 4


@pytest.mark.parametrize(
    ("given_", "status"),
    [
        ({"bars": "four"}, 422),
        ({"bars": "4.5"}, 422),
        ({"bars": "65"}, 400),
        ({"loud": "maybe"}, 422),
        ({"name": 3}, 422),
    ],
)
def test_mistyped_is_422_and_out_of_range_is_400(given_: dict[str, object], status: int) -> None:
    with pytest.raises(DariusError) as caught:
        check(Form, given_)
    assert caught.value.http_status == status and next(iter(given_)) in caught.value.message


def test_empty_null_and_unknown_fields_are_not_given() -> None:
    assert check(Form, {"bars": "", "loud": None, "whatever": "x"}) == Form()


@pytest.mark.parametrize(("word", "meant"), [("true", True), ("1", True), (True, True), ("off", False), ("0", False)])
def test_flags_have_many_words(word: object, meant: bool) -> None:
    assert check(Form, {"loud": word}).loud is meant


@pytest.mark.parametrize(
    ("styles", "weights", "meant"),
    [
        ("a,,b", "1,0.2,0.5", [("a", 1.0), ("b", 0.5)]),
        ("a,b,c", "0.3", [("a", 0.3), ("b", 1.0), ("c", 1.0)]),
        ("a", "0.3,0.4,0.5", [("a", 0.3)]),
        (" a , b ", None, [("a", 1.0), ("b", 1.0)]),
        ("a,b", "1,", [("a", 1.0), ("b", 1.0)]),
        ("", "1.00", [("acid house", 1.0)]),
        (None, None, [("acid house", 1.0)]),
    ],
)
def test_styles_and_weights_pair_by_position(
    styles: str | None, weights: str | None, meant: list[tuple[str, float]]
) -> None:
    assert weighted_texts(styles, weights, default="acid house") == tuple(WeightedText(*pair) for pair in meant)


@pytest.mark.parametrize("entry", ["x", "nan", "1;2", "inf"])
def test_what_is_no_number_is_named_with_its_place(entry: str) -> None:
    with pytest.raises(InvalidOption, match=r"centroid_weights has .* as entry 2"):
        numbers("centroid_weights", f"1,{entry}")


@given(st.lists(st.floats(-1e6, 1e6)))
def test_numbers_come_back_as_they_were_written(values: list[float]) -> None:
    assert numbers("x", ",".join(map(repr, values))) == tuple(values)


@given(st.text(), st.text())
def test_no_text_is_a_bug(styles: str, weights: str) -> None:
    try:
        weighted_texts(styles, weights)
    except InvalidOption as error:
        assert "style" in str(error)

"""Fields of forms, JSON bodies and query strings as checked values. Knows the wire's rules; knows no route.

Write a request as a subclass of `Fields` (a frozen pydantic model) and read it with `await read(MyForm)`: multipart,
urlencoded and JSON are all taken, "" and null mean "not given", unknown fields are ignored, "4.0" is 4. A missing or
mistyped field is refused with 422, a value out of range with 400; both name the field.
"""

from __future__ import annotations

import json
import math
import typing
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, WithJsonSchema, model_validator
from quart import request
from quart.datastructures import FileStorage

from darius.errors import InvalidOption
from darius.style.mix import WeightedText, pair
from serve.errors import Refused

_RANGE = ("greater_than", "greater_than_equal", "less_than", "less_than_equal", "literal_error", "value_error",
          "string_too_long", "string_pattern_mismatch", "finite_number")  # fmt: skip


def _whole(value: Any) -> Any:
    """ "4.0" is 4; other fractions stay, to be refused."""
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return value
        return int(number) if math.isfinite(number) and number == int(number) and abs(number) < 2**53 else value
    return value


Whole = int
"""A whole number; "4.0" is 4: `Fields` sees to it, so that limits stay visible in the schema."""


def _is_whole(annotation: Any) -> bool:
    return annotation is int or any(_is_whole(part) for part in typing.get_args(annotation))


def _flag(value: Any) -> Any:
    """Words as forms have them; numbers stay, to be refused."""
    return _WORDS.get(value, value) if isinstance(value, str) else value if isinstance(value, bool) else repr(value)


_YES, _NO = ("1", "true", "True", "yes", "on"), ("0", "false", "False", "no", "off")
_WORDS = {word: word in _YES for word in (*_YES, *_NO)}

Flag = Annotated[
    bool,
    BeforeValidator(_flag),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "string", "enum": ["", *_WORDS]}]}),
]
"""True or false, also as the words that forms have for it."""


class Fields(BaseModel):
    """The fields of a request; what is empty counts as not given."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_not_given(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        whole = {name for name, field in cls.model_fields.items() if _is_whole(field.annotation)}
        given = {name: value for name, value in data.items() if value is not None and value != ""}
        return {name: _whole(value) if name in whole else value for name, value in given.items()}


F = TypeVar("F", bound=Fields)


async def read(kind: type[F]) -> F:
    """The request's fields, from whichever kind of body it has.

    Raises:
      Refused: 422 for a missing or mistyped field or a body that is no form or object; 400 for a value out of range.
    """
    return check(kind, await _body())


def query(kind: type[F]) -> F:
    """The query string's fields. Raises as `read` does."""
    return check(kind, request.args.to_dict())


def check(kind: type[F], data: Any) -> F:
    """Checked fields from a mapping (a WebSocket message, say). Raises as `read` does."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        worst = next((e for e in found if e["type"] not in _RANGE), found[0])
        name = ".".join(map(str, worst["loc"])) or "The request"
        said = "is missing" if worst["type"] == "missing" else f"cannot be used: {worst['msg'].lower()}"
        status, code = (400, "invalid_option") if worst["type"] in _RANGE else (422, "invalid_field")
        raise Refused(f"{name} {said}.", "See /docs.", status=status, code=code) from None


async def upload(name: str, *, required: bool = True) -> FileStorage | None:
    """The file of a multipart request.

    Raises:
      Refused: 422 if it is required and not there.
    """
    found: FileStorage | None = (await request.files).get(name)
    if found is None and required:
        raise Refused(
            f"{name} is missing.", "Send it as a file in multipart/form-data.", status=422, code="invalid_field"
        )
    return found


def numbers(name: str, text: str | None) -> tuple[float, ...]:
    """A CSV of numbers; blank entries at the end are dropped, others count as 0.

    Raises:
      InvalidOption: an entry is not a finite number; the sentence names field and entry.
    """
    return tuple(0.0 if entry is None else entry for entry in _entries(name, text))


def weighted_texts(styles: str | None, weights: str | None, *, default: str = "") -> tuple[WeightedText, ...]:
    """`styles` and `style_weights` by position: blank words go with their weight, missing weights are 1.

    Args:
      default: words where `styles` has none.

    Raises:
      InvalidOption: a weight is not a number, or negative.
    """
    texts = [text.strip() for text in (styles or "").split(",")]
    given = [1.0 if entry is None else entry for entry in _entries("style_weights", weights)]
    found = pair(texts, given)
    return found or pair([default], [])


def _entries(name: str, text: str | None) -> list[float | None]:
    """Numbers of a CSV by position; None for a blank entry."""
    found: list[float | None] = []
    for place, entry in enumerate((text or "").split(","), 1):
        if not entry.strip():
            found.append(None)
            continue
        try:
            number = float(entry)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise InvalidOption(
                f"{name} has '{entry.strip()[:40]}' as entry {place}, which is not a number.",
                "Give numbers with commas between them, such as 1,0.5.",
            )
        found.append(number)
    while found and found[-1] is None:
        found.pop()
    return found


async def _body() -> Any:
    if request.mimetype == "application/json" or request.mimetype.endswith("+json"):
        raw = await request.get_data()
        try:
            data = json.loads(raw) if raw else {}
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            raise Refused("The body is not a JSON object.", "See /docs.", status=422, code="invalid_field")
        return data
    return (await request.form).to_dict()

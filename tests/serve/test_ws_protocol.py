"""The conversation on a socket: what may come when, and that nothing else changes anything."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.errors import Refused
from serve.jam_fields import SocketUpdate
from serve.ws_protocol import ALLOWED, KINDS, MOVES, Conversation, Event, Splice, Start, State, read

FIELDS = {"consume": {"chunk_index": 1}, "notes": {"keys": [{"pitch": 60}]}}
"""What a message needs to be complete."""


def conversation(state: State) -> Conversation:
    found = Conversation()
    found.state = state
    return found


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("kind", KINDS)
def test_a_message_is_taken_where_it_is_allowed_and_nowhere_else(state: State, kind: str) -> None:
    talk = conversation(state)
    message = {"type": kind, **FIELDS.get(kind, {})}
    if kind in ALLOWED[state]:
        talk.accept(message)
        assert talk.state is (State.STARTING if kind == "start" else state)
    else:
        with pytest.raises(Refused) as refused:
            talk.accept(message)
        assert refused.value.code in ("wrong_time", "already_started")
        assert talk.state is state


def test_a_jam_from_start_to_end() -> None:
    talk = Conversation()
    assert isinstance(talk.accept({"type": "start"}), Start)
    talk.move(Event.FAILED)
    assert talk.state is State.IDLE
    talk.accept({"type": "start", "mode": "bar"})
    talk.move(Event.BARS_BEGAN)
    assert isinstance(talk.accept({"type": "reseed_splice"}), Splice)
    talk.move(Event.END)
    assert talk.state is State.CLOSED


def test_the_end_can_come_at_any_time() -> None:
    assert all(MOVES[state, Event.END] is State.CLOSED for state in State)


@pytest.mark.parametrize("frame", [b"RIFF", b"", None, "", "no json", "[]", "1", "null", '"start"', "[" * 100_000])
def test_what_is_no_json_object_is_no_message(frame: str | bytes | None) -> None:
    with pytest.raises(Refused) as refused:
        read(frame)
    assert refused.value.code == "bad_message"


@pytest.mark.parametrize("kind", ["dance", "", None, 3, ["start"], {"type": "start"}])
def test_an_unknown_type_names_those_that_there_are(kind: object) -> None:
    with pytest.raises(Refused, match="reseed_splice") as refused:
        Conversation().accept({"type": kind})
    assert refused.value.code == "unknown_type"


@pytest.mark.parametrize(
    "wrong",
    [{"mode": "loop"}, {"binary_audio": "perhaps"}, {"params": "temperature=1"}, {"session_id": {"a": 1}}],
)
def test_a_start_with_a_mistyped_field_starts_nothing(wrong: dict) -> None:
    talk = Conversation()
    with pytest.raises(Refused, match=next(iter(wrong))):
        talk.accept({"type": "start", **wrong})
    assert talk.state is State.IDLE


def test_null_means_unchanged_and_an_empty_text_means_none() -> None:
    talk = conversation(State.STREAM)
    message = talk.accept({"type": "update", "styles": "", "centroid_weights": "", "topk": None, "temperature": None})
    assert isinstance(message, SocketUpdate)
    assert (message.topk, message.temperature, message.mean) == (None, None, None)
    assert (message.styles or "").strip() == "" and message.styles is not None
    assert message.centroid_weights is not None


def test_lists_are_as_good_as_text_with_commas() -> None:
    message = conversation(State.STREAM).accept(
        {"type": "update", "styles": ["a", "b"], "style_weights": [1, 0.5], "topk": "40.0"}
    )
    assert isinstance(message, SocketUpdate)
    assert (message.styles, message.style_weights, message.topk) == ("a,b", "1,0.5", 40)


@pytest.mark.parametrize(
    ("field", "value"),
    [("temperature", -1), ("topk", -1), ("max_decode_frames", 51), ("max_decode_frames", 0), ("pace", "allegro"),
     ("guidance_weight", float("nan")), ("mean", "much")],
)  # fmt: skip
def test_a_value_out_of_range_is_refused_and_named(field: str, value: object) -> None:
    with pytest.raises(Refused, match=field):
        conversation(State.STREAM).accept({"type": "update", field: value})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    ["type", "mode", "params", "styles", "style_weights", "topk", "pace", "chunk_index", "anchor_bars", "session_id",
     "loop_audio_b64", "binary_audio", "seed", "mean", "centroid_weights"]
)  # fmt: skip


messages = st.dictionaries(names, json_values, max_size=6)
known_messages = st.builds(lambda kind, more: {**more, "type": kind}, st.sampled_from(list(KINDS)), messages)


@given(st.lists(messages | known_messages, max_size=12))
def test_whatever_comes_is_taken_or_refused_with_a_sentence(sent: list[dict]) -> None:
    talk = Conversation()
    for message in sent:
        before = talk.state
        try:
            talk.accept(read(json.dumps(message)))
        except Refused as refused:
            assert str(refused) and refused.code and talk.state is before
        if talk.state is State.STARTING:
            talk.move(Event.STREAM_BEGAN)

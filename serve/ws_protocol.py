"""The conversation on /ws/jam as a state machine: which messages there are, and which may come when. Knows no socket.

idle -start-> starting -began-> stream or bars -end-> closed; a start that fails goes back to idle.
"""

from __future__ import annotations

import enum
import json
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field

from serve.errors import Refused
from serve.forms import Fields, Whole, check
from serve.jam_fields import SessionId, SocketUpdate

BLANKABLE = ("styles", "style_weights", "centroid_weights")
"""Texts for which "" says something: no words, no weights. Elsewhere "" is as good as null, and null as nothing."""


class State(enum.Enum):
    """Where the conversation is."""

    IDLE = "idle"
    STARTING = "starting"
    STREAM = "stream"
    BARS = "bars"
    CLOSED = "closed"


class Event(enum.Enum):
    """What moves it on, besides a message `start`."""

    STREAM_BEGAN = "stream began"
    BARS_BEGAN = "bars began"
    FAILED = "the start failed"
    END = "end"


class Start(Fields):
    """Begins a jam, or attaches to one that runs."""

    mode: Literal["rt", "bar"] = "rt"
    binary_audio: bool = False
    session_id: SessionId | None = None
    loop_audio_b64: str | None = None
    params: dict[str, Any] = Field(default_factory=dict)


class Consume(Fields):
    """The client plays this chunk."""

    chunk_index: Annotated[Whole, Field(validation_alias=AliasChoices("chunk_index", "index"))]


class Reseed(Fields):
    """Another context; what was played, without audio."""

    loop_audio_b64: str | None = None


class Splice(Fields):
    """The audio's last bars in the place of the last bars played."""

    combined_audio_b64: str | None = None
    anchor_bars: Annotated[float, Field(gt=0, le=64)] = 2.0


class KeyMessage(Fields):
    """A key that goes down, or up: velocity 0. The model hears whether and when, not how hard."""

    pitch: Annotated[Whole, Field(ge=0, le=127)]
    velocity: Annotated[Whole, Field(ge=0, le=127)] = 127
    after: Annotated[float, Field(ge=0, le=60)] = 0.0


class Notes(Fields):
    """Keys, for models that take notes."""

    keys: Annotated[list[KeyMessage], Field(min_length=1, max_length=256)]


class Stop(Fields):
    """Ends the jam and the conversation."""


class Ping(Fields):
    """Is answered with pong."""


Message = Start | SocketUpdate | Notes | Consume | Reseed | Splice | Stop | Ping

KINDS: dict[str, type[Message]] = {
    "start": Start,
    "update": SocketUpdate,
    "notes": Notes,
    "consume": Consume,
    "reseed": Reseed,
    "reseed_splice": Splice,
    "stop": Stop,
    "ping": Ping,
}
ALLOWED: dict[State, tuple[str, ...]] = {
    State.IDLE: ("start", "stop", "ping"),
    State.STARTING: ("stop", "ping"),
    State.STREAM: ("update", "notes", "reseed", "stop", "ping"),
    State.BARS: ("update", "notes", "consume", "reseed", "reseed_splice", "stop", "ping"),
    State.CLOSED: (),
}
WHY_NOT = {
    State.IDLE: "Nothing plays yet; send start first.",
    State.STARTING: "The jam is being started; wait for started.",
    State.STREAM: "This does not go with a stream without bars.",
    State.BARS: "This does not go while a jam plays.",
    State.CLOSED: "The conversation is over.",
}
MOVES = {
    (State.STARTING, Event.STREAM_BEGAN): State.STREAM,
    (State.STARTING, Event.BARS_BEGAN): State.BARS,
    (State.STARTING, Event.FAILED): State.IDLE,
    **{(state, Event.END): State.CLOSED for state in State},
}


class Conversation:
    """One socket's state."""

    def __init__(self) -> None:
        self.state = State.IDLE

    def accept(self, message: dict[str, Any]) -> Message:
        """The message, if it may come now; `start` moves the conversation on.

        Raises:
          Refused: it is no message, or comes at the wrong time; nothing is changed.
        """
        kind = message.get("type")
        if not isinstance(kind, str) or kind not in KINDS:
            known = ", ".join(KINDS)
            raise _refused(f"There is no message of type {str(kind)[:40]!r}; there is {known}.", "unknown_type")
        if kind not in ALLOWED[self.state]:
            if kind == "start":
                raise _refused("A jam plays already; stop it first, or open another socket.", "already_started")
            raise _refused(f"{kind}: {WHY_NOT[self.state]}", "wrong_time")
        checked = check(KINDS[kind], said(message))
        if isinstance(checked, Start):
            self.state = State.STARTING
        return checked

    def move(self, event: Event) -> None:
        """Moves on; what cannot happen now is a bug."""
        self.state = MOVES[self.state, event]


def read(text: str | bytes | None) -> dict[str, Any]:
    """A frame as a JSON object.

    Raises:
      Refused: it is none.
    """
    if not isinstance(text, str):
        raise _refused("Messages are JSON in text frames; audio goes into them as base64.", "bad_message")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _refused("The message is not a JSON object.", "bad_message")
    return found


def said(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields, with "" kept where it says something."""
    return {name: " " if name in BLANKABLE and value == "" else value for name, value in fields.items()}


def _refused(sentence: str, code: str) -> Refused:
    return Refused(sentence, status=400, code=code)

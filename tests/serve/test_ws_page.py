"""docs/websocket.md says all that the socket understands and sends: compared with the protocol's own code."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest
from pydantic import AliasChoices
from serving import ROOT

from serve import websocket
from serve.forms import Fields
from serve.jam_fields import SocketInBars, SocketStream, SocketUpdate
from serve.jam_replies import ChunkMetadata
from serve.ws_protocol import ALLOWED, KINDS, KeyMessage, State

PAGE = (ROOT / "docs" / "websocket.md").read_text(encoding="utf-8")
CODE = Path(inspect.getfile(websocket)).read_text(encoding="utf-8")
SECTIONS = dict(zip(*[iter(re.split(r"^## (.+)$", PAGE, flags=re.MULTILINE)[1:])] * 2, strict=True))


def rows(text: str) -> dict[str, str]:
    """A table's rows by what their first cells name in backticks."""
    found = {}
    for line in text.splitlines():
        first = line.split("|")[1] if line.startswith("| `") and "| `type`" not in line else ""
        found |= dict.fromkeys(re.findall(r"`([^`]+)`", first), line)
    return found


def spoken(kind: type[Fields]) -> set[str]:
    """Names under which a message's fields come; of several for one, the first."""
    aliases = {name: field.validation_alias for name, field in kind.model_fields.items()}
    return {str(a.choices[0]) if isinstance(a, AliasChoices) else name for name, a in aliases.items()}


SENT, GOT = rows(SECTIONS["What you send"]), rows(SECTIONS["What comes back"])


def test_every_message_is_in_the_table_and_no_other() -> None:
    parameters = spoken(SocketStream) | spoken(SocketInBars) | spoken(SocketUpdate)
    assert set(KINDS) <= set(SENT)
    assert set(SENT) <= set(KINDS) | parameters | {"params", "mode"}, "the page names what there is not"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind] is not SocketUpdate])
def test_each_messages_fields_are_in_its_row(kind: str) -> None:
    named = set(re.findall(r"`\"?(\w+)", SENT[kind])) | set(re.findall(r"\"(\w+)\":", SENT[kind]))
    assert spoken(KINDS[kind]) <= named
    if kind == "notes":
        assert set(KeyMessage.model_fields) <= named


@pytest.mark.parametrize("kind", [SocketStream, SocketInBars, SocketUpdate])
def test_every_parameter_is_explained(kind: type[Fields]) -> None:
    explained = set(SENT) | set(re.findall(r"`(\w+)`", SENT["update"]))
    assert spoken(kind) <= explained


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_says_when_each_message_may_come(kind: str) -> None:
    when = SENT[kind].split("|")[2].strip()
    states = {state.value for state in (State.IDLE, State.STREAM, State.BARS) if kind in ALLOWED[state]}
    assert set(when.split(", ")) == ({"always"} if len(states) == 3 else states)


def told() -> dict[str, set[str]]:
    """Every kind of message that the code sends, with the names of its facts."""
    found: dict[str, set[str]] = {"chunk": {"index", "audio_base64", "metadata"}, "chunk_meta": {"index", "metadata"}}
    for call in [node for node in ast.walk(ast.parse(CODE)) if isinstance(node, ast.Call)]:
        if (
            isinstance(call.func, ast.Attribute)
            and call.func.attr == "_tell"
            and isinstance(call.args[0], ast.Constant)
        ):
            facts = {keyword.arg for keyword in call.keywords if keyword.arg}
            for keyword in [keyword.value for keyword in call.keywords if keyword.arg is None]:
                facts |= {key.value for key in ast.walk(keyword) if isinstance(key, ast.Constant) and key.value}
            found.setdefault(str(call.args[0].value), set()).update(map(str, facts))
    return found


def test_every_answer_and_every_fact_in_it_is_in_the_table() -> None:
    sent = told()
    assert set(sent) == set(GOT)
    for kind, facts in sent.items():
        named = set(re.findall(r"`(\w+)`", GOT[kind]))
        assert facts <= named, (kind, facts - named)


def test_what_is_told_with_a_chunk_is_there() -> None:
    """Of a stream on this page; bars have what /jam/next has."""
    code = (ROOT / "serve" / "packets.py").read_text(encoding="utf-8")
    bodies = {node.name: node for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)}
    facts = {
        str(key.value)
        for node in ast.walk(bodies["_without_bars"])
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    }
    named = set(re.findall(r"`(\w+)`", SECTIONS["Streams (`rt`)"]))
    assert facts | {"start_sample", "seed"} <= named
    assert {"bpm", "start_sample"} <= set(ChunkMetadata.model_fields)  # where the document of /jam/next has them

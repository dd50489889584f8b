"""A real server with a Magenta RealTime 2 (small, random weights): the contract's bars and streams, notes and drums."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from serving import Server, heard, loop_bytes
from websockets.sync.client import ClientConnection, connect

pytest.importorskip("magenta_rt", reason="magenta-rt has no release for this Python")

WAIT = 120.0


def say(socket: ClientConnection, **message: Any) -> None:
    socket.send(json.dumps(message))


def hear(socket: ClientConnection, kind: str, *, tolerate: tuple[str, ...] = ("chunk",)) -> dict[str, Any]:
    """The next message of this kind; chunks in between are left out."""
    while True:
        message = json.loads(socket.recv(timeout=WAIT))
        if message["type"] == kind:
            return message
        assert message["type"] in tolerate, message


def test_it_says_what_it_supports(mrt2_server: Server, quick_server: Server) -> None:
    status = mrt2_server.get("/model/status").json()
    assert {"notes", "drums", "style"} <= set(status["supports"])
    assert status["model_chunk_seconds"] == 1.0
    assert "notes" not in quick_server.get("/model/status").json()["supports"]


def test_a_loop_is_continued_by_exact_bars(mrt2_server: Server) -> None:
    fields = {"bpm": "120", "bars": "2", "seed": "7", "styles": "acid house", "drums": "on"}
    first, again = (
        mrt2_server.post("/generate", data=fields, files={"loop_audio": loop_bytes()}).json() for _ in range(2)
    )
    assert len(heard(first["audio_base64"])) == 2 * 2 * 44_100
    assert first["audio_base64"] == again["audio_base64"]


def test_a_stream_takes_notes_and_drums_while_it_plays(mrt2_server: Server) -> None:
    with connect(mrt2_server.ws_url, max_size=None) as socket:
        say(socket, type="start", mode="rt", params={"max_decode_frames": 5, "seed": 3, "drums": "off"})
        hear(socket, "started")
        chunk = hear(socket, "chunk")
        assert len(heard(chunk["audio_base64"])) == (5 + 1) * 1920  # and what overlaps
        say(socket, type="notes", keys=[{"pitch": 60, "velocity": 90}, {"pitch": 64, "after": 0.4}])
        assert hear(socket, "status")["notes"] == 2
        say(socket, type="update", drums="on", notes_guidance=4)
        assert hear(socket, "status")["updated"] is True
        say(socket, type="notes", keys=[{"pitch": 60, "velocity": 0}])
        assert hear(socket, "status")["notes"] == 1
        for _ in range(3):
            hear(socket, "chunk")
        say(socket, type="notes", keys=[{"pitch": 200}])
        assert "pitch" in hear(socket, "error")["error"]
        say(socket, type="stop")
        hear(socket, "stopped")


def test_a_jam_in_bars_goes_on_from_a_loop(mrt2_server: Server) -> None:
    with connect(mrt2_server.ws_url, max_size=None) as socket:
        loop = base64.b64encode(loop_bytes()).decode()
        params = {"bpm": 120, "bars_per_chunk": 1, "seed": 5, "pace": "asap"}
        say(socket, type="start", mode="bar", loop_audio_b64=loop, params=params)
        hear(socket, "started")
        for index in range(2):
            chunk = hear(socket, "chunk", tolerate=("status",))
            assert len(heard(chunk["audio_base64"])) == 2 * 44_100
            say(socket, type="consume", chunk_index=index)
        say(socket, type="reseed")
        say(socket, type="stop")
        hear(socket, "stopped", tolerate=("chunk", "status"))


def test_a_model_without_notes_refuses_them_and_plays_on(quick_server: Server) -> None:
    with connect(quick_server.ws_url, max_size=None) as socket:
        say(socket, type="start", mode="rt", params={"seed": 3})
        hear(socket, "started")
        say(socket, type="notes", keys=[{"pitch": 60}])
        assert "notes" in hear(socket, "error")["error"]
        say(socket, type="update", drums="on")
        assert "drums" in hear(socket, "error")["error"]
        hear(socket, "chunk")
        say(socket, type="stop")
        hear(socket, "stopped")

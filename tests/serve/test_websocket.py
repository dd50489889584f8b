"""/ws/jam over a real socket: chunks that overlap, live changes, errors that end nothing, ends that free all."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import random
import socket
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from serving import Server, heard, loop_bytes
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Request, TextMessage

from serve.ws_protocol import KINDS

MESSAGE_LIMIT = 1 << 20
"""What the documented Python sample's library takes by default."""
LOOP = base64.b64encode(loop_bytes(seconds=2.0)).decode()
BARS = {"mode": "bar", "loop_audio_b64": LOOP, "params": {"bpm": "240", "bars_per_chunk": 1, "target_sr": 8000}}


class Client:
    """A socket and what came over it."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.kept: list[dict[str, Any]] = []

    def send(self, kind: str, **fields: Any) -> None:
        self.connection.send(json.dumps({"type": kind, **fields}))

    def receive(self, kind: str, *, seconds: float = 60.0) -> dict[str, Any]:
        """The next message of a kind that was not received yet; others are kept for later."""
        found = next((message for message in self.kept if message["type"] == kind), None)
        if found is not None:
            self.kept.remove(found)
            return found
        while True:
            frame = self.connection.recv(timeout=seconds)
            if isinstance(frame, bytes):
                continue
            message: dict[str, Any] = json.loads(frame)
            if message["type"] == kind:
                return message
            assert message["type"] in ("started", "chunk", "chunk_meta", "status"), message
            self.kept.append(message)

    def closed(self) -> int:
        """Reads until the server closes; its code."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                self.connection.recv(timeout=30)
        assert self.connection.close_code is not None
        return self.connection.close_code


@contextlib.contextmanager
def talk(server: Server, *, patience: float = 10.0) -> Iterator[Client]:
    """A conversation; its end waits for the server's so long, then the socket is torn away."""
    with connect(server.ws_url, max_size=MESSAGE_LIMIT, close_timeout=patience) as connection:
        yield Client(connection)


def free_again(server: Server, seconds: float = 20.0) -> None:
    server.wait_for("/health", "active_jams", 0, seconds)


def test_every_chunk_of_a_stream_repeats_40_ms_and_fits_a_mebibyte(server: Server) -> None:
    """With `tiny`: 97,920 frames on a hop of 2.00 s, and overlap-added they are one seamless stream."""
    with talk(server) as client:
        client.send(
            "start", mode="rt", binary_audio=False, params={"styles": "warm pads", "seed": 5, "temperature": 1.0}
        )
        started = client.receive("started")
        assert started["mode"] == "rt" and started["steering_assets"] == "none"
        chunks = [client.receive("chunk") for _ in range(3)]
        assert server.get("/health").json()["active_jams"] == 1
        client.send("stop")
        client.receive("stopped")
        assert client.closed() == 1000
    sounds = [heard(chunk["audio_base64"]) for chunk in chunks]
    for k, (chunk, sound) in enumerate(zip(chunks, sounds, strict=True)):
        assert (len(sound), sound.rate, sound.channels) == (97_920, 48_000, 2)
        expected = {
            "sample_rate": 48_000, "chunk_frames": 50, "chunk_seconds": 2.0, "crossfade_seconds": 0.04,
            "start_sample": k * 96_000, "seed": 5, "temperature": 1.0,
        }  # fmt: skip
        assert expected.items() <= chunk["metadata"].items() and chunk["index"] == k
        assert len(json.dumps(chunk)) < MESSAGE_LIMIT
    for before, after in itertools.pairwise(sounds):
        assert np.array_equal(before.samples[-1920:], after.samples[:1920])
    free_again(server)


def test_a_stream_goes_in_real_time_two_chunks_ahead(quick_server: Server) -> None:
    with talk(quick_server) as client:
        client.send("start", mode="rt", params={"max_decode_frames": 25, "pace": "realtime"})
        times = []
        for _ in range(7):
            client.receive("chunk")
            times.append(time.monotonic())
        after = [when - times[0] for when in times]
        assert after[1] < 0.8  # at once
        due = [k - 1 + 0.25 for k in range(2, 7)]
        late = [when - planned for when, planned in zip(after[2:], due, strict=True)]
        assert min(late) > -0.1 and float(np.median(late)) < 0.3
    free_again(quick_server)


def test_binary_chunks_are_a_wav_and_then_what_it_is(quick_server: Server) -> None:
    with talk(quick_server) as client:
        client.send("start", mode="rt", binary_audio=True, params={"overlap": False, "pace": "asap"})
        client.receive("started")
        for k in range(3):
            wav, meta = client.connection.recv(timeout=60), client.connection.recv(timeout=60)
            assert isinstance(wav, bytes) and isinstance(meta, str)
            said = json.loads(meta)
            assert (said["type"], said["index"]) == ("chunk_meta", k)
            assert len(heard(base64.b64encode(wav).decode())) == said["metadata"]["total_samples"] == 96_000
            assert said["metadata"]["crossfade_seconds"] == 0
    free_again(quick_server)


def test_a_stream_follows_updates_and_null_changes_nothing(quick_server: Server) -> None:
    with talk(quick_server) as client:
        client.send("start", mode="rt", params={"styles": "dub", "max_decode_frames": 10, "topk": 30})
        client.receive("chunk")
        client.send("update", temperature=0.5, topk=None, styles="techno, house", style_weights="1,0.5", mean=None)
        assert client.receive("status")["updated"]
        client.send("update", max_decode_frames=5, pace="asap", temperature=None)
        client.receive("status")
        metadata = [client.receive("chunk")["metadata"] for _ in range(8)]
        assert (metadata[-1]["temperature"], metadata[-1]["topk"], metadata[-1]["chunk_frames"]) == (0.5, 30, 5)
        places = [m["start_sample"] for m in metadata]
        lengths = [m["chunk_frames"] * 1920 for m in metadata]
        assert [b - a for a, b in itertools.pairwise(places)] == lengths[:-1]  # and no gap
        client.send("reseed", loop_audio_b64=LOOP)
        assert client.receive("status")["reseeded"] is True
        client.receive("chunk")
    free_again(quick_server)


def test_a_jam_in_bars_is_played_over_the_socket(quick_server: Server) -> None:
    with talk(quick_server) as client:
        client.send("start", **BARS)
        started = client.receive("started")
        assert started["mode"] == "bar" and started["session_id"]
        for k in range(3):
            chunk = client.receive("chunk")
            assert chunk["index"] == k and chunk["metadata"]["bpm"] == 240
            assert len(heard(chunk["audio_base64"])) == 8000
            client.send("consume", chunk_index=k)
        client.send("reseed_splice", anchor_bars=2, combined_audio_b64=LOOP)
        assert [client.receive("status").get("consumed") for _ in range(3)] == [0, 1, 2]
        assert client.receive("status")["anchor_bars"] == 2.0
        client.send("update", use_current_mix_as_style=True, loop_weight=0.5)
        client.send("stop")
        client.receive("stopped")
        assert client.closed() == 1000
    free_again(quick_server)


def test_a_socket_can_listen_to_a_jam_that_was_started_over_http_and_leaves_it_playing(quick_server: Server) -> None:
    reply = quick_server.post(
        "/jam/start", data={"bpm": "240", "bars_per_chunk": "1"}, files={"loop_audio": loop_bytes()}
    )
    session = reply.json()["session_id"]
    with talk(quick_server) as client:
        client.send("start", mode="rt", session_id=session)
        assert client.receive("error")["code"] == "session_of_socket"
        client.send("start", mode="bar", session_id=session)
        assert client.receive("started")["session_id"] == session
        assert client.receive("chunk")["index"] == 0
    assert quick_server.get("/health").json()["active_jams"] == 1
    with talk(quick_server) as client:
        client.send("start", mode="bar", session_id=session)
        client.receive("started")
        quick_server.post("/jam/stop", json={"session_id": session})
        assert client.receive("stopped")["reason"] == "stopped"
        assert client.closed() == 1000
    free_again(quick_server)


def test_bad_messages_are_answered_and_the_music_goes_on(quick_server: Server) -> None:
    with talk(quick_server) as client:
        client.send("ping")
        client.receive("pong")
        client.send("update", topk=3)
        assert client.receive("error")["code"] == "wrong_time"
        for params, code in (
            ({"temperature": "hot"}, "invalid_field"),
            ({"max_decode_frames": 51}, "invalid_option"),
            ({"style_weights": "x"}, "invalid_option"),
        ):
            client.send("start", mode="rt", params=params)
            assert client.receive("error")["code"] == code
        client.send("start", mode="bar", params={"bpm": 120})
        assert "loop_audio_b64" in client.receive("error")["error"]
        client.send("start", mode="bar", loop_audio_b64="no base64!", params={"bpm": 120})
        assert client.receive("error")["code"] == "bad_audio"
        client.send("start", mode="rt", params={"max_decode_frames": 10})
        client.receive("chunk")
        client.connection.send("no json")
        assert client.receive("error")["code"] == "bad_message"
        client.connection.send(b"\x00\x01")
        assert client.receive("error")["code"] == "bad_message"
        for kind, code in (("start", "already_started"), ("consume", "wrong_time"), ("dance", "unknown_type")):
            client.send(kind)
            assert client.receive("error")["code"] == code
        client.receive("chunk")
    free_again(quick_server)


def test_sockets_count_against_capacity(quick_server: Server) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            client = stack.enter_context(talk(quick_server))
            client.send("start", mode="rt", params={"max_decode_frames": 10})
            client.receive("started")
        fourth = stack.enter_context(talk(quick_server))
        fourth.send("start", mode="rt")
        assert fourth.receive("error")["code"] == "at_capacity"
        fourth.send("ping")
        fourth.receive("pong")
        assert quick_server.post("/jam/stop_all").json()["count"] == 3
    free_again(quick_server)


def test_a_socket_torn_away_frees_its_place_at_once(quick_server: Server) -> None:
    for moment in ("while it starts", "while it plays"):
        with talk(quick_server) as client:
            client.send("start", mode="rt", params={"pace": "asap"})
            if moment == "while it plays":
                client.receive("chunk")
            client.connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            client.connection.socket.shutdown(socket.SHUT_RDWR)
        free_again(quick_server, 5.0)


def test_who_talks_on_after_the_end_is_hung_up_on(quick_server: Server) -> None:
    """With more than ever waits for a handler: the connection stayed open for good, and its socket was lost."""
    for _ in range(10):
        with socket.create_connection(("127.0.0.1", quick_server.port)) as raw:
            raw.settimeout(10)
            wire = WSConnection(ConnectionType.CLIENT)
            raw.sendall(wire.send(Request(host="localhost", target="/ws/jam")))
            wire.receive_data(raw.recv(65536))
            assert isinstance(next(wire.events()), AcceptConnection)
            said = ["stop", *["ping"] * 100]
            raw.sendall(b"".join(wire.send(TextMessage(json.dumps({"type": kind}))) for kind in said))
            with contextlib.suppress(ConnectionError):
                while raw.recv(65536):
                    pass


def test_messages_are_not_compressed_on_the_event_loop(quick_server: Server) -> None:
    with connect(quick_server.ws_url) as connection:  # it offers to compress
        assert connection.response is not None
        assert "Sec-WebSocket-Extensions" not in connection.response.headers


def junk(rng: random.Random) -> str | bytes:
    kinds = ["start", "update", "consume", "reseed", "reseed_splice", "stop", "ping", "", "x", None, 3]
    values: list[Any] = [
        None,
        "",
        "a,b",
        -1,
        0,
        1,
        40,
        1e308,
        True,
        [],
        {},
        "rt",
        "bar",
        "asap",
        "realtime",
        "\ud800",
        [1, 2],
    ]
    fields = [*(name for kind in KINDS.values() for name in kind.model_fields), "topk", "seed"]
    if rng.random() < 0.1:
        return rng.randbytes(rng.randrange(40))
    if rng.random() < 0.1:
        return "".join(chr(rng.randrange(32, 300)) for _ in range(rng.randrange(40)))
    message = {"type": rng.choice(kinds), **{rng.choice(fields): rng.choice(values) for _ in range(rng.randrange(4))}}
    return json.dumps(message)


def storm(server: Server, frames: int, seed: int) -> None:
    """Random frames in random order over many sockets, torn away at random moments."""
    rng, sent = random.Random(seed), 0
    while sent < frames:
        with contextlib.suppress(ConnectionClosed), talk(server, patience=0.2) as client:
            for _ in range(rng.randrange(1, 200)):
                client.connection.send(junk(rng))
                sent += 1
                if rng.random() < 0.02:
                    client.connection.recv(timeout=20)
    free_again(server)
    assert server.process.poll() is None
    assert "a bug" not in server.log() and "Traceback" not in server.log(), server.log()[-3000:]


def test_random_frames_in_random_order_break_nothing_and_hold_no_place(quick_server: Server) -> None:
    storm(quick_server, 1500, seed=1)


@pytest.mark.acceptance
def test_twenty_thousand_random_frames_break_nothing_and_hold_no_place(quick_server: Server) -> None:
    storm(quick_server, 20_000, seed=2)

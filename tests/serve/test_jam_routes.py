"""/jam/* over a real socket: what every client of these calls sends and reads."""

from __future__ import annotations

import threading
import time
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from known_loops import LOOPS
from serving import Server, heard, loop_bytes, wav_bytes

TYPES = {
    "bpm": int,
    "bars": int,
    "beats_per_bar": int,
    "sample_rate": int,
    "channels": int,
    "total_samples": int,
    "seconds_per_bar": float,
    "loop_duration_seconds": float,
    "guidance_weight": float,
    "temperature": float,
    "topk": int,
    "start_sample": int,
    "seed": int,
}


def start(server: Server, **fields: Any) -> str:
    reply = server.post(
        "/jam/start",
        data={"bpm": "240", "bars_per_chunk": "1", "loudness_mode": "none"} | fields,
        files={"loop_audio": ("loop.wav", loop_bytes(seconds=2.0), "audio/wav")},
    )
    assert reply.status_code == 200, reply.text
    body = reply.json()
    assert body["ok"] is True and body["status"] == "started"
    return str(body["session_id"])


def next_chunk(server: Server, session: str, **query: Any) -> dict[str, Any]:
    reply = server.get("/jam/next", params={"session_id": session} | query)
    assert reply.status_code == 200, reply.text
    assert reply.json()["ok"] is True
    chunk: dict[str, Any] = reply.json()["chunk"]
    return chunk


def stop(server: Server, session: str) -> None:
    assert server.post("/jam/stop", json={"session_id": session}).json() == {"ok": True, "stopped": True}


def refusal(reply: Any, status: int, code: str) -> str:
    body = reply.json()
    assert reply.status_code == status, body
    assert body["ok"] is False and body["code"] == code and body["error"] == body["detail"]
    return str(body["error"])


def test_a_jam_from_start_to_stop(quick_server: Server) -> None:
    session = start(quick_server, seed="7")
    try:
        for k in range(3):
            chunk = next_chunk(quick_server, session)
            assert chunk["index"] == k
            metadata = chunk["metadata"]
            assert {name: type(value) for name, value in metadata.items()} == TYPES
            sound = heard(chunk["audio_base64"])
            assert (len(sound), sound.rate, sound.channels) == (44_100, 44_100, 2)
            assert (metadata["total_samples"], metadata["start_sample"], metadata["seed"]) == (44_100, k * 44_100, 7)
            consumed = quick_server.post("/jam/consume", data={"session_id": session, "chunk_index": k})
            assert consumed.json() == {"ok": True, "consumed": k}
    finally:
        stop(quick_server, session)
    stop(quick_server, session)  # again, to no harm
    assert quick_server.post("/jam/stop", data={"session_id": session}).json()["stopped"] is True
    assert quick_server.get("/health").json()["active_jams"] == 0


@pytest.mark.parametrize(("bpm", "beats", "rate"), [("197.531", 3, 44_100), ("233.33", 7, 22_050), ("391", 5, 48_000)])
def test_odd_tempi_and_meters_are_exact_to_the_sample(quick_server: Server, bpm: str, beats: int, rate: int) -> None:
    session = start(quick_server, bpm=bpm, beats_per_bar=str(beats), target_sample_rate=str(rate), buffer_ahead="4")
    exact = Fraction(60 * beats * rate) / Fraction(bpm)
    try:
        for k in range(4):
            chunk = next_chunk(quick_server, session)
            length = round((k + 1) * exact) - round(k * exact)
            assert len(heard(chunk["audio_base64"])) == chunk["metadata"]["total_samples"] == length
            assert chunk["metadata"]["start_sample"] == round(k * exact)
    finally:
        stop(quick_server, session)


def test_calls_in_flight_end_at_once_with_408_when_the_jam_is_stopped_and_so_do_later_ones(
    quick_server: Server,
) -> None:
    session = start(quick_server, bpm="60", bars_per_chunk="4")
    next_chunk(quick_server, session)
    replies: list[tuple[int, str, float]] = []

    def wait() -> None:
        reply = quick_server.get("/jam/next", params={"session_id": session})
        replies.append((reply.status_code, reply.json()["code"], time.monotonic()))

    callers = [threading.Thread(target=wait) for _ in range(3)]
    for caller in callers:
        caller.start()
    time.sleep(0.5)
    stopped = time.monotonic()
    stop(quick_server, session)
    for caller in callers:
        caller.join(30)
    assert [(status, code) for status, code, _ in replies] == [(408, "session_stopped")] * 3
    assert max(when for _, _, when in replies) - stopped < 1.0
    refusal(quick_server.get("/jam/next", params={"session_id": session}), 408, "session_stopped")


def test_a_chunk_that_may_not_go_yet_is_408_in_time(quick_server: Server) -> None:
    session = start(quick_server, bpm="60")
    try:
        next_chunk(quick_server, session)
        began = time.monotonic()
        refusal(
            quick_server.get("/jam/next", params={"session_id": session, "timeout_seconds": "0.3"}), 408, "not_ready"
        )
        assert 0.25 < time.monotonic() - began < 2.0
    finally:
        stop(quick_server, session)


def test_everything_can_be_steered_while_it_plays(quick_server: Server) -> None:
    session = start(quick_server, styles="dub,,techno", style_weights="1,0.2,0.5", buffer_ahead="1")
    try:
        next_chunk(quick_server, session)
        for fields in (
            {"guidance_weight": "4.0000", "temperature": "0.5000", "topk": "0", "styles": "piano,,", "style_weights":
             "0.7000,1.0000,1.0000", "loop_weight": "0.250", "use_current_mix_as_style": "true", "mean": "1.0000",
             "centroid_weights": "0.0000,0.5000"},
            {"topk": "12"},
            {"styles": "", "temperature": ""},
        ):  # fmt: skip
            assert quick_server.post("/jam/update", data={"session_id": session} | fields).json() == {"ok": True}
        status = quick_server.get("/jam/status", params={"session_id": session}).json()
        assert (status["guidance_weight"], status["temperature"], status["topk"]) == (4.0, 0.5, 12)
        assert (status["styles"], status["style_weights"]) == (["piano"], [0.7])
        assert (status["loop_weight"], status["mean"], status["centroid_weights"]) == (0.25, 1.0, [0.0, 0.5])
        for path, fields, files in (
            ("/jam/reseed", {}, {"loop_audio": loop_bytes("loop_mika", seconds=3.0)}),
            ("/jam/reseed", {}, None),
            ("/jam/reseed_splice", {"anchor_bars": "2.00"}, {"combined_audio": loop_bytes(seconds=4.0)}),
            ("/jam/reseed_splice", {"anchor_bars": "1"}, None),
        ):
            reply = quick_server.post(path, data={"session_id": session} | fields, files=files)
            assert reply.status_code == 200 and reply.json()["ok"] is True
            assert reply.json().get("anchor_bars", 0) in (0, 2.0, 1.0)
        chunks = [next_chunk(quick_server, session) for _ in range(2)]
        assert chunks[-1]["metadata"]["topk"] == 12
        assert [chunk["index"] for chunk in chunks] == [1, 2]
    finally:
        stop(quick_server, session)


def test_status_tells_how_a_jam_is_going(quick_server: Server) -> None:
    session = start(quick_server, bars_per_chunk="2", seed="9")
    try:
        next_chunk(quick_server, session)
        status = quick_server.get("/jam/status", params={"session_id": session}).json()
        expected = {
            "ok": True, "running": True, "last_delivered_index": 0, "buffer_ahead": 1, "bpm": 240, "beats_per_bar": 4,
            "bars_per_chunk": 2, "seconds_per_bar": 1.0, "chunk_duration_seconds": 2.0, "target_sample_rate": 44_100,
            "guidance_weight": 1.1, "temperature": 1.1, "topk": 40, "seed": 9, "late_chunks": 0,
        }  # fmt: skip
        assert expected.items() <= status.items()
        assert status["last_generated_index"] - status["last_delivered_index"] == status["queued_chunks"]
        assert status["last_chunk_completed_at"] <= time.time()
    finally:
        stop(quick_server, session)


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"bpm": ""}, 422, "invalid_field"),
        ({"bpm": "fast"}, 422, "invalid_field"),
        ({"bpm": "0"}, 400, "invalid_option"),
        ({"bpm": "1e-9999999"}, 400, "invalid_option"),
        ({"bars_per_chunk": "0"}, 400, "invalid_option"),
        ({"bars_per_chunk": "64", "bpm": "20"}, 400, "invalid_option"),
        ({"style_weights": "1,much"}, 400, "invalid_option"),
        ({"centroid_weights": "x"}, 400, "invalid_option"),
        ({"loudness_mode": "loud"}, 400, "invalid_option"),
        ({"buffer_ahead": "17"}, 400, "invalid_option"),
        ({"session_id": "not / a good id"}, 400, "invalid_option"),
        ({"target_sample_rate": "1"}, 400, "invalid_option"),
        ({"temperature": "hot"}, 422, "invalid_field"),
    ],
)
def test_a_start_that_cannot_be_says_why_and_takes_no_place(
    quick_server: Server, fields: dict, status: int, code: str
) -> None:
    reply = quick_server.post(
        "/jam/start", data={"bpm": "120"} | fields, files={"loop_audio": ("l.wav", loop_bytes(seconds=1.0))}
    )
    sentence = refusal(reply, status, code)
    assert "Traceback" not in sentence and len(sentence) < 300
    assert quick_server.get("/health").json()["active_jams"] == 0


@pytest.mark.parametrize(
    "audio", [b"", b"no audio at all", wav_bytes(np.full((9000, 2), np.nan, np.float32), 8000, "FLOAT")]
)
def test_a_loop_that_is_no_sound_says_so_and_takes_no_place(quick_server: Server, audio: bytes) -> None:
    reply = quick_server.post("/jam/start", data={"bpm": "120"}, files={"loop_audio": ("l.wav", audio)})
    assert 400 <= reply.status_code < 500 and reply.json()["error"]
    assert quick_server.get("/health").json()["active_jams"] == 0


def test_a_start_without_a_loop_or_a_call_without_a_session_names_what_is_missing(quick_server: Server) -> None:
    assert "loop_audio" in refusal(quick_server.post("/jam/start", data={"bpm": "120"}), 422, "invalid_field")
    for method, path in (
        ("GET", "/jam/next"), ("GET", "/jam/status"), ("POST", "/jam/consume"), ("POST", "/jam/update"),
        ("POST", "/jam/reseed"), ("POST", "/jam/reseed_splice"), ("POST", "/jam/stop"),
    ):  # fmt: skip
        assert "session_id" in refusal(quick_server.client.request(method, path), 422, "invalid_field")
        sent = {"session_id": "nobody", "chunk_index": "0"}
        given = {"params": sent} if method == "GET" else {"data": sent}
        refusal(quick_server.client.request(method, path, **given), 404, "unknown_session")


def test_an_id_of_ones_own_is_kept_and_refused_while_in_use(quick_server: Server) -> None:
    assert start(quick_server, session_id="band-42") == "band-42"
    reply = quick_server.post(
        "/jam/start", data={"bpm": "120", "session_id": "band-42"}, files={"loop_audio": loop_bytes(seconds=1.0)}
    )
    refusal(reply, 409, "session_exists")
    stop(quick_server, "band-42")


def test_starts_beyond_capacity_are_refused_at_once_and_stop_all_frees_every_place(quick_server: Server) -> None:
    sessions = [start(quick_server) for _ in range(3)]
    loop = loop_bytes(seconds=1.0)
    seconds = []
    for _ in range(5):
        began = time.monotonic()
        reply = quick_server.post("/jam/start", data={"bpm": "120"}, files={"loop_audio": ("l.wav", loop)})
        seconds.append(time.monotonic() - began)
        refusal(reply, 429, "at_capacity")
        assert int(reply.headers["Retry-After"]) > 0
    assert sorted(seconds)[2] < 0.1
    assert all(next_chunk(quick_server, session)["index"] == 0 for session in sessions)  # nobody was disturbed
    stopped = quick_server.post("/jam/stop_all").json()
    assert stopped == {"ok": True, "stopped_sessions": stopped["stopped_sessions"], "count": 3}
    assert sorted(stopped["stopped_sessions"]) == sorted(sessions)
    assert quick_server.get("/health").json()["active_jams"] == 0


def test_tiny_jams_with_a_real_loop(server: Server) -> None:
    reply = server.post(
        "/jam/start",
        data={"bpm": "97", "bars_per_chunk": "1", "styles": "warm pads", "seed": "3"},
        files={"loop_audio": LOOPS["loop_electric"].read_bytes()},
    )
    session = reply.json()["session_id"]
    try:
        chunk = next_chunk(server, session)
        sound = heard(chunk["audio_base64"])
        assert len(sound) == round(Fraction(4 * 60 * 44_100, 97))
        assert np.abs(sound.samples).max() > 0.01
    finally:
        stop(server, session)

"""The documented samples (curl, Python, browser) and the middleware's dialect, against a real server.

Requests are those of the original's own pages and of its proxy, field by field.
"""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import numpy as np
import websockets
from serving import Server, loop_bytes

from clients.wire import exact_samples, read_wav


def test_curl_asks_for_a_one_shot_with_five_fields_and_the_rest_is_its_default(quick_server: Server) -> None:
    reply = quick_server.post(
        "/generate",
        data={"bpm": "120", "bars": "8", "styles": "acid house", "guidance_weight": "5.0", "temperature": "1.1"},
        files={"loop_audio": ("loop.wav", loop_bytes())},
    )
    told = reply.json()["metadata"]
    assert read_wav(base64.b64decode(reply.json()["audio_base64"])).frames == exact_samples(8, 4, 120, 44_100)
    assert (told["topk"], told["loop_weight"], told["loudness"]["mode"], told["beats_per_bar"]) == (40, 1.0, "auto", 4)


def test_curl_jams_without_ever_consuming_and_stops_with_json(quick_server: Server) -> None:
    started = quick_server.post(
        "/jam/start",
        data={"bpm": "400", "bars_per_chunk": "2", "styles": "techno"},
        files={"loop_audio": ("loop.wav", loop_bytes(seconds=2.0))},
    ).json()
    indices = []
    for _ in range(3):
        reply = quick_server.get("/jam/next", params={"session_id": started["session_id"]})
        indices.append(reply.json()["chunk"]["index"])
    assert indices == [0, 1, 2]
    assert quick_server.post("/jam/stop", json={"session_id": started["session_id"]}).json()["ok"] is True


def test_the_python_sample_reads_every_message_with_its_librarys_own_limit(quick_server: Server) -> None:
    async def sample() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        async with websockets.connect(quick_server.ws_url) as socket:
            params = {"styles": "warmup", "style_weights": "1.0", "temperature": 1.1, "topk": 40,
                      "guidance_weight": 1.1, "pace": "asap", "max_decode_frames": 50}  # fmt: skip
            await socket.send(json.dumps({"type": "start", "mode": "rt", "binary_audio": False, "params": params}))
            while len(found) < 4:
                message = json.loads(await socket.recv())
                if message["type"] == "chunk":
                    found.append(message)
                    await socket.send(json.dumps({"type": "update", "styles": "jazz, hiphop",
                                                  "style_weights": "1.0,0.8", "pace": "asap"}))  # fmt: skip
            await socket.send(json.dumps({"type": "stop"}))
        return found

    chunks = asyncio.run(sample())
    assert [chunk["index"] for chunk in chunks] == [0, 1, 2, 3]
    for chunk in chunks:
        told = chunk["metadata"]
        assert (told["chunk_frames"], told["chunk_seconds"], told["crossfade_seconds"]) == (50, 2.0, 0.04)
        wav = read_wav(base64.b64decode(chunk["audio_base64"]))
        assert (wav.frames, wav.rate) == (97_920, 48_000) and np.isfinite(wav.samples).all()


def test_a_shorter_linear_fade_as_the_browser_sample_has_it_is_seamless_too(quick_server: Server) -> None:
    """It fades over 25 ms where 40 ms are the same sound: any fade that adds up to one gives the stream itself."""
    from websockets.sync.client import connect

    sounds = []
    with connect(quick_server.ws_url) as socket:
        socket.send(json.dumps({"type": "start", "mode": "rt", "params": {"pace": "asap"}}))
        while len(sounds) < 2:
            message = json.loads(socket.recv(timeout=30))
            if message["type"] == "chunk":
                sounds.append(read_wav(base64.b64decode(message["audio_base64"])).samples)
    fade = 1_200
    out, into = sounds[0][-fade:], sounds[1][1_920 - fade : 1_920]
    ramp = np.linspace(0, 1, fade, dtype=np.float32)[:, None]
    assert np.allclose(out * (1 - ramp) + into * ramp, out, atol=1e-6)


def test_the_middlewares_dialect_is_taken_as_it_is(quick_server: Server) -> None:
    """An id of its own, an empty number, a stop by form, short polls: all in one session."""
    fields = {
        "session_id": "mw-7f3a", "bpm": "240", "bars_per_chunk": "1", "beats_per_bar": "4", "styles": "dub",
        "style_weights": "1.0", "loop_weight": "1.0", "guidance_weight": "1.1", "temperature": "1.1", "topk": "40",
        "loudness_mode": "auto", "loudness_headroom_db": "1.0", "target_sample_rate": "",
    }  # fmt: skip
    files = {"loop_audio": ("loop.wav", loop_bytes(seconds=2.0), "audio/wav")}
    started = quick_server.post("/jam/start", data=fields, files=files, headers={"X-API-Key": "ignored"}).json()
    assert (started["ok"], started["status"], started["session_id"]) == (True, "started", "mw-7f3a")
    who = {"session_id": "mw-7f3a"}
    reply = quick_server.get("/jam/next", params=who | {"timeout_seconds": "8"})
    body = reply.json()
    assert body["ok"] is True and body["chunk"]["metadata"]["sample_rate"] == 44_100
    assert quick_server.get("/jam/next", params=who | {"timeout_seconds": "0.1"}).status_code == 408
    assert quick_server.post("/jam/consume", data=who | {"chunk_index": "0"}).json() == {"ok": True, "consumed": 0}
    assert quick_server.post("/jam/update", data=who | {"topk": "12", "styles": "a,,b"}).json()["ok"] is True
    assert quick_server.post("/jam/reseed", data=who).json()["ok"] is True  # without a file
    spliced = quick_server.post("/jam/reseed_splice", data=who | {"anchor_bars": "2"}).json()
    assert (spliced["ok"], spliced["anchor_bars"]) == (True, 2.0)
    assert quick_server.post("/jam/stop", data=who).json()["ok"] is True
    gone = quick_server.post("/jam/update", data={"session_id": "nobody"})
    assert gone.status_code == 404 and isinstance(gone.json()["error"], str) and gone.json()["ok"] is False

"""What every reply owes to whoever asks, and what the original got wrong: the rest of docs/contract.md's table.

No client of its own is needed here; what the clients themselves meet is in their own tests.
"""

from __future__ import annotations

import base64
import time
from typing import Any

import httpx
import numpy as np
import pytest
from serving import Server, loop_bytes, wav_bytes

from clients.conftest import Studio, recording
from clients.wire import Wav, read_wav

SHORT = {"bpm": "240", "bars": "2", "loudness_mode": "none", "seed": "7"}
FADE = 221
"""Samples of the 5 ms at a one-shot's outer edges, at 44.1 kHz, rounded up."""


def generate(server: Server, audio: bytes | None = None, **fields: str) -> tuple[Wav, dict[str, Any]]:
    files = {"loop_audio": ("loop.wav", audio or loop_bytes(seconds=4.0), "audio/wav")}
    reply = server.post("/generate", data=SHORT | fields, files=files)
    assert reply.status_code == 200, reply.text[:300]
    return read_wav(base64.b64decode(reply.json()["audio_base64"])), reply.json()["metadata"]


def test_a_knob_counts_for_its_own_request_alone_and_does_count(quick_server: Server) -> None:
    """The original's library read other attributes than its server set, so that no slider did anything."""
    plain, _ = generate(quick_server)
    for name, value in (("temperature", "0.1"), ("topk", "1"), ("guidance_weight", "0")):
        turned, told = generate(quick_server, **{name: value})
        assert told[name] == float(value)
        assert not np.array_equal(turned.samples, plain.samples), name
    again, told = generate(quick_server)
    assert np.array_equal(again.samples, plain.samples)
    assert (told["guidance_weight"], told["temperature"], told["topk"]) == (5.0, 1.1, 40)


def test_intro_bars_are_played_and_thrown_away(quick_server: Server) -> None:
    whole, _ = generate(quick_server, bars="3")
    rest, told = generate(quick_server, bars="2", intro_bars_to_drop="1")
    bar = 44_100
    assert told["total_samples"] == rest.frames == 2 * bar
    assert np.allclose(rest.samples[FADE:-FADE], whole.samples[bar + FADE : -FADE], atol=1e-5)


def test_the_outer_edges_rise_from_silence_and_fall_to_it(quick_server: Server) -> None:
    wav, _ = generate(quick_server)
    assert np.abs(wav.samples[0]).max() == 0.0
    assert np.abs(wav.samples[-1]).max() < 0.1 * np.abs(wav.samples).max()


def test_what_follows_the_loops_last_whole_bar_is_not_heard_and_the_beat_goes_on_from_the_bar_line(
    quick_server: Server,
) -> None:
    """The original's music drifted off the bar where a recording was not cut to bars."""
    sound, rate = recording(seconds=4.0)
    ragged = np.concatenate([sound, np.ones((rate // 4, 2), np.float32) * 0.5])
    exact, _ = generate(quick_server, wav_bytes(sound, rate))
    heard, _ = generate(quick_server, wav_bytes(ragged, rate))
    assert np.array_equal(exact.samples, heard.samples)


def test_a_bar_of_a_fraction_is_refused_and_a_whole_one_with_a_point_is_taken(quick_server: Server) -> None:
    _, told = generate(quick_server, bars="2.0", force_reset="true", never_heard_of="x", target_sample_rate="")
    assert told["bars"] == 2 and isinstance(told["bars"], int) and told["sample_rate"] == 44_100


def test_words_and_their_weights_stay_together_where_rows_are_blank(quick_server: Server) -> None:
    _, told = generate(quick_server, styles="a,,b", style_weights="1,0.2,0.5")
    assert (told["styles"], told["style_weights"]) == (["a", "b"], [1.0, 0.5])
    _, told = generate(quick_server, styles="a,b,c", style_weights="0.5,0.25,0.1,0.9,7")
    assert told["style_weights"] == [0.5, 0.25, 0.1]
    _, told = generate(quick_server, styles="a,b,c", style_weights="0.5")
    assert told["style_weights"] == [0.5, 1.0, 1.0]


def test_a_jam_of_nothing_but_a_loop_and_a_tempo_has_the_documented_defaults(quick_server: Server) -> None:
    files = {"loop_audio": ("loop.wav", loop_bytes(seconds=2.0))}
    session = quick_server.post("/jam/start", data={"bpm": "240"}, files=files).json()["session_id"]
    told = quick_server.get("/jam/next", params={"session_id": session}).json()["chunk"]["metadata"]
    status = quick_server.get("/jam/status", params={"session_id": session}).json()
    quick_server.post("/jam/stop", json={"session_id": session})
    expected = {"bars": 4, "beats_per_bar": 4, "guidance_weight": 1.1, "temperature": 1.1, "topk": 40, "channels": 2}
    assert expected.items() <= told.items() and type(told["bpm"]) is int
    expected = {"buffer_ahead": 1, "loop_weight": 1.0, "mean": 0.0, "style_ramp_seconds": 8.0, "running": True}
    assert expected.items() <= status.items()  # the original answered 500 to every status


def test_words_alone_have_their_own_defaults(quick_server: Server) -> None:
    told = quick_server.post("/generate_style", data={"bpm": "240", "bars": "1", "styles": ""}).json()["metadata"]
    expected = {"styles": ["warmup"], "guidance_weight": 1.1, "temperature": 1.1, "topk": 40}
    assert expected.items() <= told.items()


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("/health", "ok status mode warmed active_jams capacity probe"),
        (
            "/model/config",
            "size revision repo selected_step assets_repo loaded active_jam local_checkpoint_dir mean_loaded "
            "centroids_loaded centroid_count warmup_done model",
        ),
        (
            "/model/status",
            "tag using_checkpoint_dir codec_frame_rate decoder_rvq_depth context_seconds chunk_seconds "
            "crossfade_seconds selected_step repo device dtype parameters",
        ),
        ("/model/assets/status", "repo_id mean_loaded centroids_loaded centroid_count embedding_dim"),
        ("/progress?request_id=x", "percent stage n total ts"),
    ],
)
def test_every_key_that_is_promised_is_there(quick_server: Server, path: str, keys: str) -> None:
    reply = quick_server.get(path)
    assert reply.status_code == 200 and reply.headers["Content-Type"] == "application/json"
    assert set(keys.split()) <= set(reply.json())


def test_questions_about_the_model_never_build_one(template: Server) -> None:
    """In the original they did, and took minutes."""
    began = time.monotonic()
    config = template.get("/model/config").json()
    assets = template.get("/model/assets/status").json()
    assert (config["loaded"], config["warmup_done"], assets["mean_loaded"], assets["embedding_dim"]) == (
        False, False, False, None,
    )  # fmt: skip
    assert time.monotonic() - began < 5.0


def test_pages_name_the_model_and_the_module_has_what_the_tester_imports(quick_server: Server) -> None:
    name = quick_server.get("/model/config").json()["model"]
    assert name.rsplit("/", 1)[-1] in quick_server.get("/").text
    module = quick_server.get("/magenta_prompts.js").text
    assert "export" in module and "MagentaPrompts" in module and "getNextCyclingStyle" in module


def test_any_page_may_call_without_credentials_and_ids_come_back(quick_server: Server) -> None:
    reply = quick_server.get("/ping", headers={"Origin": "https://anywhere.example", "X-Request-ID": "mine-1"})
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in reply.headers
    assert reply.headers["X-Request-ID"] == "mine-1"


def test_no_failure_is_plain_text_or_a_stack(quick_server: Server) -> None:
    wrong: list[httpx.Response] = [
        quick_server.get("/nowhere"),
        quick_server.get("/generate"),
        quick_server.post("/generate", data=SHORT),
        quick_server.post("/generate", data=SHORT | {"bpm": "0"}, files={"loop_audio": loop_bytes(seconds=1.0)}),
        quick_server.post("/jam/start", data={"bpm": "x"}, files={"loop_audio": b""}),
        quick_server.post("/jam/stop", content=b"{", headers={"Content-Type": "application/json"}),
        quick_server.get("/jam/next", params={"session_id": "nobody"}),
        quick_server.post("/model/select", json={"size": "huge", "step": "none"}),
        quick_server.post("/model/assets/load", json={"repo_id": "../../etc"}),
    ]
    for reply in wrong:
        body = reply.json()
        assert 400 <= reply.status_code < 500 and reply.headers["Content-Type"] == "application/json", reply.text
        assert body["ok"] is False and body["error"] == body["detail"] and body["code"].replace("_", "").isalnum()
        assert "Traceback" not in reply.text and "\n" not in body["error"]


@pytest.mark.acceptance
def test_a_select_without_prewarm_never_leaves_the_server_without_a_model(studio: Studio) -> None:
    """The original unloaded the old one and built nothing, which kept the app's button grey."""
    server = studio.server
    with httpx.Client(base_url=server.url, timeout=120) as client:
        reply = client.post("/model/select", json={"size": "tiny", "step": "none", "prewarm": False})
    assert reply.json()["ok"] is True
    assert server.get("/model/config").json()["loaded"] is True
    took = []
    while True:
        began = time.perf_counter()
        config = server.get("/model/config").json()
        took.append(time.perf_counter() - began)
        assert config["loaded"] is True
        if config["warmup_done"]:
            break
        time.sleep(0.1)
    assert float(np.median(took)) < 0.1, "questions have to be answered at once, while it compiles too"

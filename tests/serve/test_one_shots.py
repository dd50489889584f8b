"""One-shots as the plugin, the app and scripts ask for them: exact bars, exact types, sliders' ends, clear faults."""

from __future__ import annotations

import concurrent.futures
import statistics
import time
from fractions import Fraction
from typing import Any

import httpx
import numpy as np
import pytest
from serving import Server, heard, loop_bytes, wav_bytes

SHORT = {"bpm": "240", "bars": "1", "loudness_mode": "none"}
"""One second of music: one call of the device."""
PLUGIN = {
    "bpm": "240.000",
    "bars": "1",
    "beats_per_bar": "4",
    "styles": "",
    "style_weights": "1.00",
    "loop_weight": "0.500",
    "guidance_weight": "5.000",
    "temperature": "1.200",
    "topk": "40",
    "loudness_mode": "none",
    "loudness_headroom_db": "1.0",
    "intro_bars_to_drop": "0",
    "request_id": "0123456789abcdef0123456789abcdef",
    "mean": "1.0000",
    "centroid_weights": "0.0000,0.0000",
}
APP = {
    "bpm": "240",
    "bars": "1",
    "beats_per_bar": "4",
    "styles": "dub,techno",
    "style_weights": "1.0000,0.0000,0.5000",
    "loop_weight": "1.000",
    "guidance_weight": "10.0000",
    "temperature": "4.0000",
    "topk": "0",
}
TYPES = {
    "bpm": int,
    "bars": int,
    "beats_per_bar": int,
    "styles": list,
    "style_weights": list,
    "loop_weight": float,
    "loudness": dict,
    "sample_rate": int,
    "channels": int,
    "crossfade_seconds": float,
    "total_samples": int,
    "seconds_per_bar": float,
    "loop_duration_seconds": float,
    "guidance_weight": float,
    "temperature": float,
    "topk": int,
    "seed": int,
    "model": str,
}


def generate(server: Server, audio: bytes | None = None, **fields: str) -> httpx.Response:
    return server.post(
        "/generate", data=fields, files={"loop_audio": ("myBuffer.wav", audio or loop_bytes(), "audio/wav")}
    )


def made(reply: httpx.Response) -> dict[str, Any]:
    assert reply.status_code == 200, reply.text[:500]
    found: dict[str, Any] = reply.json()
    return found


def test_the_plugins_request_gives_exact_bars_at_the_files_rate_with_every_key(server: Server) -> None:
    reply = made(generate(server, **PLUGIN))
    audio, told = heard(reply["audio_base64"]), reply["metadata"]
    assert (audio.rate, audio.channels, len(audio)) == (44100, 2, 44100)
    assert {key: type(told[key]) for key in TYPES} == TYPES
    assert told["styles"] == ["acid house"] and told["bpm"] == 240
    assert reply["request_id"] == PLUGIN["request_id"]
    assert server.get("/progress", params={"request_id": PLUGIN["request_id"]}).json()["stage"] == "done"


def test_the_apps_request_works_at_its_sliders_ends(server: Server) -> None:
    told = made(generate(server, **APP))["metadata"]
    assert (told["styles"], told["style_weights"]) == (["dub", "techno"], [1.0, 0.0])
    assert (told["topk"], told["guidance_weight"], told["temperature"]) == (0, 10.0, 4.0)


@pytest.mark.parametrize(
    ("bpm", "bars", "beats", "rate"), [("97.531", 1, 1, 22050), ("133.33", 1, 3, 96000), ("399.999", 2, 3, 44100)]
)
def test_lengths_are_the_decimal_tempos_exact_product_rounded_once(
    server: Server, bpm: str, bars: int, beats: int, rate: int
) -> None:
    fields = {"bpm": bpm, "bars": str(bars), "beats_per_bar": str(beats), "target_sample_rate": str(rate)}
    reply = made(server.post("/generate_style", data=fields))
    audio = heard(reply["audio_base64"])
    assert len(audio) == round(Fraction(bars * beats * 60 * rate) / Fraction(bpm)) == reply["metadata"]["total_samples"]
    assert audio.rate == rate and reply["metadata"]["bpm"] == float(bpm)
    assert audio.peak == pytest.approx(0.95, abs=1e-3)


def test_the_same_seed_gives_the_same_music_and_another_other(server: Server) -> None:
    greedy = SHORT | {"temperature": "0", "guidance_weight": "0", "style_weights": "0", "loop_weight": "0"}
    same = [made(generate(server, **SHORT, seed="7")), made(generate(server, **SHORT, seed="7"))]
    assert same[0]["audio_base64"] == same[1]["audio_base64"] and same[0]["metadata"]["seed"] == 7
    assert made(generate(server, **SHORT, seed="8"))["audio_base64"] != same[0]["audio_base64"]
    one, other = made(generate(server, **greedy, seed="1")), made(generate(server, **greedy, seed="2"))
    assert one["audio_base64"] == other["audio_base64"]  # temperature 0 takes the likeliest, whatever the seed


def test_the_level_is_one_gain_from_the_first_bar_and_none_without_loudness(server: Server) -> None:
    bare = heard(made(generate(server, **SHORT, seed="7"))["audio_base64"]).samples
    reply = made(generate(server, **(SHORT | {"loudness_mode": "rms", "loudness_headroom_db": "3"}), seed="7"))
    levelled = heard(reply["audio_base64"]).samples
    gains = reply["metadata"]["loudness"]["per_bar_gain_db"]
    quiet = (np.abs(bare).max(axis=1) * 10 ** (gains[0] / 20) < 0.2) & (np.abs(bare).min(axis=1) > 1e-3)
    ratio = np.median(levelled[quiet] / bare[quiet])
    assert 20 * np.log10(ratio) == pytest.approx(gains[0], abs=0.05)
    assert np.abs(levelled).max() <= 10 ** (-3 / 20) * 1.001


@pytest.mark.parametrize(
    ("subtype", "container", "channels", "rate"), [("PCM_U8", "WAV", 1, 22050), ("FLOAT", "AIFF", 6, 48000)]
)
def test_a_loop_shorter_than_a_bar_in_any_format_is_repeated(
    server: Server, subtype: str, container: str, channels: int, rate: int
) -> None:
    tone = np.sin(np.arange(rate // 4)[:, None] * 0.1 * np.ones(channels)).astype(np.float32) * 0.5
    reply = made(generate(server, wav_bytes(tone, rate, subtype, container), **SHORT))
    assert reply["metadata"]["sample_rate"] == rate and len(heard(reply["audio_base64"])) == rate


def test_without_a_tempo_it_is_found_and_told(server: Server) -> None:
    reply = made(generate(server, bars="1", intro_bars_to_drop="0"))["metadata"]
    assert reply["detected_bpm"] == reply["bpm"] == 120


NAN = np.full((20000, 2), np.nan, np.float32)


@pytest.mark.parametrize(
    ("audio", "fields", "status", "code", "named"),
    [
        (b"", {}, 400, "bad_audio", "empty"),
        (b"not audio at all" * 99, {}, 415, "not_audio", "WAV"),
        (b"RIFF\x99\x99\x99\x99WAVEfmt nonsense", {}, 400, "bad_audio", "damaged"),
        (wav_bytes(NAN, 44100, "FLOAT"), {}, 400, "bad_audio", "NaN"),
        (None, {"bars": "0"}, 400, "invalid_option", "bars"),
        (None, {"bars": "many"}, 422, "invalid_field", "bars"),
        (None, {"bpm": "0"}, 400, "invalid_option", "0 bpm"),
        (None, {"bpm": "fast"}, 422, "invalid_field", "bpm"),
        (None, {"styles": "a,b", "style_weights": "1,loud"}, 400, "invalid_option", "'loud' as entry 2"),
        (None, {"temperature": "nan"}, 400, "invalid_option", "temperature"),
        (None, {"bpm": "60", "beats_per_bar": "10", "bars": "64"}, 400, "invalid_option", "600"),
    ],
)
def test_each_fault_has_one_sentence_its_status_and_its_code(
    server: Server, audio: bytes | None, fields: dict[str, str], status: int, code: str, named: str
) -> None:
    files = {"loop_audio": ("x.wav", loop_bytes() if audio is None else audio, "audio/wav")}
    reply = server.post("/generate", data=SHORT | fields | {"request_id": "faulty"}, files=files)
    body = reply.json()
    assert (reply.status_code, body["code"], body["ok"]) == (status, code, False)
    assert body["error"] == body["detail"] and named in body["error"]
    assert "Traceback" not in reply.text


def test_a_missing_file_is_named(server: Server) -> None:
    reply = server.post("/generate", data=SHORT)
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_field") and "loop_audio" in reply.json()["error"]


def test_progress_never_decreases_and_ends_with_done_or_error(server: Server) -> None:
    def watch(number: str) -> list[dict[str, Any]]:
        seen: list[dict[str, Any]] = []
        while not seen or seen[-1]["stage"] not in ("done", "error"):
            seen.append(server.get("/progress", params={"request_id": number}).json())
            time.sleep(0.02)
        return seen

    with concurrent.futures.ThreadPoolExecutor() as pool:
        watching = pool.submit(watch, "watched")
        made(generate(server, **(SHORT | {"bars": "4"}), request_id="watched"))
        seen = watching.result(60)
    percents = [report["percent"] for report in seen]
    assert percents == sorted(percents) and percents[-1] == 100 and all(p < 100 for p in percents[:-1])
    assert {"pending", "generating", "done"} <= {report["stage"] for report in seen}
    assert server.get("/progress", params={"request_id": "never heard of"}).json()["stage"] == "pending"
    server.post("/generate", data=SHORT | {"request_id": "wrong"}, files={"loop_audio": ("x.wav", b"x" * 99)})
    wrong = server.get("/progress", params={"request_id": "wrong"}).json()
    assert (wrong["stage"], wrong["percent"]) == ("error", 100) and "loop_audio" in wrong["error"]


def test_who_goes_away_stops_the_music_and_nobody_blocks_the_quick_answers(server: Server) -> None:
    fields = SHORT | {"bars": "64", "request_id": "left"}
    took = []
    with pytest.raises(httpx.ReadTimeout), httpx.Client(base_url=server.url, timeout=0.5) as client:
        client.post("/generate", data=fields, files={"loop_audio": ("x.wav", loop_bytes())})
    with concurrent.futures.ThreadPoolExecutor() as pool:
        busy = pool.submit(generate, server, **(SHORT | {"bars": "6"}))
        while not busy.done():
            for path in ("/health", "/progress?request_id=left", "/model/config"):
                began = time.perf_counter()
                assert server.get(path).status_code == 200
                took.append(time.perf_counter() - began)
            time.sleep(0.05)
    assert server.get("/progress", params={"request_id": "left"}).json()["stage"] == "error"
    assert statistics.median(took) < 0.1  # the contract's limit; single calls may wait for a busy machine
    assert b"darius_generate_playing 0.0" in server.get("/metrics").content


def test_urlencoded_fields_request_ids_and_reset(server: Server) -> None:
    reply = server.post("/generate/reset", headers={"X-Request-ID": "my-own-id"})
    assert {"reset": True, "counter_reset": True}.items() <= reply.json().items()
    assert reply.headers["X-Request-ID"] == "my-own-id"
    assert len(server.get("/ping", headers={"X-Request-ID": "bad id\x01"}).headers["X-Request-ID"]) == 16

"""The DAW plugin against a real server with `tiny`: what it shows, what it gets, and what it never notices.

See docs/contract.md for which of its requirements is shown where.
"""

from __future__ import annotations

import json
import time
from itertools import pairwise

import httpx
import numpy as np
import pytest
from serving import Server, free_port

from clients.conftest import FINETUNE, STEPS, Studio, recording
from clients.plugin import Plugin, Result, trimmed
from clients.wire import FLOAT, exact_samples, read_wav

FAST = 300.0
"""A tempo at which the plugin's four bars are two calls of the device."""
BASE_MODEL = "none"


@pytest.fixture
def plugin(studio: Studio) -> Plugin:
    found = Plugin(studio.url, tempo=FAST)
    assert found.check_connection()
    return found


def is_music(result: Result, *, bars: int, tempo: float, rate: int) -> None:
    """Exactly the bars that the DAW's timeline expects, at the rate of what was sent, with sound in them."""
    assert result.said == ""
    wav = result.wav
    assert (wav.kind, wav.bits, wav.channels, wav.rate) == (FLOAT, 32, 2, rate)
    assert wav.frames == exact_samples(bars, 4, f"{tempo:.3f}", rate)
    assert np.isfinite(wav.samples).all() and np.abs(wav.samples).max() > 1e-3


def test_it_connects_shows_ready_and_reads_what_is_loaded(plugin: Plugin) -> None:
    assert (plugin.connected, plugin.label) == (True, "ready")
    assert plugin.config["size"] == "tiny" and plugin.config["loaded"] is True and plugin.config["warmup_done"] is True
    assert plugin.sliders == ()


def test_a_server_that_still_loads_is_connected_and_its_first_press_on_generate_waits_for_the_music(
    studio: Studio,
) -> None:
    assert studio.early.label in ("initializing", "ready")
    is_music(studio.early.result, bars=4, tempo=FAST, rate=44_100)
    stages = [answer["stage"] for answer in studio.early.result.progress]
    assert stages[-1] == "done" and set(stages) <= {"pending", "queued", "generating", "postprocess",
                                                    "resample_and_snap", "encode", "done"}  # fmt: skip


def test_a_template_and_nobody_at_all_are_told_apart(template: Server) -> None:
    plugin = Plugin(template.url)
    assert not plugin.check_connection() and plugin.label == "not ready: template space"
    nobody = Plugin(f"http://127.0.0.1:{free_port()}")
    assert not nobody.check_connection() and nobody.label == "connection failed"
    assert nobody.generate(*recording()).said == "generate: no connection"


def test_spaces_and_slashes_around_the_address_do_no_harm(studio: Studio) -> None:
    assert Plugin(f"  {studio.url}//  ").check_connection()


def test_its_defaults_give_exact_bars_at_the_hosts_rate_and_the_result_can_be_sent_again(plugin: Plugin) -> None:
    """The empty style is its default; the second upload is a whole file of 32-bit float, no longer on its bars."""
    sound, rate = recording("loop_mika")
    sound = np.ascontiguousarray(sound[:, :1])  # a mono track
    result = plugin.generate(sound, rate)
    is_music(result, bars=4, tempo=FAST, rate=rate)
    plugin.tempo = 310.5
    again = plugin.generate(sound, rate, file=result.file)
    is_music(again, bars=4, tempo=310.5, rate=rate)


@pytest.mark.parametrize(
    ("rows", "knobs"),
    [
        pytest.param(
            [("a", 1.0), ("", 0.2), ("b", 0.5)],
            {"temperature": 0.0, "guidance": 0.0, "topk": 1, "loop_weight": 0.0},
            marks=pytest.mark.acceptance,  # a program of its own to compile, as the next
        ),
        pytest.param(
            [("", 0.0), ("", 0.0)],
            {"temperature": 10.0, "guidance": 10.0, "topk": 300, "loop_weight": 0.0},
            marks=pytest.mark.acceptance,
        ),
        ([("dub", 2.0), ("", 0.2), ("x", 1.37), ("y", 0.01)], {"temperature": 10.0, "topk": 1, "guidance": 10.0}),
        ([("", 0.0), ("", 0.0)], {"temperature": 0.0, "guidance": 0.01, "loop_weight": 0.0}),
    ],
)
def test_every_end_of_its_sliders_plays(plugin: Plugin, rows: list[tuple[str, float]], knobs: dict) -> None:
    sound, rate = recording(seconds=4.0)
    is_music(plugin.generate(sound, rate, rows=rows, **knobs), bars=4, tempo=FAST, rate=rate)


@pytest.mark.parametrize(("seconds", "rate", "tempo"), [(0.3, 88_200, 397.0), (9.9, 96_000, 333.333)])
def test_any_host_rate_and_a_recording_shorter_than_a_bar(
    plugin: Plugin, seconds: float, rate: int, tempo: float
) -> None:
    plugin.tempo = tempo
    noise = np.random.default_rng(3).normal(0, 0.1, (round(seconds * rate), 2)).astype(np.float32)
    is_music(plugin.generate(noise, rate), bars=4, tempo=tempo, rate=rate)


def test_what_it_uploads_is_the_recordings_first_whole_bars() -> None:
    sound, rate = recording(seconds=30.0)
    assert read_wav(trimmed(sound, rate, 120.0)).frames == 4 * 2 * rate  # 9.9 s hold four bars of 2 s
    assert read_wav(trimmed(sound, rate, 20.0)).frames == 12 * rate  # one bar, however long
    assert read_wav(trimmed(sound[:1000], rate, 120.0)).bits == 32  # shorter than a bar: as it is


def test_progress_only_grows_while_it_polls_four_times_a_second_and_ends_with_done(plugin: Plugin) -> None:
    result = plugin.generate(*recording(), bars=8)
    percents = [answer["percent"] for answer in result.progress]
    assert all(before <= after for before, after in pairwise(percents)) and percents[-1] == 100
    assert result.progress[0]["percent"] < 100 and result.progress[-1]["stage"] == "done"
    assert all(answer["percent"] < 100 for answer in result.progress[:-1])


def test_progress_of_a_request_that_never_came_is_pending_at_once(studio: Studio) -> None:
    began = time.monotonic()
    reply = httpx.get(f"{studio.url}/progress", params={"request_id": "0" * 32})
    assert (reply.status_code, reply.json()["percent"], reply.json()["stage"]) == (200, 0, "pending")
    assert time.monotonic() - began < 2.0


def test_a_file_that_is_no_music_is_told_as_no_audio_and_ends_the_polling(plugin: Plugin) -> None:
    result = plugin.generate(*recording(), file=b"RIFF but nothing else")
    assert result.said == "generate failed (no audio)"
    assert result.progress[-1]["stage"] == "error" and result.progress[-1]["error"]
    is_music(plugin.generate(*recording()), bars=4, tempo=FAST, rate=44_100)


def test_a_finetune_is_applied_and_steers_and_the_base_model_clears_it(plugin: Plugin) -> None:
    """One walk, since each select loads and compiles a model."""
    assert plugin.checkpoint_menu(FINETUNE) == ["latest", "none", *map(str, STEPS)]
    assert plugin.checkpoint_menu("thepatch/empty") == []
    seen: list[tuple[bool, str]] = []

    def refresh_meanwhile() -> None:
        time.sleep(0.3)
        for _ in range(8):
            config = httpx.get(f"{plugin.url}/model/config").json()
            seen.append((config["warmup_done"], config["selected_step"]))
            time.sleep(0.1)

    assert plugin.apply("latest", FINETUNE, during=refresh_meanwhile) == "Model ready (prewarmed)"
    # Whoever asks meanwhile is never told that the new model is warm before it is there.
    assert (False, None) in seen and all(step == str(STEPS[1]) for warm, step in seen if warm)
    assert plugin.config["selected_step"] == str(STEPS[1])
    assert plugin.sliders == ("mean", "C1", "C2", "C3", "C4", "C5") and plugin.centroid_count == 7
    is_music(plugin.generate(*recording()), bars=4, tempo=FAST, rate=44_100)  # with mean and five centroids

    assert plugin.apply("7", FINETUNE) == "select failed"
    assert plugin.apply("5", "thepatch/damaged") == "select failed"
    assert (plugin.config["selected_step"], plugin.config["warmup_done"]) == (str(STEPS[1]), True)

    assert plugin.apply(BASE_MODEL, FINETUNE).startswith("Model ready")
    assert (plugin.config["selected_step"], plugin.sliders) == (None, ())
    assert plugin.config["size"] == "tiny"  # it is sent back with the next select


def test_the_select_that_it_sends_is_understood_field_by_field(studio: Studio) -> None:
    body = {
        "size": "large", "repo_id": FINETUNE, "revision": "main", "assets_repo_id": FINETUNE, "step": "1861001",
        "sync_assets": True, "prewarm": True, "stop_active": True, "dry_run": True,
    }  # fmt: skip
    sent = json.dumps(body, indent=2)  # pretty-printed, as it does
    reply = httpx.post(f"{studio.url}/model/select", content=sent, headers={"Content-Type": "application/json"})
    told = reply.json()
    assert (told["ok"], told["dry_run"], told["target_step"], told["target_revision"]) == (True, True, STEPS[0], "main")
    assert isinstance(told["warmup_done"], bool) and isinstance(told["active_jam"], bool)

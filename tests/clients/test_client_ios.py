"""The iOS app against real servers: strict decoders, one-shots at its sliders' ends, and jams in real time.

What needs real time is played by a small model, whose chunks cost nothing on two cores: the clock, the slots and the
delivery are the server's own. What needs music is played by `tiny`. See docs/contract.md for the whole table.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from serving import Server

from clients.conftest import FINETUNE, STEPS, Studio, recording
from clients.ios_app import METADATA, App, Knobs, Undecodable, decode, decode_chunk
from clients.ios_player import ERROR, IDLE, Arrival, Player
from clients.tester_page import Page
from clients.wire import exact_samples, read_wav

TEMPO = 400
"""Four bars last 2.4 s: the longest that a test can wait for several of them."""
CHUNKS = 5


@contextlib.contextmanager
def installed(url: str) -> Iterator[App]:
    app = App(url)
    try:
        app.look()
        yield app
    finally:
        app.close()


def until(condition: Any, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evening:
    """An app that plays, one whose transport stands, and a page, all at once."""

    player: Player
    standing: Player
    page: Page
    at_once: dict[str, Any]


@pytest.fixture(scope="module")
def evening(quick_server: Server) -> Iterator[Evening]:
    """What they met; all have stopped."""
    sound, rate = recording(seconds=2.4 * 2)
    with installed(quick_server.url) as app, installed(quick_server.url) as other:
        player, standing, page = Player(app, bpm=TEMPO), Player(other, bpm=TEMPO), Page(quick_server.url)
        standing.transport = False
        assert player.start(sound, rate) and standing.start(sound, rate)
        page.start()
        ahead = []
        for number in range(CHUNKS):
            page.listen("chunk")
            ahead.append(page.schedule.ahead)
            if number == 1:
                turned = player.turn(Knobs(rows=(("dub", 1.0), ("", 0.3), ("x", 0.2)), topk=7, temperature=0.05))
                spliced = player.splice(*recording("loop_mika", 4.8))
        jams = quick_server.get("/health").json()
        status = quick_server.get("/jam/status", params={"session_id": standing.session}).json()
        page.stop()
        until(lambda: len(player.played) == CHUNKS)
        player.stop()
        standing.stop()
        for each in (player, standing):
            each.wait()
        at_once = {"jams": jams["active_jams"], "status": status, "turned": turned, "spliced": spliced, "ahead": ahead}
        yield Evening(player=player, standing=standing, page=page, at_once=at_once)
        page.close()


def test_every_chunk_is_played_once_and_in_order_and_none_is_replaced(evening: Evening) -> None:
    """And none is late; a machine that is busy with other things may hold up one."""
    player = evening.player
    assert player.played == list(range(CHUNKS)) and player.skipped == [] and player.repeated <= 1
    assert [arrival.index for arrival in player.arrivals] == list(range(len(player.arrivals)))
    assert len(player.arrivals) <= CHUNKS + 1  # at most one waits in the slot
    assert player.said == ""  # nothing was undecodable


@pytest.mark.acceptance
def test_forty_chunks_are_played_in_real_time_and_none_is_late(quick_server: Server) -> None:
    sound, rate = recording(seconds=2.4)
    with installed(quick_server.url) as app:
        player = Player(app, bpm=TEMPO)
        assert player.start(sound, rate)
        until(lambda: len(player.played) == 40, 120)
        player.stop()
        player.wait()
    assert player.played == list(range(40)) and (player.skipped, player.repeated) == ([], 0)


def test_three_calls_wait_at_once_and_each_chunk_goes_to_one_of_them(evening: Evening) -> None:
    assert evening.player.most_waiting == 3
    assert evening.player.statuses.count(200) == len(evening.player.arrivals) + evening.player.unheard
    assert evening.player.unheard <= 1


def test_chunks_are_the_bar_grid_to_the_sample_with_all_keys(evening: Evening) -> None:
    for arrival in evening.player.arrivals:
        told = arrival.metadata
        assert set(told) == set(METADATA)
        assert (told["bpm"], told["bars"], told["beats_per_bar"], told["sample_rate"]) == (TEMPO, 4, 4, 44_100)
        assert arrival.wav.frames == told["total_samples"] == exact_samples(4, 4, TEMPO, 44_100)
        assert told["loop_duration_seconds"] == pytest.approx(2.4) and told["seconds_per_bar"] == pytest.approx(0.6)
        assert (arrival.wav.rate, arrival.wav.channels, told["channels"]) == (44_100, 2, 2)


def test_knobs_and_a_splice_act_while_it_plays(evening: Evening) -> None:
    assert evening.at_once["turned"] and evening.at_once["spliced"]
    assert evening.player.arrivals[0].metadata["topk"] == 30
    last = evening.player.arrivals[-1].metadata
    assert (last["topk"], last["temperature"]) == (7, 0.05)


def test_where_the_transport_stands_three_chunks_are_fetched_and_the_jam_waits(evening: Evening) -> None:
    assert [arrival.index for arrival in evening.standing.arrivals] == [0, 1, 2]
    assert evening.standing.played == [] and evening.at_once["status"]["running"] is True
    gaps = [b.when - a.when for a, b in itertools.pairwise(evening.standing.arrivals)]
    assert gaps[0] == pytest.approx(1.25 * 2.4, abs=0.6)  # real time, since it consumes nothing


def test_what_waits_when_stop_is_pressed_is_answered_with_408_and_the_app_is_idle(evening: Evening) -> None:
    """404 would make it an error that only a relaunch ends."""
    for player in (evening.player, evening.standing):
        assert player.state == IDLE
        assert set(player.statuses) <= {200, 408} and 404 not in player.statuses
    assert evening.player.statuses[-1 - evening.player.unheard :].count(408) >= 1


def test_a_page_plays_beside_them_without_a_gap(evening: Evening) -> None:
    assert evening.page.schedule.late == 0 and evening.at_once["jams"] == 3
    assert evening.page.unknown == []


def test_a_pages_queue_neither_drains_nor_grows(evening: Evening) -> None:
    """The hop is the chunk less its overlap: the reference lost 40 ms a chunk here, and every third one came late."""
    hops = [after - before for before, after in itertools.pairwise(evening.page.schedule.starts)]
    assert hops == pytest.approx([2.0] * (CHUNKS - 1))
    ahead = evening.at_once["ahead"][2:]
    assert max(ahead) - min(ahead) < 1.0 and min(ahead) > 2.0


def test_the_next_jam_can_be_started_the_moment_stop_was_answered(quick_server: Server) -> None:
    """At capacity: a place that came back late would be a 429, after which the app has to be relaunched."""
    sound, rate = recording(seconds=1.0)
    with installed(quick_server.url) as app:
        others = [Player(app, bpm=TEMPO) for _ in range(2)]
        assert all(other.start(sound, rate) for other in others)
        for _ in range(4):
            player = Player(app, bpm=TEMPO)
            assert player.start(sound, rate), player.said
            player.stop()
            player.wait()
            assert player.state == IDLE
        third = Player(app, bpm=TEMPO)
        assert third.start(sound, rate)
        refused = Player(app, bpm=TEMPO)
        assert not refused.start(sound, rate)
        assert (refused.state, refused.said) == (ERROR, "Server error: 429")
        for each in (*others, third):
            each.stop()
            each.wait()


def test_an_unknown_session_is_404_and_only_then(quick_server: Server) -> None:
    with installed(quick_server.url) as app:
        assert app.get("/jam/next", session_id="never-there").status_code == 404


def test_the_popup_decodes_and_the_button_works(studio: Studio) -> None:
    with installed(studio.url) as app:
        assert app.online and app.button_works and app.said == ""
        assert app.config["size"] == "tiny" and "selected_step" not in app.config  # null
        assert app.assets == {"mean_loaded": False, "centroids_loaded": False, "embedding_dim": 768}
        assert app.centroid_sliders == 0


def test_a_template_is_offline_but_its_configuration_decodes(template: Server) -> None:
    with installed(template.url) as app:
        assert not app.online and not app.button_works and app.said == "HTTP 503 from /health"


@pytest.mark.acceptance  # the plugin's applying is in CI
def test_apply_is_two_posts_and_a_failure_can_be_read(studio: Studio) -> None:
    with installed(studio.url) as app:
        assert app.checkpoints(FINETUNE) == {"repo": FINETUNE, "revision": "main", "steps": list(STEPS),
                                             "latest": STEPS[1]}  # fmt: skip
        assert not app.apply("99", size="base")
        told = json.loads(app.said)  # it shows the body as it is
        assert told["ok"] is False and "1861001" in told["error"]
        assert app.apply(str(STEPS[0]), size="base")
        assert (app.config["selected_step"], app.config["mean_loaded"]) == (str(STEPS[0]), True)
        app.look()
        assert app.centroid_sliders == 7  # all of them
        sound, rate = recording(seconds=2.4)
        player = Player(app, bpm=TEMPO, knobs=Knobs(centroids=(0.0, 2.0)))
        assert player.start(sound, rate)
        until(lambda: player.arrivals, 60)
        status = app.get("/jam/status", session_id=player.session).json()
        assert (status["mean"], status["centroid_weights"]) == (1.0, [0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0])
        player.stop()
        player.wait()
        assert app.apply("none", size="tiny")  # with sync_assets, as always
        assert app.config["mean_loaded"] is False and "selected_step" not in app.config


@pytest.mark.parametrize(
    ("bars", "knobs"),
    [
        (4, Knobs(rows=(("dub", 1.0), ("", 0.0), ("techno", 0.5)), topk=0, temperature=4.0, guidance=10.0)),
        pytest.param(
            8,
            Knobs(rows=(("", 1.0),), topk=1024, temperature=0.0, guidance=0.0, loop_weight=0.0),
            marks=pytest.mark.acceptance,  # guidance 0 is a program of its own; the plugin's tests have it too
        ),
    ],
)
def test_one_shots_at_the_ends_of_its_sliders(studio: Studio, bars: int, knobs: Knobs) -> None:
    with installed(studio.url) as app:
        made = app.generate(*recording(seconds=4.0), bpm=TEMPO, bars=bars, knobs=knobs)
        assert made, app.said
        wav = read_wav(made["file"])
        assert wav.frames == exact_samples(bars, 4, TEMPO, 44_100) and wav.rate == 44_100
        assert (made["bars"], made["bpm"]) == (bars, TEMPO) and made["seed"] is not None
        assert made["seconds_per_bar"] == pytest.approx(0.6)
        assert made["loop_duration_seconds"] == pytest.approx(bars * 0.6)


def test_a_jam_of_tiny_goes_on_in_the_loops_level_with_exact_chunks(studio: Studio) -> None:
    with installed(studio.url) as app:
        sound, rate = recording(seconds=4.8)
        player = Player(app, bpm=TEMPO)
        assert player.start(sound, rate)
        until(lambda: len(player.arrivals) >= 2)
        player.stop()
        player.wait()
        assert [arrival.wav.frames for arrival in player.arrivals[:2]] == [exact_samples(4, 4, TEMPO, rate)] * 2
        assert abs(level(player.arrivals[0]) - decibels(sound)) < 6.0  # loudness auto: the loop's own


def level(arrival: Arrival) -> float:
    return decibels(arrival.wav.samples)


def decibels(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64))))


def test_the_decoders_here_are_as_strict_as_the_apps_own() -> None:
    told = dict.fromkeys(METADATA, 4)
    chunk: dict[str, Any] = {"chunk": {"index": 0, "audio_base64": "", "metadata": told}}
    assert decode_chunk(chunk)["metadata"]["bpm"] == 4
    for key, value in (("bpm", 97.5), ("topk", None), ("bars", "4"), ("channels", True)):
        with pytest.raises(Undecodable):
            decode({**told, key: value}, METADATA)

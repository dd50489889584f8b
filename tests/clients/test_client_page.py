"""The original's web tester against real servers: its card, its selects, and streams over its socket.

`tiny` shows the sound; the small model, whose chunks cost nothing, shows the clock.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from serving import Server

from clients.conftest import FINETUNE, STEPS, Studio
from clients.tester_page import Page, Sliders
from clients.wire import FLOAT

CHUNK_FRAMES, HOP_FRAMES, FADE_FRAMES = 97_920, 96_000, 1_920
CHUNK_BYTES = 783_448
"""Of a chunk's WAV in the reference; 8 bytes a frame, and a header of 88."""


@contextlib.contextmanager
def opened(url: str) -> Iterator[Page]:
    page = Page(url)
    try:
        page.load()
        yield page
    finally:
        page.close()


def nobody_plays(server: Server) -> None:
    server.wait_for("/health", "active_jams", 0, 20)


def test_it_loads_and_shows_how_the_server_is(studio: Studio) -> None:
    with opened(studio.url) as page:
        assert (page.enabled, page.steering, page.said) == (True, False, "serve warmed=True")


def test_a_server_that_cannot_play_says_why_and_nothing_can_be_pressed(template: Server) -> None:
    with opened(template.url) as page:
        assert not page.enabled and "template" in page.said and page.said.endswith("(template_mode)")


def test_a_stream_of_tiny_is_overlap_added_to_one_seamless_sound(studio: Studio) -> None:
    """With the mean and centroids that it always sends, though this model has none."""
    with opened(studio.url) as page:
        page.start(Sliders(styles=("warm pads", "dub"), style_weights=(1.0, 0.5), centroids=(0.0, 1.5, 0, 0, 0)))
        for _ in range(3):
            page.listen("chunk")
        kinds = [message["type"] for message in page.messages]
        assert kinds == ["started", "chunk", "chunk", "chunk"] and page.unknown == []
        started = page.messages[0]
        assert (started["mode"], started["steering_assets"]) == ("rt", "none")
        assert all(message["metadata"]["sample_rate"] == 48_000 for message in page.messages[1:])
        assert all(len(json.dumps(message)) < 1 << 20 for message in page.messages)
        for wav in page.wavs:
            assert (wav.kind, wav.channels, wav.rate, wav.frames) == (FLOAT, 2, 48_000, CHUNK_FRAMES)
            assert np.abs(wav.samples).max() > 0.05  # and it is heard, though there is no loop
        for before, after in pairwise(page.wavs):
            # What is faded out and what is faded in are the same sound, so that sin^2 + cos^2 changes nothing.
            assert np.array_equal(before.samples[-FADE_FRAMES:], after.samples[:FADE_FRAMES])
        page.stop()
    nobody_plays(studio.server)


def test_a_chunk_is_no_larger_than_the_references(quick_server: Server) -> None:
    with opened(quick_server.url) as page:
        page.start(binary=True)
        assert page.listen("binary") and page.listen("chunk_meta")["index"] == 0
        assert len(page.wavs[0].samples) * 8 <= CHUNK_BYTES
        assert [message["type"] for message in page.messages] == ["started", "chunk_meta"]
        page.stop()
    nobody_plays(quick_server)


def test_sliders_act_and_emptied_fields_change_nothing(quick_server: Server) -> None:
    with opened(quick_server.url) as page:
        page.start(Sliders(temperature=0.1, topk=256, guidance_weight=8.0), pace="asap")
        assert page.listen("chunk")["metadata"]["topk"] == 256
        page.turn(Sliders(temperature=None, topk=None, guidance_weight=2.5, styles=(), style_weights=()))
        assert page.listen("status")["updated"] is True
        for _ in range(4):
            told = page.listen("chunk")["metadata"]
        assert (told["temperature"], told["topk"], told["guidance_weight"]) == (0.1, 256, 2.5)
        page.ping()
        page.listen("pong")
        assert page.unknown == []
        page.stop()
    nobody_plays(quick_server)


def test_an_emptied_field_at_the_start_takes_its_default(quick_server: Server) -> None:
    """The reference raised, sent an error and closed."""
    with opened(quick_server.url) as page:
        page.start(Sliders(temperature=None, topk=None, styles=("",), style_weights=(2.0,)))
        told = page.listen("chunk")["metadata"]
        assert (told["temperature"], told["topk"]) == (1.1, 40)
        assert all(message["type"] != "error" for message in page.messages)
        page.stop()


def test_stop_frees_its_place_though_the_page_closes_at_once(quick_server: Server) -> None:
    for _ in range(3):
        pages = [Page(quick_server.url) for _ in range(3)]  # all the places there are
        for page in pages:
            page.start()
            page.listen("started")
        for page in pages:
            page.stop()
            page.close()
        nobody_plays(quick_server)


def test_streams_are_jams_like_all_others(studio: Studio) -> None:
    """In the reference they were invisible to the number of jams and to a select."""
    with opened(studio.url) as page:
        page.start(pace="asap")
        page.listen("started")
        health = studio.server.get("/health").json()
        assert (health["active_jams"], studio.server.get("/model/config").json()["active_jam"]) == (1, True)
        kept = studio.server.post("/model/select", json={"size": "tiny", "step": "none", "stop_active": False})
        assert (kept.status_code, kept.json()["code"]) == (409, "jam_running")
        took = []
        for _ in range(10):  # while it generates as fast as it can
            began = time.perf_counter()
            assert studio.server.get("/health").status_code == 200
            took.append(time.perf_counter() - began)
            time.sleep(0.1)
        assert float(np.median(took)) < 0.1
        page.stop()
    nobody_plays(studio.server)


def test_a_select_that_fails_says_its_error(studio: Studio) -> None:
    with opened(studio.url) as page:
        assert not page.select(repo=FINETUNE, step=3)
        assert "1861001" in page.said  # its `error`, not a status line


@pytest.mark.acceptance
def test_a_finetune_by_number_shows_the_steering_card_and_the_base_box_hides_it(studio: Studio) -> None:
    with opened(studio.url) as page:
        assert page.select(size="tiny", repo=FINETUNE, step=STEPS[1]) and page.steering
        page.start()
        assert page.listen("started")["steering_assets"] == "loaded"
        page.stop()
        assert page.select(size="tiny", base=True) and not page.steering
    nobody_plays(studio.server)

"""The tester makes music: the loudspeaker gets what the server sent, whole and in order, and hands act on it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from known_loops import LOOPS
from serving import Server

from .tap import QUANTUM
from .wire import chunks, messages, wait_until

RATE = 48_000
FADE = 240
"""Frames over which the page's sound begins, and ends where the server is late."""


def pieces(heard: np.ndarray) -> list[np.ndarray]:
    """What was heard between pauses."""
    blocks = heard.reshape(-1, QUANTUM, 2)
    sounding = np.any(blocks != 0, axis=(1, 2)).astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], sounding, [0]])))
    found = [blocks[a:b].reshape(-1, 2) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return [piece[: np.flatnonzero(np.any(piece != 0, axis=1))[-1] + 1] for piece in found]


def assert_whole(heard: np.ndarray, sent: np.ndarray, *, faded_out: bool) -> None:
    """Every sample that the server sent was heard, once and in order; only at pauses it may be faded, never cut.

    Args:
      faded_out: the last 30 ms were faded because someone pressed Stop.
    """
    at = 0
    parts = pieces(heard)
    for i, piece in enumerate(parts):
        end = len(piece) - (1440 if faded_out and i == len(parts) - 1 else FADE)
        assert np.array_equal(piece[FADE:end], sent[at + FADE : at + end]), f"piece {i} of {len(parts)} differs"
        assert np.all(np.abs(piece) <= np.abs(sent[at : at + len(piece)]) + 1e-7)
        at += len(piece)
    assert at <= len(sent)


def press(page: Any, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def heard_at_least(page: Any, seconds: float) -> None:
    wait_until(page, lambda: page.tap.sounding_seconds() >= seconds, 120)


def stop(page: Any) -> None:
    press(page, "Stop")
    wait_until(page, lambda: page.locator("body").get_attribute("data-state") == "idle")
    page.wait_for_timeout(200)  # the fade


def test_words_alone_play_without_a_gap(visit: Callable[..., Any]) -> None:
    page = visit(tapped=True)
    page.get_by_role("radio", name="Words alone").check()
    page.get_by_role("textbox", name="Style 1").fill("dub techno")
    page.get_by_text("Seed and pace").click()
    page.get_by_label("make music as fast as it can").check()
    press(page, "Start")
    heard_at_least(page, 4.5)  # beyond the second border
    stop(page)
    start = messages(page, sent=True, kind="start")[0]
    assert (start["mode"], start["params"]["overlap"], start["params"]["pace"]) == ("rt", False, "asap")
    assert start["params"]["styles"].startswith("dub techno")
    assert all(len(chunk) == 2 * RATE for chunk in chunks(page))
    heard = page.tap.heard()
    assert np.any(heard)  # what a small model plays without a loop may be very quiet
    assert_whole(heard, np.concatenate(chunks(page)), faded_out=True)


def test_a_loop_goes_on_in_whole_bars_and_a_take_is_what_was_heard_and_can_be_the_next_loop(
    visit: Callable[..., Any], tmp_path: Path
) -> None:
    page = visit(tapped=True)
    page.get_by_label("Choose a sound file").set_input_files(LOOPS["loop_garzul"])
    page.get_by_text("8.00 s, 4 bars").wait_for()
    assert page.get_by_label("Tempo, bpm").input_value() == "120"
    press(page, "Twice the tempo")
    page.get_by_text("8.00 s, 8 bars").wait_for()
    page.get_by_label("Bars in a chunk").select_option("1")
    press(page, "Start")
    press(page, "Record")
    heard_at_least(page, 2.5)
    assert int(page.locator("#count").inner_text()) >= 2  # the third bar at the latest
    assert page.get_by_role("meter", name="Level").get_attribute("aria-valuetext") != "silent"
    stop(page)
    sent = chunks(page)
    assert all(len(chunk) == RATE for chunk in sent)
    heard = page.tap.heard()
    assert np.abs(heard).max() > 0.05
    assert_whole(heard, np.concatenate(sent), faded_out=True)
    told = [message["chunk_index"] for message in messages(page, sent=True, kind="consume")]
    assert told == list(range(len(told))) and len(told) >= 2
    with page.expect_download() as download:
        page.get_by_role("link", name="Download take 1").click()
    assert download.value.suggested_filename.startswith("darius_240bpm_")
    download.value.save_as(tmp_path / "take.wav")
    take, rate = sf.read(tmp_path / "take.wav", dtype="float32")
    assert (rate, sf.info(tmp_path / "take.wav").subtype) == (RATE, "PCM_24")
    sounding = np.concatenate(pieces(heard))
    assert np.abs(take[: len(sounding)] - sounding[: len(take)]).max() <= 2**-22  # rounded to 24 bits
    assert abs(len(take) - len(sounding)) <= QUANTUM
    page.get_by_role("button", name="Use take 1 as the loop").click()
    page.locator("#loop-name", has_text="darius_240bpm").wait_for()
    assert page.get_by_label("Tempo, bpm").input_value() == "240"
    page.get_by_role("button", name="Discard take 1").click()
    assert page.locator("#no-takes").is_visible()


def test_a_turned_knob_reaches_the_music_and_the_tape_says_where(visit: Callable[..., Any]) -> None:
    page = visit()  # under the server's own content policy
    press(page, "Four to the floor")
    press(page, "Twice the tempo")
    page.get_by_label("Bars in a chunk").select_option("1")
    press(page, "Start")
    wait_until(page, lambda: chunks(page))
    wait_until(page, lambda: page.get_by_role("meter", name="Level").get_attribute("aria-valuetext") != "silent")
    page.get_by_label("Temperature").focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.get_by_role("textbox", name="Style 1").fill("breakbeat")
    wait_until(page, lambda: [m for m in messages(page, sent=False, kind="status") if "updated" in m])
    update = messages(page, sent=True, kind="update")[-1]
    assert update["temperature"] == pytest.approx(1.3)
    assert update["styles"].startswith("breakbeat") and update["style_weights"].startswith("1.00")

    def told() -> list[float]:
        return [message["metadata"]["temperature"] for message in messages(page, sent=False, kind="chunk_meta")]

    wait_until(page, lambda: told()[-1] == pytest.approx(1.3))
    assert told()[0] == pytest.approx(1.1)
    press(page, "Bring the loop back")
    press(page, "Blend in its last bars")
    page.wait_for_timeout(500)
    assert page.locator("#failure").is_hidden()
    stop(page)


def test_volume_is_heard_and_a_seed_is_sent(visit: Callable[..., Any]) -> None:
    page = visit(tapped=True)
    page.get_by_label("Volume").fill("0.5")
    page.get_by_text("Seed and pace").click()
    page.get_by_label("Seed", exact=True).fill("42")
    page.get_by_role("radio", name="Words alone").check()
    press(page, "Start")
    heard_at_least(page, 1.0)
    stop(page)
    assert messages(page, sent=True, kind="start")[0]["params"]["seed"] == 42
    piece = pieces(page.tap.heard())[0]
    sent = np.concatenate(chunks(page))
    assert np.allclose(piece[FADE:-1440], 0.25 * sent[FADE : len(piece) - 1440], atol=1e-4)


def test_without_an_audio_thread_it_plays_too(visit: Callable[..., Any], server: Server, tmp_path: Path) -> None:
    """A phone that opens http://studio:7860 gets no AudioWorklet from its browser: the address is not a secure one."""
    page = visit(f"http://darius.test:{server.port}/tester")
    assert not page.evaluate("isSecureContext")
    press(page, "Half-time dub")
    press(page, "Twice the tempo")
    page.get_by_label("Bars in a chunk").select_option("1")
    press(page, "Start")
    press(page, "Record")
    wait_until(page, lambda: page.locator("#count").inner_text() == "3", 120)
    stop(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download take 1").click()
    download.value.save_as(tmp_path / "take.wav")
    take = np.asarray(sf.read(tmp_path / "take.wav", dtype="float32")[0])
    sent = np.concatenate(chunks(page))
    assert len(take) > 1.5 * RATE
    steady = len(chunks(page)[0]) - FADE  # before the first pause that a slow server may make
    assert np.abs(take[FADE:steady] - sent[FADE:steady]).max() <= 2**-22


def test_wav_bytes_survive_the_page(visit: Callable[..., Any]) -> None:
    """The page's own WAV reader against libsndfile's writer, in every format that it takes."""
    page = visit(tapped=True)
    rng = np.random.default_rng(0)
    samples = rng.uniform(-1, 1, (300, 2)).astype(np.float32)
    for subtype, step in (("FLOAT", 0.0), ("PCM_16", 2**-15), ("PCM_24", 2**-23), ("PCM_32", 2**-23)):
        target = io.BytesIO()
        sf.write(target, samples, 22_050, format="WAVEX" if subtype == "PCM_24" else "WAV", subtype=subtype)
        read = page.evaluate(
            """async (bytes) => {
              const { decodeWav } = await import("/static/tester/wav.js");
              const { rate, channels } = decodeWav(new Uint8Array(bytes).buffer);
              return { rate, channels: channels.map((channel) => [...channel]) };
            }""",
            list(target.getvalue()),
        )
        assert read["rate"] == 22_050
        assert np.abs(np.array(read["channels"]).T - samples).max() <= step

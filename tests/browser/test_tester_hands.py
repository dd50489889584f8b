"""The tester's piano and drums, for models that take them: every way of playing reaches the server, and the music."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from serving import Server

from .looks import contrasts, small_targets, unnamed
from .wire import chunks, messages, wait_until

PHONE = {"width": 390, "height": 844}
PLUGGED_IN = """() => {
  const input = { name: "Small Keys", state: "connected" };
  navigator.requestMIDIAccess = async () => ({ inputs: new Map([["1", input]]) });
  window.strike = (...bytes) => input.onmidimessage({ data: new Uint8Array(bytes) });
}"""
"""A keyboard for the browser: this machine has none."""


@pytest.fixture
def server(mrt2_server: Server) -> Server:
    return mrt2_server


@pytest.fixture
def page(visit: Callable[..., Any]) -> Any:
    """The tester, ready to play from words alone."""
    return opened(visit())


def opened(page: Any) -> Any:
    page.locator("#hands").wait_for()
    page.get_by_role("radio", name="Words alone").check()
    wait_until(page, lambda: page.get_by_role("button", name="Start").is_enabled())
    return page


def start(page: Any, *, seed: int = 42) -> None:
    page.get_by_label("Seed", exact=True).evaluate("(field, seed) => (field.value = seed)", seed)
    page.get_by_role("button", name="Start").click()
    wait_until(page, lambda: chunks(page))


def stop(page: Any) -> None:
    page.get_by_role("button", name="Stop").click()
    wait_until(page, lambda: page.locator("body").get_attribute("data-state") == "idle")


def played(page: Any) -> list[tuple[int, int]]:
    """Every (pitch, velocity) that was sent."""
    told = messages(page, sent=True, kind="notes")
    return [(key["pitch"], key["velocity"]) for message in told for key in message["keys"]]


def expect(page: Any, *keys: tuple[int, int]) -> None:
    """These were sent since the last call of this, in any order within it."""
    before = len(page.expected) if hasattr(page, "expected") else 0
    wait_until(page, lambda: sorted(played(page)[before:]) == sorted(keys), 20)
    page.expected = played(page)


def answered(page: Any) -> int:
    """Keys that the server has taken."""
    return sum(message.get("notes", 0) for message in messages(page, sent=False, kind="status"))


def key(page: Any, name: str) -> Any:
    return page.get_by_role("group", name="Piano").get_by_role("button", name=name, exact=True)


def middle(page: Any, name: str) -> dict[str, float]:
    """A point on a key, below the black ones."""
    box = key(page, name).bounding_box()
    return {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] * 0.9}


def test_they_are_there_only_where_the_model_takes_notes(
    page: Any, visit: Callable[..., Any], quick_server: Server
) -> None:
    assert page.get_by_role("group", name="Piano").is_visible() and page.get_by_role("group", name="Drums").is_visible()
    other = visit(f"{quick_server.url}/tester")
    other.locator("#server-line", has_text="ready").wait_for()
    wait_until(other, lambda: other.get_by_role("button", name="Start").is_enabled())
    assert other.locator("#hands").is_hidden()
    assert other.get_by_label("Guidance", exact=True).get_attribute("min") == "0"


def test_every_hand_reaches_the_server(page: Any) -> None:
    start(page)
    page.keyboard.down("a")  # the computer's keys: a chord
    page.keyboard.down("d")
    assert key(page, "C 3").get_attribute("aria-pressed") == key(page, "E 3").get_attribute("aria-pressed") == "true"
    page.keyboard.up("a")
    page.keyboard.up("d")
    expect(page, (48, 100), (52, 100), (48, 0), (52, 0))
    page.mouse.move(**middle(page, "F 3"))  # a mouse that glides on to the next key
    page.mouse.down()
    page.mouse.move(**middle(page, "G 3"))
    page.mouse.up()
    expect(page, (53, 100), (53, 0), (55, 100), (55, 0))
    key(page, "C 3").focus()  # the keys that move the focus, and press
    page.keyboard.press("ArrowRight")
    page.keyboard.down("Enter")
    page.keyboard.up("Enter")
    expect(page, (49, 100), (49, 0))
    key(page, "A 3").evaluate("(element) => element.click()")  # what a screen reader does: it cannot hold a key
    assert key(page, "A 3").get_attribute("aria-pressed") == "true"
    key(page, "A 3").evaluate("(element) => element.click()")
    expect(page, (57, 100), (57, 0))
    page.get_by_role("button", name="Hold keys").click()
    page.keyboard.press("a")
    page.get_by_role("button", name="Octave up").click()
    page.keyboard.press("a")
    page.get_by_role("button", name="Hold keys").click()  # all up again
    expect(page, (48, 100), (60, 100), (48, 0), (60, 0))
    wait_until(page, lambda: answered(page) == len(played(page)))
    assert page.get_by_role("alert").count() == 0
    stop(page)


def test_letters_are_notes_and_no_shortcuts_but_words_stay_words(page: Any) -> None:
    words = page.get_by_role("textbox", name="Style 1")
    words.fill("")
    words.press_sequentially("dub")
    page.locator("h1").click()
    page.keyboard.press("d")
    assert words.input_value() == "dub"  # no dice were rolled
    assert page.locator("#piano [aria-pressed=true]").count() == 0


def test_a_keyboard_that_is_plugged_in_plays_too(visit: Callable[..., Any]) -> None:
    page = opened(visit())
    page.evaluate(PLUGGED_IN)
    page.get_by_role("button", name="MIDI keyboard").click()
    page.get_by_text("Hears Small Keys.").wait_for()
    start(page)
    for message in (
        [0x90, 64, 77], [0x99, 36, 100], [0x90, 64, 0],  # down, drums (left out), up
        [0xB0, 64, 127], [0x91, 67, 50], [0x81, 67, 0], [0xB0, 64, 0],  # under the pedal
    ):  # fmt: skip
        page.evaluate("(bytes) => window.strike(...bytes)", message)
    wait_until(page, lambda: answered(page) == 4)
    assert played(page) == [(64, 77), (64, 0), (67, 50), (67, 0)]
    stop(page)


def test_notes_change_the_music_and_nothing_else_does(page: Any) -> None:
    """The same seed three times; the third time with a chord that is held from before the start."""
    heard = []
    for held in (False, False, True):
        page.socket_frames.clear()
        if held:
            page.get_by_role("button", name="Hold keys").click()
            for letter in "adg":
                page.keyboard.press(letter)
        start(page)
        wait_until(page, lambda: len(chunks(page)) >= 4)
        assert answered(page) == (3 if held else 0)
        heard.append(np.concatenate(chunks(page)[:4]))
        stop(page)
    assert np.array_equal(heard[0], heard[1])
    assert not np.array_equal(heard[1], heard[2])
    changed = np.flatnonzero(np.any(heard[1] != heard[2], axis=1))[0]
    assert np.abs(heard[1] - heard[2])[changed:].max() > 0.01


def test_drums_and_how_strictly_they_are_followed_are_told(page: Any) -> None:
    page.get_by_label("Words alone answer within").select_option("80 ms")
    start(page)
    params = messages(page, sent=True, kind="start")[0]["params"]
    wanted = {"drums": "auto", "notes_guidance": 1, "drums_guidance": 1, "max_decode_frames": 2}
    assert wanted.items() <= params.items() and params["guidance_weight"] == 3  # of the model's own scale
    page.get_by_role("group", name="Drums").get_by_role("radio", name="On").check()
    page.get_by_label("Notes guidance").fill("4")
    page.get_by_label("Drums guidance").fill("-1")
    page.get_by_label("Words alone answer within").select_option("0.4 s")
    turned = {"drums": "on", "notes_guidance": 4, "drums_guidance": -1, "max_decode_frames": 10}
    wait_until(page, lambda: any(turned.items() <= told.items() for told in messages(page, sent=True, kind="update")))
    assert len(chunks(page)[0]) == 2 * 1920
    wait_until(page, lambda: len(chunks(page)[-1]) == 10 * 1920)
    assert page.get_by_role("alert").count() == 0
    stop(page)


def test_two_fingers_play_a_chord_on_a_phone(visit: Callable[..., Any]) -> None:
    page = opened(visit(viewport=PHONE, is_mobile=True, has_touch=True, device_scale_factor=2))
    assert page.evaluate("() => document.documentElement.scrollWidth") == PHONE["width"]
    assert small_targets(page, least=24) == []
    start(page)
    key(page, "C 3").scroll_into_view_if_needed()
    touch = page.context.new_cdp_session(page)
    points = [{**middle(page, name), "id": i} for i, name in enumerate(("C 3", "G 3"))]
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": points[:1]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": points})
    wait_until(page, lambda: played(page) == [(48, 100), (55, 100)])
    assert page.locator("#piano [aria-pressed=true]").count() == 2
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    wait_until(page, lambda: sorted(played(page)[2:]) == [(48, 0), (55, 0)])
    stop(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_they_can_be_named_and_read(visit: Callable[..., Any], scheme: str) -> None:
    page = opened(visit(color_scheme=scheme))
    assert unnamed(page) == []
    assert [entry for entry in contrasts(page) if entry[1] < 4.5] == []  # WCAG 2.2 AA
    stops = page.evaluate("() => document.querySelectorAll('#piano [tabindex=\"0\"]').length")
    assert stops == 1  # one stop of the Tab key, not thirty

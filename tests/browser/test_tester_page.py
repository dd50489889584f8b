"""The tester as a page: words for every failure, any screen, any way of using it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serving import Server, loop_bytes

from .looks import contrasts, small_targets, unnamed
from .wire import messages, wait_until

PHONES = [{"width": 390, "height": 844}, {"width": 320, "height": 640}]


def failure(page: Any) -> Any:
    return page.get_by_role("alert")


def test_everything_is_served_from_here(visit: Callable[..., Any], server: Server) -> None:
    page = visit()
    page.get_by_text("tiny, ready").wait_for()
    asked = page.evaluate("() => performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert len(asked) > 15 and all(address.startswith(server.url) for address in asked)
    prompts = server.get("/magenta_prompts.js")
    assert prompts.headers["content-type"].split(";")[0] == "text/javascript"
    drawn = page.evaluate(
        """async () => {
          const { MagentaPrompts } = await import("/magenta_prompts.js");
          return Array.from({ length: 60 }, () => MagentaPrompts.getNextCyclingStyle());
        }"""
    )
    assert all(isinstance(words, str) and words and "," not in words for words in drawn)
    assert len(set(drawn)) > 20 and all(a != b for a, b in itertools.pairwise(drawn))


def test_without_a_loop_it_says_what_to_do(visit: Callable[..., Any]) -> None:
    page = visit()
    page.get_by_role("button", name="Start").click()
    assert "Choose a loop first" in failure(page).inner_text()
    assert page.evaluate("() => document.activeElement.id") == "file"
    page.get_by_role("button", name="Close").click()
    assert failure(page).count() == 0


def test_a_file_that_is_no_sound_is_refused_in_words(visit: Callable[..., Any], tmp_path: Path) -> None:
    page = visit()
    (tmp_path / "notes.wav").write_text("no sound at all")
    page.get_by_label("Choose a sound file").set_input_files(tmp_path / "notes.wav")
    failure(page).wait_for()
    assert "“notes.wav” is no sound file" in failure(page).inner_text()
    page.get_by_role("button", name="Broken beat").click()
    assert failure(page).count() == 0


def test_a_full_server_is_told_in_its_own_words(visit: Callable[..., Any], server: Server) -> None:
    started = server.post("/jam/start", data={"bpm": "120"}, files={"loop_audio": loop_bytes(seconds=2)})
    try:
        page = visit()
        page.get_by_role("radio", name="Words alone").check()
        page.get_by_role("button", name="Start").click()
        failure(page).wait_for()
        assert "places for live jams are taken" in failure(page).inner_text()
        wait_until(page, lambda: page.get_by_role("button", name="Start").is_enabled())
    finally:
        server.post("/jam/stop", json={"session_id": started.json()["session_id"]})


def test_dice_and_rows_of_words(visit: Callable[..., Any]) -> None:
    page = visit()
    first = page.get_by_role("textbox", name="Style 1")
    before = first.input_value()
    page.get_by_role("button", name="Roll the dice for style 1").click()
    assert first.input_value() not in ("", before)
    page.get_by_role("button", name="Add words").click()
    assert page.evaluate("() => document.activeElement.getAttribute('aria-label')") == "Style 3"
    page.keyboard.type("gamelan, choir")
    page.get_by_label("Weight of gamelan choir").fill("0.4")
    page.get_by_role("button", name="Remove", exact=False).first.click()
    page.reload()
    assert page.get_by_role("textbox", name="Style 2").input_value() == "gamelan choir"  # remembered
    assert page.get_by_label("Weight of gamelan choir").input_value() == "0.4"


def test_the_keyboard_alone_plays_it(visit: Callable[..., Any]) -> None:
    page = visit()
    page.get_by_role("radio", name="Words alone").check()
    page.locator("h1").click()
    wait_until(page, lambda: page.get_by_role("button", name="Start").is_enabled())
    page.keyboard.press("Space")
    page.get_by_role("button", name="Stop").wait_for()
    wait_until(page, lambda: page.locator("#say").inner_text() == "Playing.", 120)
    page.keyboard.press("r")
    assert page.locator("#record").get_attribute("aria-pressed") == "true"
    page.keyboard.press("Space")
    page.get_by_role("button", name="Start").wait_for()
    assert messages(page, sent=True, kind="stop")


def test_keys_typed_into_words_are_words(visit: Callable[..., Any]) -> None:
    page = visit()
    words = page.get_by_role("textbox", name="Style 1")
    words.fill("")
    words.press_sequentially("drum rd")
    assert words.input_value() == "drum rd"
    assert page.locator("body").get_attribute("data-state") == "idle"


@pytest.mark.parametrize("viewport", PHONES, ids=["390", "320"])
def test_a_phone_needs_no_sideways_scrolling_and_no_fine_fingers(
    visit: Callable[..., Any], viewport: dict[str, int]
) -> None:
    page = visit(viewport=viewport, is_mobile=True, has_touch=True, device_scale_factor=2)
    page.get_by_role("button", name="Half-time dub").click()
    page.locator("#model-details summary").click()
    page.get_by_text("Seed and pace").click()
    assert page.evaluate("() => document.documentElement.scrollWidth") == viewport["width"]
    assert small_targets(page, least=24) == []
    keys = page.locator(".keys").bounding_box()
    assert keys["y"] + keys["height"] <= viewport["height"] + 1  # under the thumb
    page.evaluate("() => scrollTo(0, document.body.scrollHeight)")
    assert page.get_by_role("button", name="Start").is_visible()
    last = page.get_by_role("link", name="The server's interface").bounding_box()
    assert last["y"] + last["height"] < page.locator(".keys").bounding_box()["y"]  # not hidden by the keys


def test_every_control_has_a_name_and_every_id_is_one_elements(visit: Callable[..., Any]) -> None:
    page = visit()
    page.get_by_role("button", name="Half-time dub").click()
    assert unnamed(page) == []
    ids = page.evaluate("() => [...document.querySelectorAll('[id]')].map((element) => element.id)")
    assert len(ids) == len(set(ids))
    for attribute in ("for", "aria-labelledby", "aria-describedby"):
        named = page.evaluate(
            f"() => [...document.querySelectorAll('[{attribute}]')].map((e) => e.getAttribute('{attribute}'))"
        )
        assert {name for names in named for name in names.split()} <= set(ids)
    levels = page.evaluate("() => [...document.querySelectorAll('h1, h2, h3')].map((h) => Number(h.tagName[1]))")
    assert levels[0] == 1 and levels.count(1) == 1 and all(b - a <= 1 for a, b in itertools.pairwise(levels))
    assert page.get_by_role("main").count() == page.get_by_role("banner").count() == 1
    assert page.evaluate("() => document.documentElement.lang") == "en"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground(visit: Callable[..., Any], scheme: str) -> None:
    page = visit(color_scheme=scheme)
    page.get_by_text("tiny, ready").wait_for()
    page.get_by_role("button", name="Half-time dub").click()
    page.locator("#model-details summary").click()
    found = contrasts(page)
    assert len(found) > 40
    assert [entry for entry in found if entry[1] < 4.5] == []  # WCAG 2.2 AA


def test_light_and_dark_can_be_chosen_and_are_remembered(visit: Callable[..., Any]) -> None:
    page = visit(color_scheme="light")

    def ground() -> str:
        return str(page.evaluate("() => getComputedStyle(document.body).backgroundColor"))

    light = ground()
    page.get_by_role("button", name="Dark colours").click()
    dark = ground()
    page.reload()
    assert ground() == dark != light
    assert page.get_by_role("button", name="Dark colours").get_attribute("aria-pressed") == "true"


@pytest.mark.parametrize("path", ["/", "/docs"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_other_pages_can_be_read_anywhere(
    visit: Callable[..., Any], server: Server, path: str, scheme: Any
) -> None:
    page = visit(f"{server.url}{path}", viewport=PHONES[0], color_scheme=scheme)
    page.locator("details").evaluate_all("(all) => all.forEach((one) => (one.open = true))")
    assert page.evaluate("() => document.documentElement.scrollWidth") == PHONES[0]["width"]
    assert [entry for entry in contrasts(page) if entry[1] < 4.5] == []
    asked = page.evaluate("() => performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert all(address.startswith(server.url) for address in asked)

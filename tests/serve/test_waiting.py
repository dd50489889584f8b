"""One-shots in line, and how far each is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from darius.errors import InvalidOption
from serve.errors import Refused
from serve.line import Line
from serve.progress import KEPT_SECONDS, Progress


def test_who_came_first_plays_first_and_places_are_told() -> None:
    asyncio.run(_in_order())


async def _in_order() -> None:
    line, order, places = Line(lambda: 1, 5), [], {}
    gates = [asyncio.Event() for _ in range(3)]

    async def one(name: int) -> None:
        def queued(place: Callable[[], int]) -> None:
            places[name] = place

        async with line.turn(queued):
            order.append(name)
            await gates[name].wait()

    tasks = [asyncio.create_task(one(name)) for name in range(3)]
    await asyncio.sleep(0)
    assert (order, line.playing, line.waiting) == ([0], 1, 2)
    assert [places[1](), places[2]()] == [0, 1]
    tasks[1].cancel()
    await asyncio.sleep(0)
    assert places[2]() == 0
    gates[0].set()
    gates[2].set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (order, line.playing, line.waiting) == ([0, 2], 0, 0)


def test_a_full_line_and_an_ending_server_send_away() -> None:
    asyncio.run(_sent_away())


async def _sent_away() -> None:
    line, gate = Line(lambda: 1, 1), asyncio.Event()

    async def one() -> None:
        async with line.turn(lambda place: None):
            await gate.wait()

    playing, waiting = asyncio.create_task(one()), asyncio.create_task(one())
    await asyncio.sleep(0)
    with pytest.raises(Refused) as full:
        await one()
    assert (full.value.http_status, full.value.code) == (429, "queue_full") and full.value.retry_after
    line.close()
    with pytest.raises(Refused, match="shutting down"):
        await waiting
    gate.set()
    await playing
    assert (line.playing, line.waiting) == (0, 0)


def test_one_who_gives_up_at_the_moment_of_admission_leaves_the_place_to_the_next() -> None:
    async def scene() -> int:
        line, gate = Line(lambda: 1, 5), asyncio.Event()

        async def one() -> None:
            async with line.turn(lambda place: None):
                await gate.wait()

        first, second, third = (asyncio.create_task(one()) for _ in range(3))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)  # the second is admitted, but has not run yet
        second.cancel()
        gate.set()
        await asyncio.gather(first, second, third, return_exceptions=True)
        assert third.exception() is None
        return line.playing

    assert asyncio.run(scene()) == 0


def test_progress_only_grows_and_tells_how_it_ended() -> None:
    progress = Progress()
    with progress.of("a") as report:
        report.queue(lambda: 3)
        assert progress.read("a") | {"ts": 0} == {"percent": 0, "stage": "queued", "n": 3, "total": 0, "ts": 0}
        report.enter("generating", 1, 2)
        half = progress.read("a")["percent"]
        report.enter("generating", 0, 2)
        assert progress.read("a")["percent"] == half > 0
        report.enter("encode")
        assert progress.read("a")["percent"] < 100
    assert progress.read("a")["stage"] == "done" and progress.read("a")["percent"] == 100
    with pytest.raises(InvalidOption), progress.of("b"):
        raise InvalidOption("No.", "Use --bars.")
    assert progress.read("b")["error"] == "No. Use bars."


def test_reports_are_kept_for_ten_minutes_after_their_end() -> None:
    now = [0.0]
    progress = Progress(clock=lambda: now[0])
    with progress.of("done"):
        pass
    now[0] = KEPT_SECONDS - 1
    assert progress.read("done")["stage"] == "done"
    now[0] = KEPT_SECONDS + 1
    assert progress.read("done")["stage"] == "pending"
    with progress.of("long") as report:
        report.enter("generating")
        now[0] += 2 * KEPT_SECONDS
        assert progress.read("long")["stage"] == "generating"
    assert progress.read("long")["stage"] == "done"

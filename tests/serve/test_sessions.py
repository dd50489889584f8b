"""All live jams: slots, ids, leases, faults that stay where they are, and nothing that stays behind."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Coroutine
from typing import Any

import numpy as np
import pytest
from live_jams import CHUNK_SECONDS, begin, sessions, shared_model, sound, until

from darius.audio.waveform import Waveform
from darius.errors import BadAudio
from darius.jam import JamSettings
from darius.model import Model
from serve.errors import Refused

WAIT = 60.0
BROKEN = 666
"""The seed of a jam that the model cannot play."""


@pytest.fixture
def model() -> Model:
    return shared_model()


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def test_a_jam_more_than_there_are_places_is_refused_at_once_and_disturbs_nobody(model: Model) -> None:
    async def work() -> None:
        async with sessions(model, capacity=2) as jams:
            lives = [await begin(jams, model) for _ in range(2)]
            for _ in range(5):
                began = time.monotonic()
                with pytest.raises(Refused) as refused:
                    await begin(jams, model)
                assert time.monotonic() - began < 0.1
                assert (refused.value.http_status, refused.value.code) == (429, "at_capacity")
                assert refused.value.retry_after
            assert jams.active == 2 and jams.refused == 5
            assert all([await live.next(WAIT) for live in lives])
            jams.stop(lives[0].id)
            await begin(jams, model)

    run(work())


def test_a_start_that_fails_or_is_given_up_costs_no_place(model: Model) -> None:
    async def work() -> None:
        async with sessions(model, capacity=1) as jams:
            with pytest.raises(BadAudio):
                await begin(jams, model, loop=Waveform(np.zeros((0, 2), np.float32), 8000))
            long = JamSettings(bpm="20", beats_per_bar=16, bars_per_chunk=5, rate=48_000)
            with pytest.raises(Refused, match="MB"):
                await begin(jams, model, settings=long)
            given_up = asyncio.create_task(begin(jams, model))
            await asyncio.sleep(0)
            assert jams.active == 1
            given_up.cancel()
            await asyncio.gather(given_up, return_exceptions=True)
            assert jams.active == 0
            await begin(jams, model)

    run(work())


def test_an_id_can_be_chosen_and_is_refused_while_it_is_in_use(model: Model) -> None:
    async def work() -> None:
        async with sessions(model) as jams:
            first = await begin(jams, model, wanted="mine")
            assert first.id == "mine"
            with pytest.raises(Refused) as refused:
                await begin(jams, model, wanted="mine")
            assert refused.value.http_status == 409
            jams.stop("mine")
            again = await begin(jams, model, wanted="mine")
            assert jams.get_to_hear("mine") is again  # what was over is forgotten

    run(work())


def test_a_client_that_is_not_heard_of_any_more_loses_its_place_and_one_that_waits_does_not(model: Model) -> None:
    async def work() -> None:
        async with sessions(model, lease_chunks=1.0, lease_seconds=1.0) as jams:
            gone, there = await begin(jams, model), await begin(jams, model)
            waiting = asyncio.create_task(there.next(WAIT))
            there.delivery = there.delivery.recut(100.0)
            await until(lambda: gone.ending is not None, 10)
            assert gone.ending is not None and gone.ending.reason == "expired"
            assert jams.active == 1 and there.ending is None
            assert (await waiting) is not None
            with pytest.raises(Refused) as late:
                jams.get_to_hear(gone.id)
            assert (late.value.http_status, late.value.code) == (408, "session_expired")

    run(work())


def test_an_unknown_id_is_404_for_all(model: Model) -> None:
    async def work() -> None:
        async with sessions(model) as jams:
            for ask in (jams.get, jams.get_to_hear, jams.stop):
                with pytest.raises(Refused) as refused:
                    ask("nobody")
                assert refused.value.http_status == 404

    run(work())


def test_all_can_be_stopped_at_once_also_those_that_are_being_started(model: Model) -> None:
    async def work() -> None:
        async with sessions(model) as jams:
            lives = [await begin(jams, model) for _ in range(2)]
            starting = asyncio.create_task(begin(jams, model))
            await asyncio.sleep(0)
            assert sorted(await jams.stop_all()) == sorted(live.id for live in lives)
            with pytest.raises(Refused) as refused:
                await starting
            assert refused.value.http_status == 409
            assert jams.active == 0

    run(work())


def test_a_jam_that_the_model_cannot_play_ends_alone(model: Model) -> None:
    class Sick(type(model)):  # type: ignore[misc]
        """The same model, but for one seed."""

        def advance(self, streams: Any, knobs: Any, frames: int) -> Any:
            if BROKEN in streams.seed and (streams.chunk[streams.seed == BROKEN] >= 1).any():
                raise ZeroDivisionError("a bug in the middle of a jam")
            return super().advance(streams, knobs, frames)

    sick = Sick(**{name: getattr(model, name) for name in model.__dataclass_fields__})

    async def work() -> None:
        async with sessions(sick) as jams:
            well, ill, also = [await begin(jams, sick, seed=seed, buffer_ahead=2) for seed in (1, BROKEN, 2)]
            with pytest.raises(Refused) as told:
                while True:
                    await ill.next(WAIT)
            assert (told.value.http_status, told.value.code) == (500, "session_failed")
            assert "log as request" in str(told.value)
            assert jams.ended["failed"] == 1 and jams.active == 2
            for live in (well, also):
                indices = [packet.index for packet in [await live.next(WAIT) for _ in range(4)] if packet]
                assert indices == [0, 1, 2, 3]

    run(work())


def test_the_end_of_the_server_is_told_to_all_and_ends_every_task(model: Model) -> None:
    async def work() -> None:
        async with sessions(model) as jams:
            lives = [await begin(jams, model) for _ in range(3)]
            for live in lives:
                await live.next(WAIT)
            waiting = [asyncio.create_task(live.next(WAIT)) for live in lives]
            await asyncio.sleep(0)
            began = time.monotonic()
            await jams.close()
            assert time.monotonic() - began < 2
            for task in waiting:
                with pytest.raises(Refused) as told:
                    await task
                assert told.value.code == "shutting_down"
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not [task for task in left if "jam" in task.get_name()]

    run(work())


def test_many_jams_at_once_are_each_without_a_gap_and_on_their_clock(model: Model) -> None:
    """16 jams of a small model on this machine: what each plays is its own stream, whole, at its time."""

    async def listen(live: Any, count: int) -> tuple[list[int], list[float], int]:
        indices, times, samples = [], [], 0
        for _ in range(count):
            packet = await live.next(WAIT)
            assert packet.metadata["start_sample"] == samples
            samples += len(sound(packet))
            indices.append(packet.index)
            times.append(time.monotonic() - live.delivery.first_at)
        return indices, times, samples

    async def work() -> None:
        async with sessions(model, capacity=16) as jams:
            settings = JamSettings(bpm="97.531", beats_per_bar=1, bars_per_chunk=1, rate=8000, loudness="none")
            lives = [await begin(jams, model, seed=seed, settings=settings) for seed in range(16)]
            chunk = float(settings.chunk_duration)
            heard = await asyncio.gather(*(listen(live, 8) for live in lives))
            for indices, times, samples in heard:
                assert indices == list(range(8))
                assert samples == settings.chunk_start(8)
                late = [time - (k + 0.25) * chunk for k, time in enumerate(times) if k]
                assert min(late) > -1e-3 and max(late) < chunk

    run(work())


def test_many_jams_later_nothing_is_left_behind(model: Model) -> None:
    """Heard, given up or never asked for: threads, tasks and objects are what they were."""

    async def cycle(jams: Any, k: int) -> None:
        live = await begin(jams, model, seed=k)
        if k % 3 == 0:
            await live.next(WAIT)
        if k % 3 == 1:
            caller = asyncio.create_task(live.next(WAIT))
            await asyncio.sleep(0)
            caller.cancel()
        jams.stop(live.id)

    async def work() -> None:
        async with sessions(model) as jams:
            for k in range(10):
                await cycle(jams, k)
            threads = threading.active_count()
            gc.collect()
            objects = len(gc.get_objects())
            for k in range(30):
                await cycle(jams, k)
            await until(lambda: len(asyncio.all_tasks()) <= 2, 10)  # this one, and the one that sweeps
            gc.collect()
            assert jams.active == 0
            assert threading.active_count() <= threads + 4  # the pool's own, made as they are needed
            # Each jam that is over is remembered for ten minutes, and no more of it than its end.
            assert len(gc.get_objects()) - objects < 30 * 20

    run(work())


def test_an_ended_jam_holds_neither_its_model_nor_its_music(model: Model) -> None:
    async def work() -> None:
        async with sessions(model) as jams:
            live = await begin(jams, model)
            await live.next(WAIT)
            jams.stop(live.id)
            await live.wait_closed()
            await asyncio.sleep(CHUNK_SECONDS)
            import weakref

            gone = weakref.ref(live.jam)
            del live
            await asyncio.sleep(0.2)
            gc.collect()
            assert gone() is None

    run(work())

"""One live jam: each chunk once and in order, paced, steered from chunk to chunk, and an end that everyone is told."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Coroutine
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from live_jams import CHUNK_SECONDS, RATE, begin, noise, sessions, shared_model, sound, until

from darius.errors import BadAudio
from darius.jam import Dials, JamSettings
from darius.model import Model
from darius.style.mix import StyleRequest, WeightedText
from serve.errors import Refused
from serve.sessions import Sessions

WAIT = 60.0
DUB = StyleRequest(texts=(WeightedText("dub"),))
TEXTURE = JamSettings(
    bpm=None, rate=RATE, loudness="none", chunk_seconds=Fraction(2, 5), overlap_seconds=Fraction(1, 25)
)


@pytest.fixture
def model() -> Model:
    return shared_model()


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


async def caught(waiting: Coroutine[Any, Any, Any]) -> Refused:
    with pytest.raises(Refused) as error:
        await waiting
    return error.value


def test_three_calls_at_once_get_three_chunks_in_the_order_of_the_calls(model: Model) -> None:
    async def work() -> None:
        async with sessions(model) as jams:
            live = await begin(jams, model, buffer_ahead=3)
            packets = await asyncio.gather(*(live.next(WAIT) for _ in range(3)))
            assert [packet.index for packet in packets if packet] == [0, 1, 2]

    run(work())


def test_chunks_are_exact_cuts_of_one_stream_with_all_metadata_in_its_json_types(model: Model) -> None:
    async def work() -> None:
        async with sessions(model) as jams:
            settings = JamSettings(bpm="397.531", beats_per_bar=1, bars_per_chunk=1, rate=11_025, loudness="none")
            live = await begin(jams, model, settings=settings, seed=7, buffer_ahead=8)
            exact = Fraction(60 * 11_025 * 1000, 397_531)
            for k in range(8):
                packet = await live.next(WAIT)
                assert packet is not None
                length = round((k + 1) * exact) - round(k * exact)
                said = json.loads(b"{%s}" % packet.members)
                assert said["index"] == packet.index == k
                assert len(sound(packet)) == length
                assert said["metadata"] == {
                    "bpm": 397.531,
                    "bars": 1,
                    "beats_per_bar": 1,
                    "sample_rate": 11_025,
                    "channels": 2,
                    "total_samples": length,
                    "seconds_per_bar": float(60 / Fraction("397.531")),
                    "loop_duration_seconds": float(60 / Fraction("397.531")),
                    "guidance_weight": 1.1,
                    "temperature": 1.1,
                    "topk": 40,
                    "start_sample": round(k * exact),
                    "seed": 7,
                }

    run(work())


def test_a_whole_tempo_is_a_json_integer(model: Model) -> None:
    async def work() -> None:
        async with sessions(model) as jams:
            packet = await (await begin(jams, model)).next(WAIT)
            assert packet is not None and b'"bpm":300,' in packet.members

    run(work())


def test_the_next_chunk_waits_for_consume_and_is_there_then(model: Model) -> None:
    async def work() -> None:
        async with sessions(model) as jams:
            settings = JamSettings(bpm="60", beats_per_bar=2, bars_per_chunk=1, rate=RATE, loudness="none")
            live = await begin(jams, model, settings=settings)
            assert (await live.next(WAIT)) is not None
            assert await live.next(0.3) is None  # 2 s chunks: not yet
            waiting = asyncio.create_task(live.next(WAIT))
            await asyncio.sleep(0.05)
            live.consume(0)
            began = time.monotonic()
            packet = await waiting
            assert packet is not None and packet.index == 1
            assert time.monotonic() - began < 0.5

    run(work())


def test_without_consume_chunks_go_on_an_absolute_schedule(model: Model) -> None:
    async def work() -> None:
        async with sessions(model) as jams:
            live = await begin(jams, model)
            times = []
            for _ in range(12):
                assert (await live.next(WAIT)) is not None
                times.append(time.monotonic() - live.delivery.first_at)
            due = [(k + 0.25) * CHUNK_SECONDS for k in range(1, 12)]
            early = [time - planned for time, planned in zip(times[1:], due, strict=True)]
            assert min(early) >= -1e-3
            assert float(np.median(early)) < 0.5 * CHUNK_SECONDS  # and no delay adds up

    run(work())


def test_no_more_is_made_than_the_client_can_hold(model: Model) -> None:
    async def work() -> None:
        async with sessions(model) as jams:
            one, three = await begin(jams, model), await begin(jams, model, buffer_ahead=3)
            await until(lambda: one.delivery.queued == 1 and three.delivery.queued == 3)
            await asyncio.sleep(3 * CHUNK_SECONDS)
            assert (one.delivery.last_generated, three.delivery.last_generated) == (0, 2)

    run(work())


def test_a_caller_that_goes_away_takes_no_chunk_with_it(model: Model) -> None:
    async def work() -> None:
        async with sessions(model) as jams:
            live = await begin(jams, model)
            gone = [asyncio.create_task(live.next(WAIT)) for _ in range(3)]
            await asyncio.sleep(0)
            for caller in gone:
                caller.cancel()
            packet = await live.next(WAIT)
            assert packet is not None and packet.index == 0

    run(work())


def test_all_who_wait_are_told_at_once_that_the_jam_was_stopped_and_so_are_those_who_come_later(model: Model) -> None:
    async def work() -> None:
        async with sessions(model) as jams:
            live = await begin(jams, model)
            await live.next(WAIT)
            waiting = [asyncio.create_task(live.next(WAIT)) for _ in range(3)]
            await asyncio.sleep(0.01)
            began = time.monotonic()
            jams.stop(live.id)
            errors = [await caught(asyncio.shield(task)) for task in waiting]
            assert time.monotonic() - began < 0.1
            assert {(error.http_status, error.code) for error in errors} == {(408, "session_stopped")}
            with pytest.raises(Refused) as later:
                jams.get_to_hear(live.id)
            assert later.value.http_status == 408
            jams.stop(live.id)  # again, to no harm
            assert jams.active == 0

    run(work())


def test_dials_act_from_the_next_chunk_and_it_says_so(model: Model) -> None:
    async def work() -> None:
        async with sessions(model) as jams:
            live = await begin(jams, model)
            await until(lambda: live.delivery.queued == 1)  # chunk 0 is made
            live.turn(Dials(guidance=2.0, temperature=0.5, top_k=7))
            first, second = await live.next(WAIT), await live.next(WAIT)
            assert first is not None and second is not None
            assert first.metadata["topk"] == 40
            assert [second.metadata[k] for k in ("guidance_weight", "temperature", "topk")] == [2.0, 0.5, 7]

    run(work())


def test_a_change_that_fails_is_dropped_and_the_music_goes_on(model: Model) -> None:
    async def work() -> None:
        async with sessions(model) as jams:
            live = await begin(jams, model)

            def fail() -> None:
                raise BadAudio("This cannot be heard.")

            live.jam._pending.append(fail)
            live.restyle(DUB, current_mix=True, ramp=0.0, assets=None)
            await live.reseed(noise(0.5))
            assert await live.splice(noise(0.8), 2.0) == 2.0
            packets = [await live.next(WAIT) for _ in range(3)]
            assert [packet.index for packet in packets if packet] == [0, 1, 2]
            assert live.ending is None

    run(work())


def test_new_contexts_cannot_pile_up(model: Model) -> None:
    async def work() -> None:
        async with sessions(model) as jams:
            live = await begin(jams, model)
            await until(lambda: live.delivery.queued == 1)
            for _ in range(8):
                await live.reseed(noise())
            assert (await caught(live.reseed(noise()))).http_status == 429

    run(work())


def test_a_stream_without_bars_has_its_overlap_and_can_be_cut_shorter_while_it_plays(model: Model) -> None:
    async def work() -> None:
        async with sessions(model) as jams:
            live = await begin(jams, model, settings=TEXTURE, loop=None, buffer_ahead=2, most_ready=1)
            packets = [await live.next(WAIT) for _ in range(2)]
            live.recut(5)
            packets += [await live.next(WAIT) for _ in range(4)]
            lengths = [packet.metadata["chunk_frames"] for packet in packets if packet]
            assert lengths[:2] == [10, 10] and lengths[-2:] == [5, 5]
            place = 0
            for packet in packets:
                assert packet is not None
                assert packet.metadata["start_sample"] == place
                assert len(sound(packet)) == 320 + packet.metadata["chunk_frames"] * 320
                place += packet.metadata["chunk_frames"] * 320
            for before, after in itertools.pairwise(packets):
                assert before is not None and after is not None
                assert np.array_equal(sound(before)[-320:], sound(after)[:320])

    run(work())


def test_an_unpaced_stream_goes_as_fast_as_it_is_made_until_it_is_paced_again(model: Model) -> None:
    async def work() -> None:
        async with sessions(model) as jams:
            live = await begin(jams, model, settings=TEXTURE, loop=None, buffer_ahead=2, most_ready=1, paced=False)
            began = time.monotonic()
            for _ in range(30):
                assert (await live.next(WAIT)) is not None
            assert time.monotonic() - began < 30 * 0.4 / 2
            live.pace(True)
            await live.next(0.0)
            assert await live.next(0.2) is None  # the client has half a minute of music

    run(work())


def test_the_same_seed_plays_the_same_whoever_else_plays(model: Model) -> None:
    async def played(jams: Sessions, seeds: tuple[int, ...]) -> list[np.ndarray]:
        lives = [await begin(jams, model, seed=seed, paced=False) for seed in seeds]
        heard: list[list[np.ndarray]] = [[] for _ in lives]
        for _ in range(4):
            for live, chunks in zip(lives, heard, strict=True):
                packet = await live.next(WAIT)
                assert packet is not None
                chunks.append(sound(packet))
        await jams.stop_all()
        return [np.concatenate(chunks) for chunks in heard]

    async def work() -> None:
        async with sessions(model) as jams:
            together = await played(jams, (1, 2, 3))
            for seed, interleaved in zip((1, 2, 3), together, strict=True):
                (alone,) = await played(jams, (seed,))
                assert np.array_equal(alone, interleaved)
            assert not np.array_equal(together[0], together[1])

    run(work())

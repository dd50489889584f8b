"""Who has no deadline is served for certain, and costs those in a hurry a bounded part; on a simulated clock."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batching.standin import WAIT, Clock, StandIn
from batching.test_order import call, work
from darius import session
from darius.batching import Conductor
from darius.batching.order import PATIENCE, SHARE, Share, Turns, batch, in_order
from darius.batching.requests import Request
from darius.session import Knobs

CHUNK = 2.0


@dataclasses.dataclass
class Played:
    """Calls of a simulated device: what went with each, and when it began."""

    calls: list[tuple[float, list[str]]]

    def waits(self, key: str) -> list[float]:
        times = [when for when, keys in self.calls if key in keys]
        return [b - a for a, b in zip([0.0, *times], times, strict=False)]

    @property
    def led(self) -> float:
        """Part of the calls without a jam in them."""
        return sum(not any(key.startswith("jam") for key in keys) for _, keys in self.calls) / len(self.calls)


def play(jams: int, shots: int, seconds: float, calls: int, sizes: tuple[int, ...] = (1,)) -> Played:
    """Jams that ask for their next chunk as soon as they have one, each due a chunk after the last; one-shots too.

    Args:
      seconds: of a call.
    """
    turns, share, now, number = Turns(), Share(), 0.0, 0
    due = {f"jam {k}": 1.0 for k in range(jams)} | {f"shot {k}": math.inf for k in range(shots)}
    waiting: list[Request] = []
    played = Played([])

    def ask(key: str) -> None:
        nonlocal number
        number += 1
        turns.join(key)
        waiting.append(dataclasses.replace(call(due[key], number, key), asked=now))

    for key in due:
        ask(key)
    for _ in range(calls):
        requests, _ = batch(share.first(in_order(waiting, turns, now), now), now, sizes, dict.fromkeys(sizes, seconds))
        share.give(requests)
        played.calls.append((now, [str(request.key) for request in requests]))
        now += seconds
        for request in requests:
            waiting.remove(request)
            turns.give(request.key)
        for request in requests:
            due[str(request.key)] += CHUNK
            ask(str(request.key))
    return played


@pytest.mark.parametrize("jams", [5, 8, 40])
def test_beside_jams_at_or_over_capacity_a_one_shot_goes_on_within_a_bounded_time(jams: int) -> None:
    """Calls of 0.4 s: five jams fill the device, and of forty most are late all the time."""
    played = play(jams, 1, 0.4, 400)
    assert max(played.waits("shot 0")) <= PATIENCE + SHARE * 0.4
    assert played.led <= 1 / SHARE


@given(st.integers(1, 30), st.integers(1, 10), st.floats(0.05, 1.9), st.sampled_from([(1,), (1, 2, 4)]))
@settings(max_examples=40, deadline=None)
def test_many_one_shots_take_turns_and_never_more_than_their_share(
    jams: int, shots: int, seconds: float, sizes: tuple[int, ...]
) -> None:
    played = play(jams, shots, seconds, 300, sizes)
    busy = [keys for _, keys in played.calls]
    assert any(key.startswith("shot") for keys in busy for key in keys)
    # Jams wait all the time here, so calls without one are those that a one-shot led with no room beside it.
    assert played.led <= 1 / SHARE + 1 / len(busy)
    for k in range(shots):
        assert max(played.waits(f"shot {k}"), default=0.0) <= PATIENCE + (shots + 1) * SHARE * seconds


def test_who_has_not_waited_long_does_not_go_before_a_jam() -> None:
    share, waiting = Share(), [call(1.0, 0), dataclasses.replace(call(math.inf, 1), asked=0.0)]
    assert [r.number for r in share.first(waiting, PATIENCE - 0.1)] == [0, 1]
    assert [r.number for r in share.first(waiting, PATIENCE)] == [1, 0]
    share.give([waiting[1]])
    for _ in range(SHARE - 1):
        assert share.first(waiting, 100.0)[0].number == 0
        share.give([waiting[0]])
    assert share.first(waiting, 100.0)[0].number == 1


def test_who_goes_first_takes_jams_along_where_there_is_room() -> None:
    ordered = [call(math.inf, 9), call(1.0, 0), call(2.0, 1)]
    chosen, size = batch(ordered, 0.0, (1, 2, 4), {1: 0.2, 2: 0.25, 4: 0.3})
    assert [r.number for r in chosen] == [9, 0, 1] and size == 4


def test_other_work_without_a_deadline_has_its_share_too() -> None:
    """A new model's first chunk, say: a select would otherwise never end beside jams that fill the device."""
    waiting: list[Request] = [call(1.0, 0), work(math.inf, 1)]
    assert Share().first(waiting, PATIENCE)[0].number == 1


def test_a_conductor_keeps_the_rule() -> None:
    """The device's own thread, with an engine whose speed is known: two late jams and one who only waits."""
    clock = Clock()
    engine = StandIn(clock, lambda rows: 1.0)
    conductor = Conductor(engine, buckets=(1,), clock=clock)

    def stream(seed: int) -> session.Streams:
        return session.start(engine, np.zeros((0, engine.layout.codec_levels), np.int32), seed)

    try:
        engine.hold()
        first = conductor.advance(stream(9), Knobs(), deadline=0.0, key=9)
        assert engine.begun.wait(WAIT)
        shot = conductor.advance(stream(3), Knobs(), key=3)
        jams = [conductor.advance(stream(1), Knobs(), deadline=float(k), key=1) for k in range(20)]
        engine.gate.set()
        for future in (first, shot, *jams):
            future.result(WAIT)
        place = engine.calls.index([3])
        assert PATIENCE <= place <= PATIENCE + SHARE
    finally:
        engine.gate.set()
        assert conductor.close(WAIT)

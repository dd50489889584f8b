"""Who is next: pure arithmetic on a simulated clock, calls of known length."""

from __future__ import annotations

import dataclasses
import math
from concurrent.futures import Future

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batching.standin import StandIn
from darius.batching.order import Turns, batch, best_size, in_order
from darius.batching.requests import Call, Request, Work
from darius.batching.stats import capacity
from darius.session import Knobs

ENGINE = StandIn()
SIZES = (1, 2, 4, 8)


def call(deadline: float = math.inf, number: int = 0, key: object = None, engine: object = ENGINE, frames: int = 50):
    return Call(
        engine=engine,
        streams=None,
        knobs=Knobs(),
        frames=frames,
        deadline=deadline,
        dry=deadline,
        key=key,
        number=number,
        future=Future(),
    )


def work(deadline: float, number: int = 0) -> Work:
    return Work(work=lambda: None, deadline=deadline, number=number, future=Future())


def linear(per_row: float, fixed: float) -> dict[int, float]:
    return {size: fixed + per_row * size for size in SIZES}


def test_the_earliest_deadline_is_first_and_who_only_waits_is_last() -> None:
    waiting: list[Request] = [call(number=0), call(5.0, 1), work(3.0, 2), call(1.0, 3)]
    assert [request.number for request in in_order(waiting, Turns(), 0.0)] == [3, 2, 1, 0]


def test_whose_music_is_about_to_stop_goes_before_older_deadlines() -> None:
    """Beginnings in a rush are all late; who plays already would wait for all of them, and run dry."""
    beginnings: list[Request] = [dataclasses.replace(work(n / 10, n), asked=0.0) for n in range(5)]
    playing = dataclasses.replace(call(1.0, 9), asked=1.0, dry=3.0)
    waiting = [*beginnings, playing]
    assert [request.number for request in in_order(waiting, Turns(), 1.9)] == [0, 1, 2, 3, 4, 9]
    assert [request.number for request in in_order(waiting, Turns(), 2.1)] == [9, 0, 1, 2, 3, 4]


@pytest.mark.parametrize(("asked", "dry", "soon"), [(0.0, 0.4, 0.2), (0.0, 2.0, 1.0), (0.0, 9.0, 8.0), (5.0, 5.0, 5.0)])
def test_that_is_when_half_of_its_time_is_over_and_less_than_a_second_is_left(
    asked: float, dry: float, soon: float
) -> None:
    waiting: list[Request] = [work(-1.0, 0), dataclasses.replace(call(dry, 1), asked=asked)]
    assert in_order(waiting, Turns(), soon - 0.01)[0].number == 0
    assert in_order(waiting, Turns(), soon + 0.01)[0].number == 1


def test_equals_take_turns_by_key() -> None:
    turns = Turns()
    waiting: list[Request] = [call(number=n, key="greedy") for n in range(4)] + [call(number=4, key="modest")]
    served = []
    for request in waiting:
        turns.join(request.key)
    while waiting:
        chosen = in_order(waiting, turns, 0.0)[0]
        waiting.remove(chosen)
        turns.give(chosen.key)
        turns.keep({request.key for request in waiting})
        served.append(chosen.number)
    assert served == [0, 4, 1, 2, 3]


def test_a_key_that_joins_neither_jumps_ahead_for_long_nor_has_to_catch_up() -> None:
    turns = Turns()
    turns.join("old")
    for _ in range(100):
        turns.give("old")
    turns.join("new")
    assert turns.of(call(key="new")) == 100


def test_a_batch_holds_one_engine_and_one_length_only() -> None:
    ordered = [call(1.0, 0), call(2.0, 1, engine=StandIn()), call(3.0, 2, frames=25), work(4.0, 3), call(5.0, 4)]
    chosen, size = batch(ordered, 0.0, SIZES, {})
    assert [request.number for request in chosen] == [0, 4] and size == 2


def test_other_work_goes_alone() -> None:
    chosen, size = batch([work(1.0, 0), call(2.0, 1)], 0.0, SIZES, {})
    assert [request.number for request in chosen] == [0] and size == 1


def test_a_batch_is_no_larger_than_its_most_urgent_stream_can_wait_for() -> None:
    ordered = [call(0.5, 0), *(call(9.0, n) for n in range(1, 8))]
    seconds = linear(0.1, 0.1)  # 8 rows take 0.9 s, 4 take 0.5
    assert batch(ordered, 0.0, SIZES, seconds)[1] == 4
    assert batch(ordered, 0.25, SIZES, seconds)[1] == 1


def test_who_only_waits_takes_empty_places_but_makes_no_call_longer() -> None:
    ordered = [call(9.0, 0), call(9.5, 1), call(9.6, 2), *(call(number=n) for n in range(3, 8))]
    chosen, size = batch(ordered, 0.0, SIZES, linear(0.01, 0.5))
    assert [request.number for request in chosen] == [0, 1, 2, 3] and size == 4


def test_a_call_for_those_who_only_wait_is_short_since_a_jam_may_come() -> None:
    ordered = [call(number=n) for n in range(8)]
    assert batch(ordered, 0.0, SIZES, linear(0.1, 0.1))[1] == 4  # 0.5 s
    assert batch(ordered, 0.0, SIZES, linear(0.9, 0.1))[1] == 1  # there is nothing shorter


def test_those_who_are_late_go_together() -> None:
    ordered = [call(1.0, 0), call(1.5, 1), *(call(number=n) for n in range(2, 8))]
    chosen, _ = batch(ordered, 2.0, SIZES, linear(0.01, 0.5))
    assert [request.number for request in chosen] == [0, 1]


def test_many_streams_with_time_go_in_short_calls_so_that_who_comes_meanwhile_can_soon_begin() -> None:
    seconds = linear(0.1, 0.1)  # 8 rows take 0.9 s, 4 take 0.5, two calls of 4 take 1.0
    assert batch([call(2.0, n) for n in range(8)], 0.0, SIZES, seconds)[1] == 4
    assert batch([call(1.2, n) for n in range(8)], 0.0, SIZES, seconds)[1] == 8


def test_who_is_late_does_not_wait_for_a_large_call_of_those_who_are_in_time() -> None:
    ordered = [call(1.0, 0), *(call(9.0, n) for n in range(1, 8))]
    assert batch(ordered, 2.0, SIZES, linear(0.1, 0.1))[1] == 1
    all_late = [call(1.0, n) for n in range(8)]
    assert batch(all_late, 2.0, SIZES, linear(0.01, 0.5))[1] == 8


@pytest.mark.parametrize(
    ("waiting", "seconds", "size"),
    [
        (5, linear(0.001, 1.0), 8),  # a GPU: rows cost nothing, so one call for all
        (5, linear(1.0, 0.001), 4),  # a CPU: three empty places would cost three rows
        (5, {}, 8),  # unknown: what holds all
        (1, linear(0.001, 1.0), 1),
        (100, linear(0.001, 1.0), 8),
    ],
)
def test_the_size_is_the_one_that_serves_most_streams_a_second(waiting: int, seconds: dict, size: int) -> None:
    assert best_size(waiting, SIZES, seconds) == size


@given(
    fixed=st.floats(0.02, 0.3),
    per_row=st.floats(0.001, 0.15),
    shots=st.integers(0, 6),
    offsets=st.lists(st.floats(0, 2), min_size=40, max_size=40),
)
@settings(max_examples=40, deadline=None)
def test_jams_up_to_the_capacity_at_half_load_are_never_late_and_one_shots_fill_the_rest(
    fixed: float, per_row: float, shots: int, offsets: list[float]
) -> None:
    """40 s on a simulated clock: each jam wants a chunk of 2 s every 2 s; one-shots always want more."""
    seconds = linear(per_row, fixed)
    # A call that runs cannot be interrupted, and jams do not come together: half of the time is theirs for sure.
    usable = {size: taken for size, taken in seconds.items() if taken <= 0.5 * 2}
    jams = min(capacity(usable, 2.0, 0.5).streams, 40)
    turns, now, late, played = Turns(), 0.0, 0, 0
    arrivals = [(offsets[k], k, 0) for k in range(jams)]  # time, jam, index of its chunk
    waiting: list[Request] = [call(number=1000 + k, key=f"shot {k}") for k in range(shots)]
    chunk_of: dict[int, int] = {}
    for request in waiting:
        turns.join(request.key)
    while now < 40:
        for arrival in [a for a in arrivals if a[0] <= now]:
            arrivals.remove(arrival)
            _, jam, index = arrival
            waiting.append(call(offsets[jam] + 2.0 * (index + 1), jam, f"jam {jam}"))
            chunk_of[jam] = index
            turns.join(f"jam {jam}")
        if not waiting:
            now = min((a[0] for a in arrivals), default=40.0)
            continue
        chosen, size = batch(in_order(waiting, turns, now), now, sorted(usable), usable)
        now += usable[size]
        for request in chosen:
            waiting.remove(request)
            turns.give(request.key)
            if request.number >= 1000:
                played += 1
                waiting.append(call(number=request.number, key=request.key))
            else:
                late += request.deadline < now
                index = chunk_of[request.number] + 1
                arrivals.append((max(now, offsets[request.number] + 2.0 * index), request.number, index))
    assert late == 0
    assert played > 0 or not shots

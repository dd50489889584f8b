"""The conductor's promises, with a stand-in engine that can be held and whose speed is known (scheduling only)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future

import numpy as np
import pytest

from batching.standin import BROKEN, WAIT, Clock, StandIn, seeds_of
from darius import session
from darius.batching import Advance, Conductor
from darius.errors import Busy, InvalidOption, OutOfMemory
from darius.session import Knobs

Make = Callable[..., Conductor]


@pytest.fixture
def conductors() -> Iterator[Make]:
    """Makes conductors that are closed in the end."""
    made: list[Conductor] = []

    def make(*args, **options) -> Conductor:
        made.append(Conductor(*args, **options))
        return made[-1]

    yield make
    for conductor in made:
        for engine in [conductor.engine] if conductor.engine else []:
            engine.gate.set()
        assert conductor.close(WAIT)


def stream(engine: StandIn, seed: int) -> session.Streams:
    return session.start(engine, np.zeros((0, engine.layout.codec_levels), np.int32), seed)


def ask(conductor: Conductor, engine: StandIn, seed: int, **options) -> Future[Advance]:
    return conductor.advance(stream(engine, seed), Knobs(), engine=engine, **options)


def hold(conductor: Conductor, engine: StandIn) -> Future[Advance]:
    """Occupies the device until the gate is opened."""
    engine.hold()
    first = ask(conductor, engine, 0)
    assert engine.begun.wait(WAIT)
    return first


def test_a_call_gives_the_next_chunk_and_the_state_after_it(conductors: Make) -> None:
    engine = StandIn()
    made = ask(conductors(engine), engine, 3).result(WAIT)
    assert made.samples.shape == (2, 2) and made.samples.dtype == np.float32
    assert made.codes.tolist() == [[3, 3], [3, 3]]
    assert made.streams.chunk.tolist() == [1] and made.streams.seed.tolist() == [3]
    assert made.streams.context[0, -2:].tolist() == made.codes.tolist()


def test_deadlines_come_first(conductors: Make) -> None:
    engine = StandIn()
    conductor = conductors(engine, buckets=(1,))
    hold(conductor, engine)
    futures = [
        ask(conductor, engine, 1),
        ask(conductor, engine, 2, deadline=1e9),
        ask(conductor, engine, 3, deadline=5),
    ]
    engine.gate.set()
    for future in futures:
        future.result(WAIT)
    assert seeds_of(engine.calls) == [0, 3, 2, 1]


def test_equals_take_turns_by_key(conductors: Make) -> None:
    engine = StandIn()
    conductor = conductors(engine, buckets=(1,))
    hold(conductor, engine)
    futures = [ask(conductor, engine, seed, key="greedy") for seed in (1, 2, 3)] + [ask(conductor, engine, 9, key="b")]
    engine.gate.set()
    for future in futures:
        future.result(WAIT)
    assert seeds_of(engine.calls) == [0, 1, 9, 2, 3]


def test_what_is_due_goes_together_in_a_bucket_that_is_warm(conductors: Make) -> None:
    engine = StandIn()
    conductor = conductors(engine, buckets=(1, 4), clock=Clock())  # a hiccup of this machine is no slow bucket
    conductor.warm().result(WAIT)
    before = len(engine.calls)
    hold(conductor, engine)
    futures = [ask(conductor, engine, seed) for seed in (1, 2, 3)]
    engine.gate.set()
    assert [future.result(WAIT).codes[0, 0] for future in futures] == [1, 2, 3]
    assert engine.calls[before:] == [[0], [1, 2, 3, 3]]
    assert conductor.stats().occupancy == pytest.approx(4 / 5)


def test_a_bucket_that_is_not_warm_is_not_used_since_everyone_would_wait_for_its_compilation(conductors: Make) -> None:
    engine = StandIn()
    conductor = conductors(engine, buckets=(1, 4))
    hold(conductor, engine)
    futures = [ask(conductor, engine, seed) for seed in (1, 2)]
    engine.gate.set()
    for future in futures:
        future.result(WAIT)
    assert engine.calls == [[0], [1], [2]]


def test_a_cancelled_request_never_reaches_the_device(conductors: Make) -> None:
    engine = StandIn()
    conductor = conductors(engine, buckets=(1,))
    hold(conductor, engine)
    dropped, kept = ask(conductor, engine, 1), ask(conductor, engine, 2)
    assert dropped.cancel()
    engine.gate.set()
    kept.result(WAIT)
    assert seeds_of(engine.calls) == [0, 2]
    assert conductor.stats().cancelled == 1


def test_a_failing_stream_does_not_hurt_its_neighbours(conductors: Make) -> None:
    engine = StandIn()
    conductor = conductors(engine, buckets=(1, 4))
    conductor.warm().result(WAIT)
    hold(conductor, engine)
    futures = [ask(conductor, engine, seed) for seed in (1, BROKEN, 3)]
    engine.gate.set()
    assert futures[0].result(WAIT).codes[0, 0] == 1 and futures[2].result(WAIT).codes[0, 0] == 3
    with pytest.raises(ValueError, match="cannot be played"):
        futures[1].result(WAIT)
    assert conductor.stats().failed == 1
    assert ask(conductor, engine, 4).result(WAIT).codes[0, 0] == 4  # and the thread lives on


def test_other_work_runs_on_the_same_thread_between_chunks_and_its_errors_come_back(conductors: Make) -> None:
    conductor = conductors()
    name = conductor.run(lambda: threading.current_thread().name).result(WAIT)
    assert name == "darius-device"

    def fail() -> None:
        raise KeyError("no such thing")

    with pytest.raises(KeyError):
        conductor.run(fail).result(WAIT)
    assert conductor.run(lambda: 7).result(WAIT) == 7
    assert (conductor.stats().work, conductor.stats().failed) == (3, 1)


def test_places_in_the_queue_are_visible(conductors: Make) -> None:
    engine = StandIn()
    conductor = conductors(engine, buckets=(1,))
    running = hold(conductor, engine)
    later, sooner = ask(conductor, engine, 1), ask(conductor, engine, 2, deadline=5)
    assert [conductor.position(future) for future in (running, sooner, later)] == [0, 0, 1]
    assert (conductor.stats().waiting, conductor.stats().running) == (2, 1)
    engine.gate.set()
    later.result(WAIT)
    assert conductor.position(later) is None and conductor.position(Future()) is None


def test_closing_finishes_what_runs_cancels_what_waits_and_refuses_what_comes(conductors: Make) -> None:
    engine = StandIn()
    conductor = conductors(engine, buckets=(1,))
    running = hold(conductor, engine)
    waiting = [ask(conductor, engine, 1), conductor.run(lambda: None)]
    assert not conductor.close(timeout=0.05)  # still held
    engine.gate.set()
    assert conductor.close(WAIT)
    assert running.result(0).codes[0, 0] == 0
    for future in waiting:
        with pytest.raises(CancelledError):
            future.result(0)
    with pytest.raises(Busy):
        ask(conductor, engine, 2)
    with pytest.raises(Busy):
        conductor.run(lambda: None)


def test_a_new_engine_is_for_new_calls_and_old_streams_stay_with_theirs(conductors: Make) -> None:
    clock = Clock()
    old, new = StandIn(clock, lambda rows: 0.1), StandIn(clock, lambda rows: 0.1)
    conductor = conductors(old, buckets=(1, 2), clock=clock)
    conductor.warm().result(WAIT)
    conductor.warm(engine=new).result(WAIT)
    old_calls, new_calls = len(old.calls), len(new.calls)
    hold(conductor, old)
    waiting = conductor.advance(stream(old, 1), Knobs())
    conductor.engine = new
    fresh, loyal = conductor.advance(stream(new, 2), Knobs()), conductor.advance(stream(old, 3), Knobs(), engine=old)
    old.gate.set()
    for future in (waiting, fresh, loyal):
        future.result(WAIT)
    assert old.calls[old_calls:] == [[0], [1, 3]]
    assert new.calls[new_calls:] == [[2]]


def test_missed_deadlines_and_durations_are_counted(conductors: Make) -> None:
    clock = Clock()
    engine = StandIn(clock, lambda rows: 1.5)
    conductor = conductors(engine, buckets=(1,), clock=clock)
    ask(conductor, engine, 1, deadline=2.0).result(WAIT)
    ask(conductor, engine, 2, deadline=2.0).result(WAIT)
    ask(conductor, engine, 3).result(WAIT)
    stats = conductor.stats()
    assert (stats.calls, stats.rows, stats.late) == (3, 3, 1)
    assert stats.seconds.total == pytest.approx(4.5) and stats.seconds.count == 3
    assert stats.seconds.counts[stats.seconds.edges.index(1.7)] == 3
    assert stats.chunk_seconds == {1: pytest.approx(1.5)}


def test_the_wait_for_a_chunk_is_counted_too(conductors: Make) -> None:
    clock = Clock()
    engine = StandIn(clock, lambda rows: 1.5)
    conductor = conductors(engine, buckets=(1,), clock=clock)
    hold(conductor, engine)
    waits = ask(conductor, engine, 1)
    engine.gate.set()
    waits.result(WAIT)
    answered = conductor.stats().answered
    assert (answered.count, answered.total) == (2, pytest.approx(1.5 + 3.0))


def test_the_device_waits_a_moment_for_who_asks_again_at_once(conductors: Make) -> None:
    engine = StandIn()
    conductor = conductors(engine, buckets=(1,))
    hold(conductor, engine)
    again: list[Future[Advance]] = []
    begun = ask(conductor, engine, 1, deadline=1.0, key="new", then="new")
    begun.add_done_callback(lambda _: threading.Timer(0.005, lambda: again.append(more())).start())

    def more() -> Future[Advance]:
        return ask(conductor, engine, 2, deadline=2.0, key="new")

    other = ask(conductor, engine, 3, deadline=3.0, key="old")
    engine.gate.set()
    other.result(WAIT)
    assert again[0].result(WAIT) and seeds_of(engine.calls) == [0, 1, 2, 3]


def test_the_device_waits_no_longer_than_a_moment_and_not_for_who_failed(conductors: Make) -> None:
    engine = StandIn()
    conductor = conductors(engine, buckets=(1,))
    hold(conductor, engine)
    gone = ask(conductor, engine, 1, key="gone", then="gone")
    broken = ask(conductor, engine, BROKEN, key="broken", then="broken")
    other = ask(conductor, engine, 3, key="old")
    engine.gate.set()
    assert gone.result(WAIT) and other.result(WAIT)
    assert broken.exception(WAIT) is not None


def test_a_size_that_does_not_fit_ends_the_measuring_and_is_not_used(conductors: Make) -> None:
    engine = StandIn()
    conductor = conductors(engine, buckets=(1, 2, 4))

    def prepare(size: int) -> bool:
        if size == 4:
            raise OutOfMemory("too large")
        return True

    assert list(conductor.measure_capacity(prepare=prepare).seconds) == [1, 2]
    with pytest.raises(OutOfMemory):
        conductors(engine).measure_capacity(prepare=lambda size: prepare(4))


def test_capacity_is_measured_up_to_the_first_bucket_that_takes_too_long(conductors: Make) -> None:
    clock = Clock()
    engine = StandIn(clock, lambda rows: 0.2 + 0.1 * rows)
    conductor = conductors(engine, buckets=(1, 2, 4, 8, 16, 32), clock=clock)
    found = conductor.measure_capacity(load=0.8)
    # A chunk lasts 2 s; 16 rows take 1.8 s, more than 0.8 of it. 8 take 1.0 s: once in 1.6 s. 4 take 0.6 s: twice.
    assert found.seconds == {size: pytest.approx(0.2 + 0.1 * size) for size in (1, 2, 4, 8, 16)}
    assert found.streams == 8
    assert sorted(conductor.stats().chunk_seconds) == [1, 2, 4, 8]


def test_capacity_is_measured_no_further_than_what_is_wanted_each_size_prepared_first(conductors: Make) -> None:
    prepared: list[int] = []
    conductor = conductors(StandIn(), buckets=(1, 2, 4, 8))

    def prepare(size: int) -> bool:
        prepared.append(size)
        return True

    assert list(conductor.measure_capacity(most=3, prepare=prepare).seconds) == [1, 2, 4] == prepared


def test_measuring_ends_before_a_size_that_is_not_wanted_any_more(conductors: Make) -> None:
    conductor = conductors(StandIn(), buckets=(1, 2, 4))
    assert list(conductor.measure_capacity(prepare=lambda size: size < 4).seconds) == [1, 2]


def test_a_device_too_slow_for_one_stream_has_no_capacity(conductors: Make) -> None:
    clock = Clock()
    engine = StandIn(clock, lambda rows: 3.0 * rows)
    assert conductors(engine, clock=clock).measure_capacity().streams == 0


def test_without_a_model_or_with_several_rows_a_call_is_refused(conductors: Make) -> None:
    conductor, engine = conductors(), StandIn()
    with pytest.raises(InvalidOption):
        conductor.advance(stream(engine, 1), Knobs())
    with pytest.raises(InvalidOption):
        conductor.measure_capacity()
    two = session.gather([stream(engine, 1), stream(engine, 2)])
    with pytest.raises(InvalidOption):
        conductor.advance(two, Knobs(), engine=engine)
    with pytest.raises(InvalidOption):
        Conductor(buckets=())

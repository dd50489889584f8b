"""Delivery on a simulated clock: exactly once, in order, nothing lost by a one-slot player, in real time for ever."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darius.errors import InvalidOption
from darius.jam.delivery import LOST, MARGIN, Delivery
from jam.players import Player, World


def delivery(**changes) -> Delivery[str]:
    return Delivery(**({"chunk_seconds": 8.0, "started": 100.0} | changes))


def filled(count: int, **changes) -> Delivery[str]:
    value = delivery(**changes)
    for k in range(count):
        value = value.offer(f"chunk {k}")
    return value


@given(
    seconds=st.floats(1.0, 20.0),
    phase=st.floats(0.0, 1.0),
    generation=st.floats(0.01, 0.7),
    network=st.floats(0.0, 0.1),
    consumes=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_a_one_slot_player_with_three_calls_in_flight_loses_nothing(
    seconds: float, phase: float, generation: float, network: float, consumes: bool
) -> None:
    world = World(Delivery(chunk_seconds=seconds, started=0.0), generation * seconds, network)
    player = Player(world, phase=phase * seconds, consumes=consumes)
    world.run(60 * seconds)
    assert player.lost == []
    assert player.received == list(range(len(player.received)))
    assert player.played == list(range(len(player.played)))
    # One repeat while it starts, at most one more where it begins within the margin; then real time.
    assert player.repeats <= 3
    assert len(player.played) >= 56


@given(ahead=st.integers(2, 6), phase=st.floats(0.0, 1.0), consumes=st.booleans(), generation=st.floats(0.01, 0.5))
@settings(max_examples=30, deadline=None)
def test_a_client_with_a_queue_of_its_own_gets_chunks_ahead_and_none_is_lost(
    ahead: int, phase: float, consumes: bool, generation: float
) -> None:
    world = World(Delivery(chunk_seconds=4.0, started=0.0, buffer_ahead=ahead), 4.0 * generation)
    player = Player(world, phase=4.0 * phase, consumes=consumes, slots=ahead)
    for _ in range(ahead):  # it keeps its queue full
        world.next(player._receive)
    world.run(200.0)
    assert player.lost == []
    assert player.played == list(range(len(player.played)))
    assert player.repeats <= 2


def test_a_client_that_never_consumes_is_paced_on_an_absolute_schedule() -> None:
    world = World(Delivery(chunk_seconds=8.0, started=0.0), generation=1.0, network=0.0)

    def ask(_: int) -> None:
        world.next(ask)

    world.next(ask)
    world.run(8.0 * 1000)
    first = world.delivered[0][0]
    assert [index for _, index in world.delivered] == list(range(len(world.delivered)))
    for time, index in world.delivered[1:]:
        assert time == pytest.approx(first + (index + MARGIN) * 8.0)
    assert len(world.delivered) == 1000  # not one chunk behind real time after 8,000 s


def test_a_slow_moment_does_not_delay_the_schedule_afterwards() -> None:
    value = filled(1)
    _, value = value.take(100.0)
    value = value.offer("chunk 1")
    chunk, value = value.take(100.0 + 2.9 * 8)  # should have gone at 1.25 chunks
    assert chunk == "chunk 1"
    assert value.release_time() == 100.0 + 2.25 * 8


def test_chunk_zero_goes_at_once_and_each_chunk_only_once() -> None:
    chunk, value = filled(1).take(100.0)
    assert chunk == "chunk 0"
    assert value.take(1e9) == (None, value)
    assert (value.last_delivered, value.last_generated, value.pending, value.queued) == (0, 0, 1, 0)


def test_consume_releases_the_next_chunk() -> None:
    _, value = filled(2).take(100.0)
    assert value.take(101.0)[0] is None
    value = value.consume(0, 101.0)
    assert value.take(101.0)[0] == "chunk 1"


def test_once_a_client_has_consumed_the_schedule_no_longer_releases() -> None:
    _, value = filled(3).take(100.0)
    _, value = value.consume(0, 104.0).take(104.0)
    assert value.take(104.0 + 2 * 8)[0] is None  # the transport is stopped; chunk 1 waits in its slot


def test_a_consume_lost_on_the_way_does_not_stop_the_music_for_ever() -> None:
    _, value = filled(3).take(100.0)
    _, value = value.consume(0, 104.0).take(104.0)
    assert value.release_time() == 104.0 + LOST * 8
    assert value.take(104.0 + LOST * 8)[0] == "chunk 2"


def test_a_consume_implies_all_before_it_and_repeats_change_nothing() -> None:
    value = filled(4, buffer_ahead=3)
    for _ in range(3):
        _, value = value.take(100.0)
    value = value.consume(2, 110.0)
    assert value.consumed == 2
    assert value.consume(1, 111.0).consumed == 2
    assert value.consume(2, 112.0).consumed_at == 110.0


@pytest.mark.parametrize("index", [1, 99, -1, -5])
def test_consuming_what_was_never_delivered_releases_nothing(index: int) -> None:
    _, value = filled(3).take(100.0)
    after = value.consume(index, 101.0)
    assert after.consumed == -1
    assert after.take(101.0)[0] is None


def test_no_more_is_made_than_the_client_holds() -> None:
    assert delivery().wants_more
    assert not filled(1).wants_more
    assert filled(2, buffer_ahead=3).wants_more and not filled(3, buffer_ahead=3).wants_more
    _, value = filled(1).take(100.0)
    assert value.wants_more


def test_a_client_that_does_not_call_is_gone_after_its_lease_and_any_call_renews_it() -> None:
    value = delivery(chunk_seconds=30.0)
    assert value.expires_at == 100.0 + 90.0  # three chunks
    assert delivery().expires_at == 100.0 + 60.0  # at least a minute
    assert value.touch(150.0).expires_at == 240.0
    assert value.touch(150.0).touch(120.0).expires_at == 240.0
    assert value.consume(5, 160.0).expires_at == 250.0
    assert filled(1, chunk_seconds=30.0).take(170.0)[1].expires_at == 260.0
    assert not value.expired(189.9) and value.expired(190.0)


def test_deadlines_are_when_the_next_chunk_may_go() -> None:
    value = delivery()
    assert value.deadline(100.0) == 100.5  # first sound within half a second
    assert value.offer("chunk 0").deadline(100.5) == 108.5  # nobody has asked yet
    _, value = value.offer("chunk 0").take(102.0)
    assert value.deadline(102.0) == value.release_time() == 102.0 + 1.25 * 8
    value = value.consume(0, 105.0)
    assert value.deadline(105.0) == 105.0  # it waits for it now
    assert value.offer("chunk 1").deadline(105.0) == 113.0  # the next one, a chunk later


def test_unpaced_chunks_go_as_soon_as_they_are_made_and_hurry_nobody() -> None:
    value = filled(3, paced=False)
    assert delivery(paced=False).deadline(100.0) == 100.5  # but first sound is soon for all
    for k in range(3):
        chunk, value = value.take(100.0)
        assert chunk == f"chunk {k}"
    assert value.deadline(100.0) == math.inf


def test_chunks_of_another_length_still_go_at_their_place_in_real_time() -> None:
    value = filled(2, chunk_seconds=2.0, buffer_ahead=2)
    for _ in range(2):
        _, value = value.take(100.0)
    before = value.release_time()
    value = value.recut(1.0)
    # Chunk 2 begins where it would have begun; the schedule goes on from there in the new length.
    assert value.release_time() == before - MARGIN * 2.0 + MARGIN * 1.0 + (2.0 - 1.0)
    _, value = value.offer("chunk 2").take(200.0)
    assert value.release_time() == pytest.approx(before - MARGIN + 2.0)
    assert delivery().recut(1.0).first_at == math.inf


@given(
    st.lists(st.tuples(st.sampled_from("otcw"), st.integers(-2, 12), st.floats(0, 30)), max_size=60), st.integers(1, 4)
)
@settings(max_examples=50, deadline=None)
def test_whatever_comes_each_chunk_goes_once_and_in_order(events: list[tuple[str, int, float]], ahead: int) -> None:
    value: Delivery[int] = Delivery(chunk_seconds=4.0, started=0.0, buffer_ahead=ahead)
    now, made, gone = 0.0, 0, []
    for kind, index, wait in events:
        now += wait
        if kind == "o":
            value, made = value.offer(made), made + 1
        elif kind == "t":
            before = value
            chunk, value = value.take(now)
            if chunk is None:
                assert before == value and (not value.ready or value.release_time() > now)
            else:
                gone.append(chunk)
        elif kind == "c":
            value = value.consume(index, now)
        assert value.last_delivered == len(gone) - 1 and value.last_generated == made - 1
        assert value.consumed <= value.last_delivered
        assert math.isfinite(value.deadline(now))
    assert gone == list(range(len(gone)))


@pytest.mark.parametrize("ahead", [0, 17, -1])
def test_a_buffer_that_cannot_be_is_refused(ahead: int) -> None:
    with pytest.raises(InvalidOption):
        delivery(buffer_ahead=ahead)

"""The conductor with a real engine: what a stream plays does not depend on when and with whom."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from jam.small_model import small_model

from darius import session
from darius.batching import Conductor
from darius.model import Model
from darius.session import Knobs, Streams

KNOBS = Knobs(style=np.arange(12, dtype=np.int32), guidance=2.0)


@pytest.fixture(scope="module")
def model() -> Model:
    return small_model()


@pytest.fixture(scope="module")
def conductor(model: Model) -> Iterator[Conductor]:
    """Every call has four places."""
    conductor = Conductor(model, buckets=(4,))
    yield conductor
    assert conductor.close(600)


@pytest.fixture(scope="module")
def single(model: Model) -> Iterator[Conductor]:
    """Every stream goes alone."""
    conductor = Conductor(model, buckets=(1,))
    yield conductor
    assert conductor.close(600)


def start(model: Model, seed: int) -> Streams:
    context = np.random.default_rng(seed).integers(0, 256, (50, 4), np.int32)
    return session.start(model, context, seed)


def played(conductor: Conductor, streams: list[Streams], rounds: int) -> list[np.ndarray]:
    """Each stream's samples; all are asked at once, round by round, so that they share calls as it happens."""
    heard: list[list[np.ndarray]] = [[] for _ in streams]
    for _ in range(rounds):
        futures = [conductor.advance(s, KNOBS, key=i) for i, s in enumerate(streams)]
        made = [future.result(600) for future in futures]
        streams = [m.streams for m in made]
        for sound, m in zip(heard, made, strict=True):
            sound.append(m.samples)
    return [np.concatenate(sound) for sound in heard]


def test_streams_that_share_calls_play_what_they_play_alone(
    model: Model, conductor: Conductor, single: Conductor
) -> None:
    together = played(conductor, [start(model, seed) for seed in (1, 2, 3)], 3)
    assert conductor.stats().occupancy < 1  # calls had empty places: three streams in four
    for seed, sound in zip((1, 2, 3), together, strict=True):
        (alone,) = played(single, [start(model, seed)], 3)
        assert np.abs(sound - alone).max() < 1e-4


def test_in_buckets_of_one_size_they_are_equal_bit_for_bit(model: Model, conductor: Conductor) -> None:
    one, other = played(conductor, [start(model, 1), start(model, 2)], 2)
    (alone,) = played(conductor, [start(model, 2)], 2)
    assert np.array_equal(other, alone)
    assert not np.array_equal(one, other)


def test_what_comes_back_is_what_the_session_itself_makes(model: Model, single: Conductor) -> None:
    stream = start(model, 5)
    made = single.advance(stream, KNOBS, frames=10).result(600)
    samples, codes, after = session.advance(model, stream, [KNOBS], frames=10)
    assert np.array_equal(made.codes, codes[0]) and np.array_equal(made.samples, samples[0])
    assert np.array_equal(made.streams.context, after.context)


def test_short_chunks_can_be_asked_for(model: Model, conductor: Conductor) -> None:
    made = conductor.advance(start(model, 5), KNOBS, frames=4).result(600)
    assert made.codes.shape == (4, 4) and made.samples.shape == (4 * 320, 2)

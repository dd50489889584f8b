"""Streams as values: what one stream plays does not depend on any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import numpy as np
import pytest

from darius import session
from darius.tokens import Codes
from darius.v1 import controls

if TYPE_CHECKING:
    from darius.model import Model

KNOBS = session.Knobs(style=np.arange(12, dtype=np.int32), guidance=2.0)
FRAMES = 10


def contexts(count: int) -> list[Codes]:
    rng = np.random.default_rng(5)
    return [rng.integers(0, 1024, (258, 16), np.int32) for _ in range(count)]


def play(tiny: Model, stream: session.Streams, chunks: int) -> tuple[np.ndarray, session.Streams]:
    audio = []
    for _ in range(chunks):
        samples, _, stream = session.advance(tiny, stream, [KNOBS] * len(stream), frames=FRAMES)
        audio.append(samples)
    return np.concatenate(audio, axis=1), stream


def test_two_interleaved_streams_equal_two_separate_ones_bit_for_bit(tiny: Model) -> None:
    first, second = contexts(2)
    alone_a, _ = play(tiny, session.start(tiny, first, 1), 2)
    alone_b, _ = play(tiny, session.start(tiny, second, 2), 2)
    a, b = session.start(tiny, first, 1), session.start(tiny, second, 2)
    a1, a = play(tiny, a, 1)
    b1, b = play(tiny, b, 1)
    a2, _ = play(tiny, a, 1)
    b2, _ = play(tiny, b, 1)
    assert np.array_equal(np.concatenate([a1, a2], axis=1), alone_a)
    assert np.array_equal(np.concatenate([b1, b2], axis=1), alone_b)


def test_advancing_leaves_the_old_state_as_it_was(tiny: Model) -> None:
    before = session.start(tiny, contexts(1)[0], 3)
    once, _ = play(tiny, before, 1)
    again, _ = play(tiny, before, 1)
    assert np.array_equal(once, again)


def test_a_stream_in_a_batch_plays_the_same_codes_whatever_its_neighbour_is(tiny: Model) -> None:
    first, second, third = contexts(3)
    one = session.start(tiny, first, 1)
    with_second = session.gather([one, session.start(tiny, second, 2)])
    with_third = session.gather([one, session.start(tiny, third, 9)])
    quiet = session.Knobs(guidance=1.0, temperature=0.5)
    _, codes_a, _ = session.advance(tiny, with_second, [KNOBS, KNOBS], frames=FRAMES)
    _, codes_b, _ = session.advance(tiny, with_third, [KNOBS, quiet], frames=FRAMES)
    assert np.array_equal(codes_a[0], codes_b[0])
    assert not np.array_equal(codes_a[1], codes_b[1])


def test_rows_taken_out_of_a_batch_are_the_streams_themselves(tiny: Model) -> None:
    streams = session.gather([session.start(tiny, c, i) for i, c in enumerate(contexts(3))])
    taken = session.take(streams, [2, 0])
    assert taken.seed.tolist() == [2, 0]
    assert np.array_equal(taken.context, streams.context[[2, 0]])
    for whole, part in zip(jax.tree.leaves(streams.codec), jax.tree.leaves(taken.codec), strict=True):
        assert np.array_equal(np.asarray(whole)[[2, 0]], np.asarray(part))


def test_a_chunk_begins_with_frames_of_its_own_past_that_are_not_played_again(tiny: Model) -> None:
    """Forced frames are context: forcing none, or others, changes what follows; they are not in what comes out."""
    context = contexts(1)[0]
    rows = tiny.layout.encoder_rows([context[:250]], [KNOBS.style])
    stream = session.start(tiny, context, 3)
    _, played, _ = session.advance(tiny, stream, [KNOBS], frames=FRAMES)
    wanted = tiny.decoder.decode_chunk(rows, controls(stream, [KNOBS]), frames=8 + FRAMES, prefix=context[None, 250:])
    assert tiny.prefix_frames == 8
    assert np.array_equal(np.asarray(wanted)[:, :8], context[None, 250:])
    assert np.array_equal(played, np.asarray(wanted)[:, 8:])
    free = tiny.decoder.decode_chunk(rows, controls(stream, [KNOBS]), frames=8 + FRAMES)
    assert not np.array_equal(np.asarray(free)[:, 8:], played)


def test_the_next_chunk_continues_what_was_played(tiny: Model) -> None:
    stream = session.start(tiny, contexts(1)[0], 3)
    _, codes, after = session.advance(tiny, stream, [KNOBS], frames=FRAMES)
    assert np.array_equal(after.context[0, -FRAMES:], codes[0])
    assert np.array_equal(after.context[0, :-FRAMES], stream.context[0, FRAMES:])
    assert after.chunk.tolist() == [1]


@pytest.mark.parametrize("frames", [0, 3])
def test_a_stream_can_start_from_little_or_nothing(tiny: Model, frames: int) -> None:
    stream = session.start(tiny, contexts(1)[0][:frames], 0)
    assert (stream.context[0, : tiny.memory_frames - frames] == -1).all()
    samples, _, _ = session.advance(tiny, stream, [KNOBS], frames=FRAMES)
    assert samples.shape == (1, FRAMES * 1920, 2) and np.isfinite(samples).all()

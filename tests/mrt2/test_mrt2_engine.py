"""Streams of Magenta RealTime 2 as values; what they have heard counts as what they have played."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from darius import session
from darius.engine import Engine
from darius.errors import InvalidOption
from darius.mrt2 import conditioning
from darius.mrt2.decoder import FrameDecoder
from darius.mrt2.sampling import Draws
from darius.session import Knobs
from darius.tokens import Codes
from mrt2.small_mrt2 import LEVELS, language_model, small_engine

KNOBS = Knobs(style=np.arange(12, dtype=np.int32), guidance=3.0, temperature=1.3)
OTHER = Knobs(style=np.arange(12, dtype=np.int32) * 80, guidance=1.0, temperature=0.8, top_k=5, drums=True)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return small_engine()


def context(seed: int, frames: int = 20) -> Codes:
    return np.random.default_rng(seed).integers(0, 1024, (frames, LEVELS), np.int32)


def test_facts(engine: Engine) -> None:
    assert (engine.frame_rate, engine.levels, engine.codebook_size, engine.style_levels) == (25, LEVELS, 1024, 12)
    assert engine.memory_frames == 2 * 10  # layers, each looking back 10 frames
    assert {"notes", "drums"} <= engine.supports


def test_interleaved_streams_equal_separate_ones(engine: Engine) -> None:
    begun = [session.start(engine, context(i), seed, KNOBS) for i, seed in enumerate((7, 8))]
    alone = []
    for stream, knobs in zip(begun, (KNOBS, OTHER), strict=True):
        made = []
        for _ in range(3):
            samples, codes, stream = session.advance(engine, stream, [knobs], frames=4)
            made.append((samples, codes))
        alone.append(made)
    streams = list(begun)
    for turn in range(3):
        for i, knobs in enumerate((KNOBS, OTHER)):
            samples, codes, streams[i] = session.advance(engine, streams[i], [knobs], frames=4)
            assert np.array_equal(codes, alone[i][turn][1])
            assert np.array_equal(samples, alone[i][turn][0])


def test_streams_in_a_batch_equal_separate_ones_each_with_its_own_knobs(engine: Engine) -> None:
    begun = [session.start(engine, context(i), seed, KNOBS) for i, seed in enumerate((7, 8))]
    _, codes, after = session.advance(engine, session.gather(begun), [KNOBS, OTHER], frames=4)
    for i, knobs in enumerate((KNOBS, OTHER)):
        _, alone, _ = session.advance(engine, begun[i], [knobs], frames=4)
        assert np.array_equal(codes[i], alone[0])
    _, swapped, _ = session.advance(engine, session.take(after, [1, 0]), [OTHER, KNOBS], frames=4)
    _, straight, _ = session.advance(engine, after, [KNOBS, OTHER], frames=4)
    assert np.array_equal(swapped, straight[::-1])


def test_rows_that_fill_up_a_batch_change_nothing(engine: Engine) -> None:
    decoder = engine.decoder
    wider = FrameDecoder(decoder.architecture, language_model(), least_rows=2)
    told = conditioning.tokens(decoder.architecture, [KNOBS], 4)
    draws = Draws(np.array([1.3], np.float32), np.array([40], np.int32))
    begun = decoder.begin(np.array([9], np.uint32))
    (codes, state), (wanted, _) = wider.play(begun, told, draws), decoder.play(begun, told, draws)
    assert codes.shape == wanted.shape and np.array_equal(codes, wanted)
    assert all(len(leaf) == 1 for leaf in jax.tree.leaves(state))


def test_a_call_is_compiled_once(engine: Engine) -> None:
    """Not again for the state that it returns, for fewer frames, for more codes to choose among: compiling takes a GPU
    half a minute."""
    decoder = FrameDecoder(engine.decoder.architecture, language_model())
    told = conditioning.tokens(decoder.architecture, [KNOBS], 4)
    draws = Draws(np.array([1.3], np.float32), np.array([40], np.int32))
    _, state = decoder.play(decoder.begin(np.array([9], np.uint32)), told, draws)
    compiled = decoder._play._cache_size()
    heard = decoder.hear(state, context(1, 4)[None], told)
    decoder.play(state, told, draws)
    decoder.play(heard, told[:, :1], draws._replace(top_k=np.array([500], np.int32)))
    assert decoder._play._cache_size() == compiled == 1


def test_all_codes_are_chosen_among_where_the_top_k_say_so(engine: Engine) -> None:
    """0 and the size of the codebook mean the same; a few are fewer."""
    stream = session.start(engine, engine.nothing(), 3)
    found = []
    for top_k in (0, 1024, 1):
        knobs = dataclasses.replace(KNOBS, top_k=top_k, temperature=3.0)
        found.append(session.advance(engine, stream, [knobs], frames=4)[1])
    assert np.array_equal(found[0], found[1]) and not np.array_equal(found[0], found[2])


def test_calls_of_any_length_play_the_same_music_and_leave_the_old_state_valid(engine: Engine) -> None:
    stream = session.start(engine, engine.nothing(), 3)
    _, whole, _ = session.advance(engine, stream, [KNOBS], frames=8)
    parts, rest = [], stream
    for _ in range(2):
        _, codes, rest = session.advance(engine, rest, [KNOBS], frames=4)
        parts.append(codes)
    assert np.array_equal(np.concatenate(parts, axis=1), whole)
    _, again, _ = session.advance(engine, stream, [KNOBS], frames=8)
    assert np.array_equal(again, whole)


def test_seeds_make_different_music_from_the_first_frame(engine: Engine) -> None:
    heard = [session.advance(engine, session.start(engine, engine.nothing(), s), [KNOBS], frames=4)[1] for s in (1, 2)]
    assert not np.array_equal(heard[0][:, 0], heard[1][:, 0])


def test_hearing_equals_playing_with_every_code_forced(engine: Engine) -> None:
    decoder = engine.decoder
    known = context(5)[None]
    told = conditioning.tokens(decoder.architecture, [KNOBS], 20)
    draws = Draws(np.array([1.3], np.float32), np.array([40], np.int32))
    begun = decoder.begin(np.array([9], np.uint32))
    codes, forced = decoder.play(begun, told, draws, forced=known)
    heard = decoder.hear(begun, known, told)
    assert np.array_equal(codes, known)
    assert np.array_equal(forced.key, heard.key) and np.array_equal(forced.previous, heard.previous)
    assert forced.frames.tolist() == heard.frames.tolist() == [20]
    for one, other in zip(jax.tree.leaves(forced.temporal), jax.tree.leaves(heard.temporal), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    after_forced, _ = decoder.play(forced, told[:, :8], draws)
    after_heard, _ = decoder.play(heard, told[:, :8], draws)
    assert np.array_equal(after_forced, after_heard)


def test_a_short_context_is_as_if_nothing_came_before(engine: Engine) -> None:
    decoder = engine.decoder
    stream = session.start(engine, context(6, frames=7), 9, KNOBS)
    told = conditioning.tokens(decoder.architecture, [KNOBS], 7)
    plain = decoder.hear(decoder.begin(np.array([9], np.uint32)), context(6, frames=7)[None], told)
    _, codes, _ = session.advance(engine, stream, [KNOBS], frames=4)
    _, wanted, _ = session.advance(engine, dataclasses.replace(stream, memory=plain), [KNOBS], frames=4)
    assert np.array_equal(codes, wanted)
    assert (stream.context[0, :13] == -1).all()


def test_older_frames_than_the_memory_change_nothing(engine: Engine) -> None:
    """memory_frames is not only enough, but all: what came before cannot be told from the music."""
    decoder = engine.decoder
    told = conditioning.tokens(decoder.architecture, [KNOBS], 30)
    recent, draws = context(7), Draws(np.array([1.0], np.float32), np.array([40], np.int32))
    played = []
    for older in (context(1, 10), context(2, 10)):
        state = decoder.hear(decoder.begin(np.array([4], np.uint32)), np.concatenate([older, recent])[None], told)
        played.append(decoder.play(state, told[:, :4], draws)[0])
    assert np.array_equal(*played)


def test_another_context_is_heard_while_what_sounds_goes_on(engine: Engine) -> None:
    stream = session.start(engine, context(1), 3, KNOBS)
    _, _, stream = session.advance(engine, stream, [KNOBS], frames=4)
    turned = engine.hear(stream, context(2), KNOBS)
    assert np.array_equal(turned.context[0], context(2))
    for one, other in zip(jax.tree.leaves(turned.codec), jax.tree.leaves(stream.codec), strict=True):
        assert np.array_equal(one, other)
    _, codes, _ = session.advance(engine, turned, [KNOBS], frames=4)
    _, unturned, _ = session.advance(engine, stream, [KNOBS], frames=4)
    assert not np.array_equal(codes, unturned)


def test_every_control_reaches_the_network(engine: Engine) -> None:
    stream = session.start(engine, context(1), 3, KNOBS)
    notes = np.zeros((4, 128), np.int8)
    notes[:, 64] = [2, 1, 1, 0]
    _, _, plain = session.advance(engine, stream, [KNOBS], frames=4)
    for change in (
        {"notes": notes},
        {"drums": True},
        {"drums": False},
        {"style": None},
        {"guidance": 6.0},
        {"notes_guidance": 6.0},
        {"drums_guidance": 6.0},
    ):
        _, _, after = session.advance(engine, stream, [dataclasses.replace(KNOBS, **change)], frames=4)
        pairs = zip(jax.tree.leaves(after.memory.temporal), jax.tree.leaves(plain.memory.temporal), strict=True)
        assert not all(np.array_equal(one, other) for one, other in pairs), change


def test_conditioning_is_what_the_release_expects() -> None:
    architecture = small_engine().decoder.architecture
    notes = np.full((2, 128), 0, np.int8)
    notes[0, 60] = 2
    knobs = Knobs(style=np.arange(12), guidance=3.0, notes=notes, drums=True, notes_guidance=1.0, drums_guidance=1.0)
    told = conditioning.tokens(architecture, [knobs, Knobs(guidance=3.0)], 3) - 7
    assert told.shape == (2, 3, 144)
    assert told[0, 0, :12].tolist() == list(range(12))
    assert told[0, :, 12 + 60].tolist() == [2, 0, 0]
    assert told[0, 0, 140:].tolist() == [1, 20, 10, 2]
    assert (told[1, :, :141] == -1).all()


def test_a_note_that_goes_on_is_not_struck_again() -> None:
    architecture = small_engine().decoder.architecture
    notes = np.zeros((1, 128), np.int8)
    notes[0, 60] = 2
    told = conditioning.tokens(architecture, [Knobs(notes=notes)], 3) - 7
    assert told[0, :, 12 + 60].tolist() == [2, 1, 1]


def test_notes_of_another_shape_are_refused() -> None:
    with pytest.raises(InvalidOption, match="128"):
        conditioning.tokens(small_engine().decoder.architecture, [Knobs(notes=np.zeros((3, 88), np.int8))], 3)

"""A stream decoded in blocks is the whole decoded at once, and no stream hears another."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_codec import random_params, short_config

from darius.codec import streaming
from darius.codec.codec import Codec
from darius.codec.config import CodecConfig
from darius.errors import InvalidOption


def play(codec: Codec, codes: np.ndarray, blocks: list[int]) -> np.ndarray:
    """Streams the codes in blocks and the silence after them; returns what sounds, without the lag."""
    state, heard = codec.start(len(codes)), []
    end = np.full_like(codes[:, : codec.lookahead_frames], -1)
    for block in [*np.split(codes, np.cumsum(blocks)[:-1], axis=1), end]:
        samples, state = codec.step(state, block)
        heard.append(np.asarray(samples))
    return np.concatenate(heard, axis=1)[:, codec.lookahead_frames * codec.frame_samples :]


def close(found: np.ndarray, expected: np.ndarray) -> bool:
    return found.shape == expected.shape and float(np.abs(found - expected).max() / np.abs(expected).max()) <= 1e-5


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([1, 2, 5, 8]), min_size=20, max_size=20))
def test_any_split_into_blocks_gives_what_batch_decoding_gives(codec, codes, decoded, sizes):
    blocks: list[int] = []
    for size in sizes:
        blocks.append(size if sum(blocks) + size <= 20 else 1)
        if sum(blocks) == 20:
            break
    assert close(play(codec, codes, blocks), decoded)


def test_folded_compressed_spectrograms_stream_too(codes):
    config = short_config(fold=(2, 2), compression=1 / 3)
    folding = Codec(config, random_params(config))
    assert config.frame_samples == 384
    assert close(play(folding, codes, [5] * 4), np.asarray(folding.decode(codes)))


def test_before_the_first_frame_there_is_silence(codec, codes):
    samples, _ = codec.step(codec.start(2), codes[:, :1])
    assert codec.lookahead_frames == 1
    assert not np.any(samples)


def test_a_state_stays_valid_after_a_step(codec, codes):
    _, state = codec.step(codec.start(2), codes[:, :5])
    once, _ = codec.step(state, codes[:, 5:10])
    again, _ = codec.step(state, codes[:, 5:10])
    np.testing.assert_array_equal(once, again)


def test_two_interleaved_streams_equal_two_separate_ones(codec, codes):
    one, other = codes[:1], codes[1:]
    separate = [play(codec, stream[:, :20], [5] * 4) for stream in (one, other)]
    states, heard = [codec.start(1), codec.start(1)], [[], []]
    for start in range(0, 20, 5):
        for i, stream in enumerate((one, other)):
            samples, states[i] = codec.step(states[i], stream[:, start : start + 5])
            heard[i].append(np.asarray(samples))
    lag = codec.lookahead_frames * codec.frame_samples
    for found, expected in zip(heard, separate, strict=True):
        np.testing.assert_array_equal(np.concatenate(found, axis=1)[:, lag:], expected[:, :-lag])


def test_a_row_of_a_batch_does_not_depend_on_the_others(codec, codes):
    changed = codes.copy()
    changed[1] = changed[1, ::-1]
    np.testing.assert_array_equal(
        play(codec, codes[:, :10], [5, 5])[0],
        play(codec, changed[:, :10], [5, 5])[0],
    )


def test_rows_that_started_at_different_times_can_share_a_batch(codec, codes, decoded):
    _, older = codec.step(codec.start(1), codes[:1, :5])
    joined = jax.tree.map(lambda *rows: np.concatenate(rows), older, codec.start(1))
    samples, _ = codec.step(joined, np.stack([codes[0, 5:10], codes[1, :5]]))
    lag = codec.lookahead_frames * codec.frame_samples
    size = 5 * codec.frame_samples
    assert close(np.asarray(samples)[0], decoded[0, size - lag : 2 * size - lag])
    assert close(np.asarray(samples)[1, lag:], decoded[1, : size - lag])


def test_a_stream_primed_with_the_history_goes_on_as_if_it_had_heard_all(codec, codes, decoded):
    history = codec.history_frames
    assert history < 15
    _, state = codec.step(codec.start(2), codes[:, 15 - history : 15])
    samples, _ = codec.step(state, codes[:, 15:])
    first = (15 - codec.lookahead_frames) * codec.frame_samples
    assert close(np.asarray(samples), decoded[:, first : first + 5 * codec.frame_samples])


@pytest.mark.parametrize("ahead", [1, 2])
def test_the_decoder_s_history_is_as_long_as_needed_and_no_longer(ahead):
    """The oldest frame of the history is heard in the next block; the one before it is not."""
    config = short_config(lookahead_frames=ahead)
    params = random_params(config)
    history = streaming.decoder_history(config)
    past = np.random.default_rng(0).normal(0, 1, (3, history + 1, config.num_features)).astype(np.float32)
    past[1:] = past[0]
    past[1, 0] *= 100
    past[2, 1] *= 100
    decode = jax.jit(lambda state, embeddings: streaming.decode_block(config, params, state, embeddings))
    _, state = decode(streaming.start_decoding(config, params, 3), past)
    same, before, oldest = np.asarray(decode(state, np.zeros((3, history + 1, config.num_features), np.float32))[0])
    np.testing.assert_array_equal(before, same)
    assert np.any(oldest != same)


def test_the_full_codec_depends_on_fourteen_frames():
    assert streaming.history_frames(CodecConfig.spectrostream()) == 14


def test_codes_of_another_batch_are_refused(codec, codes):
    with pytest.raises(InvalidOption, match="2 streams"):
        codec.step(codec.start(2), codes[:1])


def test_a_large_batch_goes_through_in_groups_and_sounds_the_same(codec, codes, monkeypatch):
    many = np.concatenate([codes, codes[:, ::-1]])
    expected = play(codec, many, [5] * 4)
    monkeypatch.setattr("darius.codec.codec.STREAMS", 2)
    assert close(play(Codec(codec.config, random_params(codec.config)), many, [5] * 4), expected)

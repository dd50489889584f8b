"""The decoder: constrained, reproducible, and every stream independent of its neighbours."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darius.depthformer import network
from darius.depthformer.decode import DecodePlan, Decoder, with_unconditioned
from darius.depthformer.sampling import Controls
from darius.errors import BadCheckpoint, InvalidOption


def decode(decoder, rows, frames=None, **controls):
    return np.asarray(decoder.decode_chunk(rows, Controls.of(len(rows), **controls), frames=frames))


@pytest.fixture(scope="module")
def forward(config, params):
    return jax.jit(lambda rows, inputs: network.logits(config, params, rows, inputs, legal_only=True))


def greedy_by_one_pass(config, forward, rows, weight):
    """Greedy codes found without caches: the one-pass network, once more for every token."""
    layout = config.layout
    both = np.asarray(with_unconditioned(config, jnp.asarray(rows)))
    codes = np.zeros((len(rows), layout.decoder_length), np.int32)
    for position in range(layout.decoder_length):
        ids = layout.codec_ids(codes.reshape(len(rows), -1, layout.codec_levels)).reshape(len(rows), -1)
        inputs = np.pad(ids[:, :-1], ((0, 0), (1, 0)))
        logits = np.asarray(forward(both, np.tile(inputs, (2, 1))))[:, position]
        conditioned, unconditioned = np.split(logits, 2)
        codes[:, position] = ((1 + weight) * conditioned - weight * unconditioned).argmax(-1)
    return codes.reshape(len(rows), -1, layout.codec_levels)


@pytest.mark.parametrize("weight", [0.0, 3.0])
def test_cold_and_top_1_decoding_is_the_constrained_arg_max(config, forward, decoder, encoder_rows, weight):
    expected = greedy_by_one_pass(config, forward, encoder_rows, weight)
    np.testing.assert_array_equal(decode(decoder, encoder_rows, guidance=weight, top_k=1), expected)
    np.testing.assert_array_equal(decode(decoder, encoder_rows, guidance=weight, temperature=0, top_k=0), expected)


def test_every_code_is_one_of_its_level(config, decoder, encoder_rows):
    codes = decode(decoder, encoder_rows, guidance=50.0, temperature=50.0, top_k=0)
    assert codes.dtype == np.int32
    assert codes.shape == (3, config.layout.chunk_frames, config.layout.codec_levels)
    assert codes.min() >= 0
    assert codes.max() < config.layout.codebook_size


def test_the_same_seed_gives_the_same_chunk_and_another_seed_or_chunk_gives_another(decoder, encoder_rows):
    first = decode(decoder, encoder_rows, seed=5, chunk=2)
    np.testing.assert_array_equal(decode(decoder, encoder_rows, seed=5, chunk=2), first)
    assert (decode(decoder, encoder_rows, seed=6, chunk=2) != first).mean() > 0.3
    assert (decode(decoder, encoder_rows, seed=5, chunk=3) != first).mean() > 0.3


def test_a_row_does_not_notice_its_neighbours(decoder, encoder_rows):
    own = {"seed": [1, 2, 3], "guidance": [2.0, 4.0, 0.0], "top_k": [5, 0, 1], "temperature": [1.0, 2.0, 0.5]}
    other = {"seed": [9, 2, 8], "guidance": [1.0, 4.0, 6.0], "top_k": [1, 0, 7], "temperature": [0.0, 2.0, 3.0]}
    neighbours = encoder_rows.copy()
    neighbours[[0, 2]] = neighbours[[2, 0]]
    np.testing.assert_array_equal(decode(decoder, encoder_rows, **own)[1], decode(decoder, neighbours, **other)[1])


def test_each_row_obeys_its_own_controls(decoder, encoder_rows):
    mixed = {"seed": 4, "guidance": [2.0, 3.0, 1.0], "top_k": [1, 0, 8], "temperature": [1.0, 2.0, 0.5]}
    together = decode(decoder, encoder_rows, **mixed)
    for row in range(3):
        same = {name: value if np.isscalar(value) else value[row] for name, value in mixed.items()}
        np.testing.assert_array_equal(decode(decoder, encoder_rows, **same)[row], together[row])


def test_fewer_frames_are_the_beginning_of_the_chunk(decoder, encoder_rows):
    whole = decode(decoder, encoder_rows)
    for frames in (1, 3):
        np.testing.assert_array_equal(decode(decoder, encoder_rows, frames=frames), whole[:, :frames])


def test_two_interleaved_streams_equal_two_separate_ones(config, decoder, encoder_rows):
    def chunk(stream, index, before):
        context = before[-1] if before else np.zeros((0, config.layout.codec_levels), np.int32)
        row = config.layout.encoder_row(context, [stream, 1])
        return [*before, decode(decoder, np.stack([row] * 3), seed=stream, chunk=index)[0]]

    separate = []
    for stream in (1, 2):
        history = []
        for index in range(3):
            history = chunk(stream, index, history)
        separate.append(history)
    interleaved = [[], []]
    for index in range(3):
        for stream in (1, 2):
            interleaved[stream - 1] = chunk(stream, index, interleaved[stream - 1])
    np.testing.assert_array_equal(interleaved, separate)
    assert (np.array(separate[0]) != np.array(separate[1])).mean() > 0.3


def test_without_guidance_no_second_rows_are_computed(config, decoder, encoder_rows):
    """Seen in the programs: floating point operations of guidance 0 are about half of those with guidance."""

    def operations(guided):
        return decoder.lower(3, guided=guided).cost_analysis()["flops"]

    assert operations(guided=False) < 0.6 * operations(guided=True)
    np.testing.assert_array_equal(
        decode(decoder, encoder_rows, guidance=0.0)[:2],
        decode(decoder, encoder_rows, guidance=[0.0, 0.0, 1.0])[:2],
    )


@pytest.mark.parametrize(
    "plan",
    [
        DecodePlan(unroll_layers=False, unroll_levels=2, encoder_rows=4),
        DecodePlan(whole_rows=2, encoder_rows=4),
        DecodePlan(unroll_encoder=True, exact_frames=True, count_top_k=True, unroll_levels=4),
    ],
)
def test_a_plan_changes_how_a_chunk_is_compiled_and_not_its_codes(config, params, decoder, encoder_rows, plan):
    expected = decode(decoder, encoder_rows, seed=3, top_k=6)
    np.testing.assert_array_equal(decode(Decoder(config, params, plan=plan), encoder_rows, seed=3, top_k=6), expected)


def test_bfloat16_weights_are_held_once_and_decode(config, params, encoder_rows):
    decoder = Decoder(config, params, dtype="bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves(decoder.packed)} == {jnp.dtype(jnp.bfloat16)}
    assert decode(decoder, encoder_rows).max() < config.layout.codebook_size


def test_the_platform_chooses_number_type_and_plan():
    assert DecodePlan.for_platform("cpu").dtype == "float32"
    assert DecodePlan.for_platform("gpu").dtype == "bfloat16"
    assert DecodePlan.for_platform("gpu", dtype="float32").dtype == "float32"


def test_wrong_calls_are_refused_in_a_sentence(config, params, decoder, encoder_rows):
    with pytest.raises(InvalidOption, match="1 to 5 frames, not 6"):
        decode(decoder, encoder_rows, frames=6)
    with pytest.raises(InvalidOption, match=r"\[batch, 14\]"):
        decode(decoder, encoder_rows[:, 1:])
    with pytest.raises(InvalidOption, match="guidance"):
        decoder.decode_chunk(encoder_rows, Controls.of(2))
    with pytest.raises(BadCheckpoint, match="is missing"):
        Decoder(config, {})

"""The teacher-forced network: causality, padding, gradients, dropout, number types, and its cached twin."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darius.depthformer import network
from darius.depthformer.packing import pack
from darius.depthformer.unconstrained import decode_unconstrained


@pytest.fixture(scope="module")
def targets(config):
    layout = config.layout
    codes = np.random.default_rng(4).integers(0, layout.codebook_size, (2, layout.chunk_frames, layout.codec_levels))
    return layout.codec_ids(codes).reshape(2, -1)


@pytest.fixture(scope="module")
def rows(encoder_rows):
    return encoder_rows[:2]


@pytest.fixture(scope="module")
def forward(config):
    return jax.jit(functools.partial(network.logits, config), static_argnames=("dtype", "legal_only"))


@pytest.fixture(scope="module")
def full(forward, params, rows, targets):
    return np.asarray(forward(params, rows, network.shift_right(targets)))


def test_cached_decoding_equals_the_one_pass_network(config, params, rows, targets, full):
    for stacked in (False, True):
        packed = pack(config, params, jnp.float32, legal_only=False, stacked=stacked, stacked_encoder=stacked)
        decoded = decode_unconstrained(config, packed, rows, targets, guidance=0.0)
        np.testing.assert_array_equal(decoded.tokens, targets)
        np.testing.assert_allclose(decoded.logits, full, atol=1e-4)


def test_legal_logits_are_the_levels_own_slice_of_all_logits(config, forward, params, rows, targets, full):
    legal = np.asarray(forward(params, rows, network.shift_right(targets), legal_only=True))
    layout = config.layout
    for position in range(targets.shape[1]):
        first = layout.codec_offset + position % layout.codec_levels * layout.codebook_size
        slice_ = full[:, position, first : first + layout.codebook_size]
        np.testing.assert_allclose(legal[:, position], slice_, atol=1e-5)


def test_a_logit_depends_on_earlier_targets_only(forward, params, rows, targets, full):
    changed = targets.copy()
    changed[:, 9] += 1
    after = np.asarray(forward(params, rows, network.shift_right(changed)))
    np.testing.assert_allclose(after[:, :10], full[:, :10], atol=1e-6)
    assert np.abs(after[:, 10:] - full[:, 10:]).max() > 1e-3


def test_padding_is_not_seen_and_comes_out_as_zero_while_the_mask_is_seen(config, params, rows):
    encode = jax.jit(functools.partial(network.encode, config))
    padded, masked = rows.copy(), rows.copy()
    padded[:, -3:], masked[:, -3:] = 0, 1
    whole, without, with_mask = (np.asarray(encode(params, tokens)) for tokens in (rows, padded, masked))
    assert np.all(without[:, -3:] == 0)
    assert np.abs(without[:, 0] - whole[:, 0]).max() > 1e-3
    assert np.abs(without[:, 0] - with_mask[:, 0]).max() > 1e-3
    cut = np.asarray(encode(params, rows[:, :-3]))
    np.testing.assert_allclose(without[:, :-3], cut, atol=1e-5)


@pytest.mark.parametrize("stacked", [False, True])
def test_fused_attention_encodes_the_same_wherever_padding_stands(config, params, encoder_rows, stacked):
    packed = pack(config, params, jnp.float32, stacked_encoder=stacked)
    tokens = encoder_rows.copy()
    tokens[0, 3:5] = tokens[0, -1] = tokens[1, 0] = 0
    expected = network.encode_packed(config, packed, jnp.asarray(tokens))
    np.testing.assert_allclose(network.encode_fused(config, packed, tokens, "xla"), expected, atol=1e-5)


def test_bfloat16_on_fewer_frames_stays_near_the_beginning_of_float32(config, forward, params, rows, targets, full):
    length = 2 * config.layout.codec_levels
    rounded = forward(params, rows, network.shift_right(targets)[:, :length], dtype=jnp.bfloat16)
    assert rounded.dtype == jnp.float32
    assert 0 < np.abs(np.asarray(rounded) - full[:, :length]).max() < 0.15


def test_gradients_reach_every_parameter_and_dropout_follows_its_key(config, params, rows, targets):
    layout = config.layout
    codes = (targets - layout.codec_offset) % layout.codebook_size
    inputs = np.pad(targets[:, :-1], ((0, 0), (1, 0)))

    @jax.jit
    @jax.value_and_grad
    def loss(params, key):
        logits = network.logits(config, params, rows, inputs, dropout_key=key, legal_only=True)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), codes[..., None], axis=-1))

    (first, gradient), (again, _), (other, _) = (loss(params, jax.random.key(seed)) for seed in (0, 0, 1))
    assert float(first) == float(again) != float(other)
    for name, value in gradient.items():
        assert np.isfinite(value).all(), name
        assert np.abs(value).max() > 0, name

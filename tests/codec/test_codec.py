"""The codec on a device: exact lengths, a few compiled shapes, whole or in blocks the same, clear refusals."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_codec import random_params, short_config

from darius.codec import codec as codec_module
from darius.codec import network, rvq, weights
from darius.codec.codec import Codec, bucket
from darius.codec.config import CodecConfig
from darius.errors import BadAudio, BadCheckpoint, InvalidOption


@pytest.fixture(scope="module")
def samples(config):
    return np.random.default_rng(5).normal(0, 0.2, (2, 20 * config.frame_samples - 7, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def encoded(codec, samples):
    return np.asarray(codec.encode(samples, levels=8))


def test_frames_decode_to_exactly_their_samples(codec, codes, decoded):
    assert decoded.shape == (2, 20 * codec.frame_samples, 2)
    assert decoded.dtype == np.float32
    assert np.asarray(codec.decode(codes[:, :5])).shape == (2, 5 * codec.frame_samples, 2)


def test_padding_to_a_compiled_length_changes_nothing(codec, codes, config):
    params = random_params(config)
    embeddings = rvq.dequantise(params["quantizer"]["embedding"], codes[:, :5])
    exact = np.asarray(jax.jit(lambda e: network.decode(config, params, e))(embeddings))
    np.testing.assert_allclose(np.asarray(codec.decode(codes[:, :5])), exact, atol=1e-6)


def test_samples_encode_to_their_frames_rounded_up(samples, encoded):
    assert encoded.shape == (2, 20, 8)
    assert encoded.dtype == np.int32


def test_zeros_fill_up_the_last_frame(codec, samples, encoded):
    filled = np.pad(samples, ((0, 0), (0, 7), (0, 0)))
    np.testing.assert_array_equal(np.asarray(codec.encode(filled, levels=8)), encoded)


def test_fewer_levels_are_the_first_of_more(codec, samples, encoded):
    np.testing.assert_array_equal(np.asarray(codec.encode(samples, levels=3)), encoded[..., :3])


def test_long_inputs_go_through_in_blocks_with_the_same_result(codec, codes, decoded, samples, encoded, monkeypatch):
    monkeypatch.setattr(codec_module, "BLOCK_FRAMES", 8)
    np.testing.assert_array_equal(np.asarray(codec.encode(samples, levels=8)), encoded)
    np.testing.assert_allclose(np.asarray(codec.decode(codes)), decoded, atol=1e-6)


def test_unknown_codes_are_silent_levels(codec, codes):
    masked = codes.copy()
    masked[..., 4:] = -1
    few = np.asarray(codec.decode(codes[..., :4]))
    np.testing.assert_allclose(np.asarray(codec.decode(masked)), few, atol=1e-6)


def test_bfloat16_sounds_nearly_the_same(config, codes, decoded):
    found = np.asarray(Codec(config, random_params(config), dtype=jnp.bfloat16).decode(codes))
    assert found.dtype == np.float32
    assert np.sqrt(np.mean((found - decoded) ** 2) / np.mean(decoded**2)) < 0.05


@pytest.mark.parametrize(("frames", "length"), [(1, 1), (3, 4), (16, 16), (17, 25), (50, 50), (51, 75), (250, 250)])
def test_lengths_are_gathered_in_buckets(frames, length):
    assert bucket(frames) == length


def test_geometry_of_the_full_codec():
    config = CodecConfig.spectrostream()
    assert (config.sample_rate, config.channels, config.frame_samples, config.frame_rate) == (48_000, 2, 1920, 25)


@pytest.mark.parametrize("shape", [(100, 2), (1, 100, 1), (1, 0, 2)])
def test_samples_of_another_shape_are_refused(codec, shape):
    with pytest.raises(BadAudio):
        codec.encode(np.zeros(shape, np.float32))


def test_too_many_levels_are_refused(codec, samples):
    with pytest.raises(InvalidOption, match="8 RVQ levels"):
        codec.encode(samples, levels=9)


def test_codes_outside_the_codebook_are_refused(codec, codes):
    with pytest.raises(InvalidOption, match="code 32"):
        codec.decode(codes + 1)


def test_missing_misshapen_and_unknown_tensors_are_named(config):
    flat = weights.flatten(random_params(config))
    name = "decoder/decoder_1/conv2dtranspose_4x6/conv/kernel"
    cases = {
        f"lack the tensor {name}": {n: v for n, v in flat.items() if n != name},
        f"{name} is ": flat | {name: flat[name][:2]},
        "too many: encoder/extra": flat | {"encoder/extra": flat[name]},
    }
    for sentence, tensors in cases.items():
        with pytest.raises(BadCheckpoint, match=sentence):
            weights.check(config, weights.nest(tensors))


def test_gradients_reach_every_tensor_but_the_codebooks(config):
    samples = np.random.default_rng(0).normal(0, 0.2, (1, 2 * config.frame_samples, 2)).astype(np.float32)

    def loss(params):
        return jnp.mean(jnp.square(network.decode(config, params, network.encode(config, params, samples)) - samples))

    gradients = weights.flatten(jax.jit(jax.grad(loss))(random_params(config)))
    silent = [name for name, g in gradients.items() if not (np.all(np.isfinite(g)) and np.any(g))]
    assert silent == [weights.EMBEDDING]


def test_a_configuration_survives_json():
    import json

    config = short_config(channel_splits=1)
    assert CodecConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ValueError, match="nonsense"):
        CodecConfig.from_dict({"nonsense": 1})


def test_quantised_codes_come_back_from_their_own_embeddings():
    codebooks = np.random.default_rng(0).normal(0, 1, (4, 16, 8)).astype(np.float32)
    codebooks *= np.array([1000, 100, 10, 1], np.float32)[:, None, None]
    codes = np.random.default_rng(1).integers(0, 16, (3, 5, 4), np.int32)
    found, rest = rvq.quantise(jnp.asarray(codebooks), rvq.dequantise(jnp.asarray(codebooks), codes))
    np.testing.assert_array_equal(found, codes)
    assert np.abs(rest).max() < 1e-3

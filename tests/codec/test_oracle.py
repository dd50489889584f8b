"""Encode, decode and RVQ are the functions of `magenta-rt` 2's SpectroStream, whatever the configuration."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_codec import random_params, small_config

from darius.codec import network, rvq, weights
from darius.codec.config import CodecConfig

pytest.importorskip("magenta_rt", reason="magenta-rt has no release for this Python")

TOLERANCE = 1e-5
FIVE_BLOCKS = {"ratios": ((1, 2), (1, 2), (1, 3), (2, 4), (2, 1)), "mults": (1, 2, 1, 1, 2)}


def oracle(config: CodecConfig):
    """The original's module of our configuration."""
    from magenta_rt.jax import spectrostream

    full = spectrostream.stft_spectrostream_40ms_generic_48khz_stereo_config()
    quantizer = dataclasses.replace(
        full.quantizer,
        num_quantizers=config.num_levels,
        num_embeddings=config.codebook_size,
        embedding_dim=config.num_features,
    )
    return dataclasses.replace(
        full,
        stft_frame_length=config.stft_frame,
        stft_frame_step=config.stft_step,
        stft_fft_length=config.stft_fft,
        ratios=config.ratios,
        mults=config.mults,
        num_bins=config.bins,
        num_channels=config.spectrogram_channels,
        channel_splits=config.channel_splits if config.channel_splits > 1 else None,
        channel_recombo_block=config.channel_recombo_block,
        num_features=config.num_features,
        encoder_base_conv_depth=config.encoder_depth,
        encoder_base_conv_size=config.encoder_conv_size,
        decoder_base_conv_depth=config.decoder_depth,
        decoder_base_conv_size=config.decoder_conv_size,
        decoder_lookahead=config.lookahead_frames,
        quantizer=quantizer,
    ).make()


def run_oracle(config: CodecConfig, params, samples, codes) -> tuple[np.ndarray, ...]:
    """Embeddings and codes of `samples`, samples of `codes` with zeros for the lookahead."""
    import sequence_layers.jax as sl

    module = oracle(config)

    def run(params, samples, codes):
        def call(method, values, **options):
            found = module.apply({"params": params}, sl.Sequence.from_values(values), method=method, **options)
            return found.values

        embeddings = call("waveform_to_embeddings", samples, training=False)
        tokens = call(lambda m, e: m.quantizer.embeddings_to_codes(e), embeddings)
        quantised = call(lambda m, c: m.quantizer.codes_to_embeddings(c), codes)
        padded = jnp.pad(quantised, ((0, 0), (0, config.lookahead_frames), (0, 0)))
        return embeddings, tokens, call("embeddings_to_waveform", padded, training=False)

    return tuple(np.asarray(found) for found in jax.jit(run)(params, samples, codes))


def run_ours(config: CodecConfig, params, samples, codes) -> tuple[np.ndarray, ...]:
    def run(params, samples, codes):
        codebooks = params["quantizer"]["embedding"]
        embeddings = network.encode(config, params, samples)
        tokens, _ = rvq.quantise(codebooks, embeddings)
        return embeddings, tokens, network.decode(config, params, rvq.dequantise(codebooks, codes))

    return tuple(np.asarray(found) for found in jax.jit(run)(params, samples, codes))


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def assert_equal_to_the_oracle(config: CodecConfig, frames: int, batch: int = 1) -> None:
    rng = np.random.default_rng(2)
    params = random_params(config, seed=3)
    samples = rng.normal(0, 0.2, (batch, frames * config.frame_samples, config.channels)).astype(np.float32)
    codes = rng.integers(0, config.codebook_size, (batch, frames, config.num_levels), np.int32)
    ours, theirs = (run(config, params, samples, codes) for run in (run_ours, run_oracle))
    assert relative_error(ours[0], theirs[0]) <= TOLERANCE
    np.testing.assert_array_equal(ours[1], theirs[1])
    assert ours[2].shape == samples.shape
    assert relative_error(ours[2], theirs[2]) <= TOLERANCE


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(small_config(), id="the full codec made small"),
        pytest.param(
            small_config(**FIVE_BLOCKS, channel_splits=1, lookahead_frames=0, decoder_conv_size=(3, 5)),
            id="one branch, no lookahead, oblong kernel",
        ),
        pytest.param(
            small_config(**FIVE_BLOCKS, channel_recombo_block=2, lookahead_frames=2, stft_frame=144, stft_step=48),
            id="branches joined early, window shorter than the transform",
        ),
    ],
)
def test_small_codecs_equal_the_oracle(config):
    assert_equal_to_the_oracle(config, frames=6, batch=2)


@pytest.mark.slow
@pytest.mark.acceptance
def test_the_full_codec_equals_the_oracle():
    assert_equal_to_the_oracle(CodecConfig.spectrostream(), frames=3)


def test_the_tree_of_the_full_codec_is_the_oracle_s():
    import flax
    import sequence_layers.jax as sl

    config = CodecConfig.spectrostream()
    module = oracle(config)
    silence = sl.Sequence.from_values(jnp.zeros((1, config.frame_samples * 2, 2)))
    tree = flax.core.meta.unbox(jax.eval_shape(lambda: module.init(jax.random.key(0), silence, training=False)))
    theirs = {name.removeprefix("params/"): leaf.shape for name, leaf in weights.flatten(tree).items()}
    assert weights.shapes(config) == theirs

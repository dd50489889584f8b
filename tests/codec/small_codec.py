"""A codec with every part of the full one and few of its numbers, its biases random too."""

from __future__ import annotations

import jax
import numpy as np

from darius.codec import weights
from darius.codec.config import CodecConfig
from darius.codec.network import Params

SIZES = {
    "stft_frame": 192,
    "stft_step": 96,
    "stft_fft": 192,
    "encoder_depth": 2,
    "decoder_depth": 2,
    "num_features": 16,
    "num_levels": 8,
    "codebook_size": 32,
}


THREE_BLOCKS = {"ratios": ((1, 2), (2, 3), (2, 2)), "mults": (2, 1, 2)}


def small_config(**changes) -> CodecConfig:
    """The full codec's blocks with short windows and narrow layers: 384 samples a frame."""
    return CodecConfig(**(SIZES | changes))


def short_config(**changes) -> CodecConfig:
    """As `small_config` with three blocks, which compile sooner: strides in time and frequency, branches that join."""
    return small_config(**(THREE_BLOCKS | {"stft_frame": 96, "stft_step": 48, "stft_fft": 96} | changes))


def random_params(config: CodecConfig, seed: int = 0) -> Params:
    """Random parameters in which no bias is zero."""
    rng = np.random.default_rng(seed)
    flat = weights.flatten(jax.tree.map(np.asarray, weights.initialise(config, jax.random.key(seed))))
    for name, value in flat.items():
        if name.endswith("/bias"):
            flat[name] = rng.normal(0, 0.1, value.shape).astype(np.float32)
    return weights.nest(flat)

"""A small random Depthformer with the real sequence geometry in miniature, and a decoder of it."""

from __future__ import annotations

import numpy as np
import pytest

from darius.depthformer import weights
from darius.depthformer.config import DepthformerConfig
from darius.depthformer.decode import Decoder
from darius.tokens import TokenLayout


@pytest.fixture(scope="session")
def config() -> DepthformerConfig:
    layout = TokenLayout(
        codebook_size=32,
        codec_levels=4,
        context_levels=2,
        style_levels=3,
        context_style_levels=2,
        context_frames=6,
        chunk_frames=5,
    )
    return DepthformerConfig(
        layout=layout,
        embed_dim=16,
        num_heads=2,
        head_dim=8,
        mlp_dim=24,
        num_encoder_layers=1,
        num_temporal_layers=2,
        num_depth_layers=2,
    )


@pytest.fixture(scope="session")
def params(config: DepthformerConfig) -> weights.Params:
    """Random parameters; norms and biases too, which an initialiser leaves at one and at almost nothing."""
    rng = np.random.default_rng(1)

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        noise = rng.standard_normal(shape)
        if name.endswith("/kernel"):
            noise /= np.sqrt(shape[0])
        return (1 + 0.3 * noise if name.endswith("/scale") else noise).astype(np.float32)

    return {name: draw(name, shape) for name, shape in weights.shapes(config).items()}


@pytest.fixture(scope="session")
def decoder(config: DepthformerConfig, params: weights.Params) -> Decoder:
    return Decoder(config, params)


@pytest.fixture(scope="session")
def encoder_rows(config: DepthformerConfig) -> np.ndarray:
    """Three conditioned encoder rows, int32 [3, L]."""
    rng = np.random.default_rng(3)
    layout = config.layout
    contexts = rng.integers(0, layout.codebook_size, (3, layout.context_frames, layout.codec_levels))
    styles = rng.integers(0, layout.codebook_size, (3, layout.style_levels))
    return layout.encoder_rows(list(contexts), list(styles))

"""A whole model with every part real and small: 8 kHz sound, chunks of 0.4 s, a context of 2 s; random weights.

Its music is noise, but its codes, states, seeds and lengths behave as every model's do.
"""

from __future__ import annotations

from pathlib import Path

import jax

import darius
from darius.codec import weights as codec_weights
from darius.codec.codec import Codec
from darius.codec.config import CodecConfig
from darius.depthformer import weights
from darius.depthformer.config import DepthformerConfig
from darius.depthformer.decode import Decoder
from darius.model import V1Model
from darius.style import tiny
from darius.style.steering import Assets
from darius.tokens import TokenLayout

STYLE = Path(darius.__file__).parent / "assets" / "tiny" / "style.safetensors"
LAYOUT = TokenLayout(codebook_size=256, codec_levels=4, context_levels=2, context_frames=50, chunk_frames=10)
DEPTHFORMER = DepthformerConfig(
    layout=LAYOUT,
    embed_dim=16,
    num_heads=1,
    head_dim=16,
    mlp_dim=16,
    num_encoder_layers=1,
    num_temporal_layers=1,
    num_depth_layers=1,
)
CODEC = CodecConfig(
    sample_rate=8000,
    stft_frame=320,
    stft_step=160,
    stft_fft=320,
    ratios=((1, 5), (2, 4)),
    mults=(2, 1),
    encoder_depth=2,
    decoder_depth=2,
    encoder_conv_size=(1, 1),
    decoder_conv_size=(3, 3),
    num_features=8,
    num_levels=4,
    codebook_size=256,
    channel_splits=1,
    channel_recombo_block=0,
)


def small_model(**parts) -> V1Model:
    """The model; `parts` replace its own (prefers_frame_grid=True, assets=...)."""
    whole = {
        "name": "small",
        "decoder": Decoder(DEPTHFORMER, weights.initialise(DEPTHFORMER, jax.random.key(0))),
        "codec": Codec(CODEC, codec_weights.initialise(CODEC, jax.random.key(1))),
        "style": tiny.load(STYLE),
        "assets": Assets(),
    }
    return V1Model(**(whole | parts))

"""The sizes that `tiny` is trained with. The shipped files carry their own."""

from __future__ import annotations

import dataclasses

from darius.codec.config import CodecConfig
from darius.depthformer.config import DepthformerConfig


def codec() -> CodecConfig:
    """Wide where there is little: 25 and 50 positions a second."""
    return dataclasses.replace(
        CodecConfig.tiny(),
        ratios=((1, 5), (1, 1), (2, 2), (1, 1)),
        mults=(2, 1, 1, 1),
        encoder_depth=48,
        decoder_depth=64,
    )


def language_model() -> DepthformerConfig:
    """The depth stack, which runs 800 times a chunk, is most of the time on a CPU."""
    return DepthformerConfig(
        embed_dim=320,
        num_heads=5,
        head_dim=64,
        mlp_dim=384,
        num_encoder_layers=2,
        num_temporal_layers=4,
        num_depth_layers=2,
    )

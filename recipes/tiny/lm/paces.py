"""How fast each tensor learns: factors of the learning rate, for a start from nothing and for going on.

Going on spares what copies: the circuit of `recipes.tiny.lm.structure` is sharp, and a hundred steps of Adam at full
rate wipe it out (the share of right codes of held-out clips fell from 0.54 to 0.32 that way). What may learn then are
the style's tokens, the heads that listen to it, and whatever comes after the copy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from darius.depthformer import weights
from darius.depthformer.config import DepthformerConfig

COPYING_HEADS = {1: 1}
"""Of a temporal layer's cross-attention, as many of the first heads belong to the circuit."""


def from_nothing(config: DepthformerConfig, name: str) -> Any:
    """The factor where training begins with the structural start.

    A kernel sums hundreds of inputs whose updates agree, and at full rate a dozen steps would wipe out the structure
    it starts with; a row of the token table is seen rarely and alone.
    """
    if name == weights.EMBEDDING or name.endswith("/scale"):
        return np.float32(1.0)
    return np.float32(0.5 if name == weights.LOGITS else 0.25)


def going_on(config: DepthformerConfig, name: str) -> Any:
    """The factor (a scalar, or an array to multiply with) where training goes on from weights that copy."""
    layout = config.layout
    if name == weights.EMBEDDING:
        rows = np.zeros((layout.vocab_rows, 1), np.float32)
        rows[layout.style_offset : layout.style_offset + layout.context_style_levels * layout.codebook_size] = 1.0
        return rows
    if name == weights.LOGITS:
        columns = np.full((1, layout.vocab_rows), 0.02, np.float32)
        columns[:, : layout.codec_offset + layout.context_levels * layout.codebook_size] = 0.1
        return columns
    for index in range(1, config.num_temporal_layers):
        if name.startswith(weights.temporal_layer(index) + "/"):
            return _temporal(config, name, index)
    if name.startswith(tuple(weights.depth_layer(index) + "/" for index in range(config.num_depth_layers))):
        return np.float32(0.15 if "/mlp/" in name else 0.03)
    return np.float32(0.0)


def _temporal(config: DepthformerConfig, name: str, index: int) -> Any:
    copies = COPYING_HEADS.get(index, 0)
    if "/encoder_decoder_attention/" in name:
        size = config.num_heads * config.head_dim
        spared = np.where(np.arange(size) < copies * config.head_dim, 0.0, 0.25).astype(np.float32)
        return spared[:, None] if "/out/" in name else spared[None]
    if "/mlp/" in name and name.endswith("/kernel"):
        return np.float32(0.1 if copies else 0.25)
    return np.float32(0.0 if copies else 0.1)

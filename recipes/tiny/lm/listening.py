"""Gives weights a head that listens to the style, where training had none: `attend_style`.

Six style tokens stand among 1,006: attention that begins even gives them half a percent, and a gradient as small. A
head of its own, laid out by hand like the rest of the start (`recipes.tiny.lm.structure`), hears nothing but them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from darius.depthformer import weights
from darius.depthformer.config import DepthformerConfig
from recipes.tiny.lm.structure import Slots, where

HEADS = ((1, 1), (1, 2), (2, 0), (2, 1))
SHARES = ((1, 2), (2, 1))
"""Of these, the ones that hear the last style token the most, which says how much of the style are words."""

MARK, FIRST, NEWS = 6.0, 6.0, 0.1


def attend_style(
    config: DepthformerConfig, params: Mapping[str, Any], heads: Sequence[tuple[int, int]] = HEADS, *, seed: int = 0
) -> dict[str, Any]:
    """Parameters in which one head of some temporal layers' cross-attention sees the style tokens alone.

    Args:
      heads: (temporal layer, head) that are given up. What they say at first is small and random.
    """
    rng, size = np.random.default_rng(seed), config.head_dim
    slots, layout = Slots.of(config), config.layout
    made = dict(params)
    first = layout.encoder_length - layout.context_style_levels
    # All of the style tokens, and the first, which says the most, the most; or the last.
    listened = {
        True: MARK * slots.style_mark + FIRST * where(config, slice(first, first + 2)),
        False: MARK * slots.style_mark + 2 * FIRST * where(config, slice(layout.encoder_length - 1, None)),
    }
    for layer, head in heads:
        name = f"{weights.temporal_layer(layer)}/encoder_decoder_attention"
        columns = slice(head * size, (head + 1) * size)
        parts = {part: np.array(params[f"{name}/{part}/kernel"]) for part in ("query", "key", "value", "out")}
        parts["query"][:, columns] = parts["key"][:, columns] = 0.0
        parts["query"][:, columns.start] = slots.token_mark + slots.start_mark
        parts["key"][:, columns.start] = listened[(layer, head) not in SHARES]
        shape = (config.embed_dim, size)
        parts["value"][:, columns] = rng.standard_normal(shape) / np.sqrt(config.embed_dim)
        parts["out"][columns] = rng.standard_normal(shape[::-1]) * NEWS / np.sqrt(size)
        made |= {f"{name}/{part}/kernel": value.astype(np.float32) for part, value in parts.items()}
    return made

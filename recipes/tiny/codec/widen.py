"""A decoder made wider and deeper that says at first what it said: training goes on from there."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from darius.codec import weights
from darius.codec.config import CodecConfig
from darius.codec.network import Params


def widened(config: CodecConfig, params: Params, depth: int, units: int, seed: int = 0) -> tuple[CodecConfig, Params]:
    """The same codec with `decoder_depth` and `decoder_units` of at least what they were.

    Old channels come first and hear nothing of the new ones yet; new channels hear all. New units add nothing yet.
    Encoder and codebooks stay, and so do the codes.
    """
    wide = dataclasses.replace(config, decoder_depth=depth, decoder_units=units)
    random = weights.flatten(weights.initialise(wide, jax.random.key(seed)))
    old = weights.flatten(params)
    merged: dict[str, Any] = {}
    for name, drawn in random.items():
        if not name.startswith("decoder/"):
            merged[name] = old[name]
        elif name in old:
            rows = config.bottleneck_bins if name.startswith("decoder/input_layer/") else 1
            merged[name] = jnp.asarray(_inside(np.asarray(drawn), np.asarray(old[name]), rows, name))
        else:
            merged[name] = drawn * (0 if name.endswith("conv2d_3x3/conv/kernel") else 1)
    return wide, weights.nest(merged)


def _inside(drawn: np.ndarray, old: np.ndarray, rows: int, name: str) -> np.ndarray:
    """`old` in the first channels of `drawn`, zeros from new inputs to old outputs.

    `rows`: of positions that a wide layer's outputs (and, of the last, inputs) are dealt to.
    """
    outputs = (rows, -1)
    if name.endswith("bias"):
        found = np.zeros_like(drawn).reshape(outputs)
        found[:, : old.size // rows] = old.reshape(outputs)
        return found.reshape(drawn.shape)
    dealt = rows if name.endswith("conv1x1_b2/conv/kernel") else 1
    shape = [(*x.shape[:-2], dealt, x.shape[-2] // dealt, rows, x.shape[-1] // rows) for x in (drawn, old)]
    found, before = drawn.reshape(shape[0]).copy(), old.reshape(shape[1])
    inner, outer = before.shape[-3], before.shape[-1]
    found[..., :outer] = 0
    found[..., :inner, :, :outer] = before
    return found.reshape(drawn.shape)

"""A Depthformer of a few thousand parameters, with windows to train it on: everything real but its size."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np

from darius import random_weights
from darius.depthformer.config import DepthformerConfig
from darius.tokens import TokenLayout
from finetune import sharding, stacks, step
from finetune.batches import Windows
from finetune.loss import LossOptions
from finetune.step import Batch, State, Step, StepOptions

LAYOUT = TokenLayout(
    codebook_size=8,
    codec_levels=4,
    context_levels=2,
    style_levels=3,
    context_style_levels=2,
    context_frames=8,
    chunk_frames=4,
    frame_rate=2,
)
SMALL = DepthformerConfig(
    layout=LAYOUT,
    embed_dim=16,
    num_heads=2,
    head_dim=8,
    mlp_dim=24,
    num_encoder_layers=2,
    num_temporal_layers=2,
    num_depth_layers=2,
    temporal_buckets=8,
    depth_buckets=4,
)
PLACEMENT = sharding.place("cpu")


def params() -> dict[str, np.ndarray[Any, Any]]:
    """Flat, float32."""
    return random_weights.language_model(SMALL)


def windows(seed: int = 0, rows: int = 2) -> Windows:
    rng = np.random.default_rng(seed)
    contexts = rng.integers(0, LAYOUT.codebook_size, (rows, LAYOUT.context_frames, LAYOUT.codec_levels))
    styles = rng.integers(0, LAYOUT.codebook_size, (rows, LAYOUT.style_levels))
    targets = rng.integers(0, LAYOUT.codebook_size, (rows, LAYOUT.chunk_frames, LAYOUT.codec_levels))
    return Windows(LAYOUT.encoder_rows(list(contexts), list(styles)), LAYOUT.codec_ids(targets).reshape(rows, -1))


def batch(seed: int = 0, rows: int = 2, micro: int | None = None) -> Batch:
    return Batch(*(ids.reshape(-1, micro or rows, ids.shape[-1]) for ids in windows(seed, rows)))


def options(**changes: Any) -> StepOptions:
    """Of a step in float32."""
    loss = LossOptions(dtype="float32", **{key: changes.pop(key) for key in ("legal_only", "z_loss") if key in changes})
    return StepOptions(loss=loss, **changes)


def begin(chosen: StepOptions, at: int = 0, config: DepthformerConfig = SMALL) -> tuple[State, Step]:
    """A fresh state of full finetuning, and the step, compiled once for its options."""
    return step.start(at, stacks.stack(params()), PLACEMENT, lora=False), _program(chosen, config)


@functools.cache
def _program(chosen: StepOptions, config: DepthformerConfig) -> Step:
    return step.make(config, chosen, PLACEMENT, step.start(0, stacks.stack(params()), PLACEMENT, lora=False))


def same(one: Any, other: Any) -> bool:
    """Bit for bit."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in pairs)

"""The loss of the original trainer: cross-entropy plus z-loss over the whole vocabulary, summed over tokens.

Knows networks' outputs; knows no optimiser. Logits exist for a few frames at a time only, and are computed again for
the gradient: of `large` with a batch of 8 they would take 0.76 GB, and their gradient as much again.

Source: T5X (`losses.compute_weighted_cross_entropy`) as v1's configuration uses it: z-loss 1e-4, no label smoothing,
no normalising factor, all 29824 rows in the softmax.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from darius.depthformer.config import DepthformerConfig
from finetune.forward import Hidden

LOGIT_BYTES = 1 << 27
"""At most so many bytes of logits at a time."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossOptions:
    """What is minimised.

    Attributes:
      z_loss: weight of the squared logarithm of the softmax's normaliser.
      legal_only: the softmax of a position is over its own level's codes only. The way for models whose decoder never
        considers others (`tiny`, whose other columns mean nothing); the published models were trained over all rows.
      dtype: of activations.
      fused: the library whose kernel computes the encoder's attention (`layers.Fused`); None for none.
    """

    z_loss: float = 1e-4
    legal_only: bool = False
    dtype: DTypeLike = "bfloat16"
    fused: Literal["cudnn", "xla"] | None = None


class Sums(NamedTuple):
    """Sums over tokens, a value a level, float32 [levels]; add them up, then divide by the tokens of a level."""

    cross_entropy: jax.Array
    z_loss: jax.Array
    right: jax.Array


def zeros(levels: int) -> Sums:
    """Sums of nothing."""
    return Sums(*(jnp.zeros(levels, jnp.float32) for _ in Sums._fields))


def token_sums(config: DepthformerConfig, hidden: Hidden, targets: jax.Array, options: LossOptions) -> Sums:
    """Cross-entropy, z-loss and the number of right guesses of target ids int32 [B, decoder_length], by level."""
    layout = config.layout
    batch, frames, levels = hidden.output.shape[:3]
    chosen = targets.reshape(batch, frames, levels)
    if options.legal_only:
        chosen = chosen - (layout.codec_offset + np.arange(levels, dtype=np.int32) * layout.codebook_size)
    portion = _portion(frames, batch * levels * hidden.projection.shape[-1] * 4)

    def part(sums: Sums, item: tuple[jax.Array, jax.Array]) -> tuple[Sums, None]:
        output, ids = item
        equation = "bfqd,qdk->bfqk" if options.legal_only else "bfqd,dv->bfqv"
        logits = jnp.einsum(equation, output.astype(jnp.float32), hidden.projection)
        log_z = jax.nn.logsumexp(logits, axis=-1)
        entropy = log_z - jnp.take_along_axis(logits, ids[..., None], axis=-1)[..., 0]
        penalty = options.z_loss * jnp.square(log_z)
        right = (jnp.argmax(logits, axis=-1) == ids).astype(jnp.float32)
        return Sums(*(total + x.sum((0, 1)) for total, x in zip(sums, (entropy, penalty, right), strict=True))), None

    def in_portions(x: jax.Array) -> jax.Array:
        return jnp.moveaxis(x.reshape(batch, frames // portion, portion, *x.shape[2:]), 1, 0)

    items = (in_portions(hidden.output), in_portions(chosen))
    return jax.lax.scan(jax.checkpoint(part, prevent_cse=False), zeros(levels), items)[0]


def total(sums: Sums) -> jax.Array:
    """What is differentiated: everything, summed over all tokens as the original does."""
    return jnp.sum(sums.cross_entropy) + jnp.sum(sums.z_loss)


def _portion(frames: int, bytes_per_frame: int) -> int:
    """Frames whose logits fit in LOGIT_BYTES; a divisor of `frames`, at least 1."""
    fitting = max(1, LOGIT_BYTES // bytes_per_frame)
    return max(size for size in range(1, frames + 1) if frames % size == 0 and size <= fitting)

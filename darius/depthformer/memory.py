"""How much memory decoding takes, from the shapes alone. Knows no device."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from darius.depthformer import fused, one_stream, weights
from darius.depthformer.config import DepthformerConfig
from darius.depthformer.decode import DecodePlan
from darius.depthformer.packing import pack


@dataclasses.dataclass(frozen=True, kw_only=True)
class Account:
    """Bytes on the device while a batch decodes.

    Attributes:
      weights: the packed parameters, and those that the kernels of one stream read in another order; paid once for
        any number of streams.
      context: the encoder's keys and values for every temporal layer.
      caches: keys and values of the temporal and depth stacks.
      scratch: the encoder's attention and activations, an upper estimate.
    """

    weights: int
    context: int
    caches: int
    scratch: int

    @property
    def total(self) -> int:
        return self.weights + self.context + self.caches + self.scratch

    def to_dict(self) -> dict[str, int]:
        return {**dataclasses.asdict(self), "total": self.total}


def account(config: DepthformerConfig, batch: int, plan: DecodePlan, *, guided: bool = True) -> Account:
    """The memory that `Decoder` needs for a batch of streams, where a device has all that the plan asks for."""
    layout, size = config.layout, jnp.dtype(plan.dtype).itemsize
    rows = batch * (2 if guided else 1)
    vectors = rows * config.joined_dim * size
    at_once = min(rows, plan.encoder_rows)
    scores = 0 if plan.fused_attention else 3 * at_once * config.num_heads * layout.encoder_length**2 * size
    widest = 3 * config.mlp_dim + 2 * config.embed_dim
    # While it compiles, the compiler tries out the widest product and compares results.
    tried = 2 * at_once * layout.encoder_length * 2 * config.mlp_dim * size
    encoded = rows * layout.encoder_length * config.embed_dim * size
    matrices = 2 * config.embed_dim * config.joined_dim * size
    if plan.whole_rows is not None and rows >= plan.whole_rows and plan.unroll_layers:
        context = encoded + config.num_temporal_layers * matrices
    else:
        context = 2 * config.num_temporal_layers * layout.encoder_length * vectors
    return Account(
        weights=_weight_bytes(config, plan),
        context=context,
        caches=2
        * vectors
        * (config.num_temporal_layers * layout.chunk_frames + config.num_depth_layers * layout.codec_levels),
        scratch=scores + at_once * layout.encoder_length * widest * size + tried + encoded,
    )


def _weight_bytes(config: DepthformerConfig, plan: DecodePlan) -> int:
    flat = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in weights.shapes(config).items()}
    packed: Any = jax.eval_shape(functools.partial(pack, config, dtype=plan.dtype, projection_dtype=plan.dtype), flat)
    trees = [packed]
    if plan.kernels and plan.unroll_layers and plan.dtype == "bfloat16" and fused.fits(config):
        trees.append(jax.eval_shape(functools.partial(one_stream.prepare, config), packed))
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(trees))

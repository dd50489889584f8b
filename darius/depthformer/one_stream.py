"""A chunk of one stream on a Hopper GPU: a frame is two kernels, the temporal stack's and the depth stack's.

XLA's own programs for a frame of one stream are some hundreds of small kernels, whose launches and ends cost more than
the work. Knows no sessions.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from darius.depthformer import cuda, fused, fused_temporal
from darius.depthformer.config import DepthformerConfig
from darius.depthformer.layers import Context
from darius.depthformer.packing import Packed
from darius.depthformer.sampling import Controls, gumbel
from darius.depthformer.steps import Attention, start

RAN_ON_A_CARD = {(DepthformerConfig.large(), 16): (2,)}
"""Sizes with the bits of their weights, and their numbers of rows (2 with guidance), that were measured there. The
others, `base` among them, ran on a card in an earlier version or on a CPU only, and take the plain path."""


class Kernels(NamedTuple):
    """Both stacks' matrices as their kernels read them."""

    temporal: fused_temporal.TemporalKernel
    depth: fused.DepthKernel


class Compiled(NamedTuple):
    """Both kernels for a number of rows: PTX, blocks, shared memory of a block."""

    temporal: tuple[str, int, int]
    depth: tuple[str, int, int]


def prepare(config: DepthformerConfig, packed: Packed, bits: int = 16) -> Kernels:
    """Orders the matrices, and with 8 bits rounds them; neither stack's layers may be stacked."""
    return Kernels(fused_temporal.prepare(config, packed, bits), fused.prepare(config, packed, bits))


def compiled_for(config: DepthformerConfig, device: jax.Device, bits: int = 16) -> dict[int, Compiled]:
    """Both kernels by number of rows; nothing where they cannot run."""
    wanted = RAN_ON_A_CARD.get((config, bits), ())
    if not wanted or not fused.possible(config, device):
        return {}
    makers = (fused_temporal.code, fused.code)
    try:
        with ThreadPoolExecutor() as pool:
            made = {rows: [pool.submit(code, config, rows, device, bits) for code in makers] for rows in wanted}
            return {rows: Compiled(*(code.result() for code in both)) for rows, both in made.items()}
    except cuda.CompileFailed as failed:
        logging.getLogger(__name__).warning("One stream is decoded without kernels of our own: %s", failed)
        return {}


def decode(
    config: DepthformerConfig,
    packed: Packed,
    kernels: Kernels,
    compiled: Compiled,
    attention: Attention,
    encoder_tokens: jax.Array,
    controls: Controls,
    known: jax.Array,
    frames: int | jax.Array,
) -> jax.Array:
    """A chunk's codes int32 [chunk_frames, levels], 0 past `frames`.

    Args:
      attention: the encoder's.
      encoder_tokens: int32 [1 or 2, encoder_length]: conditioned, and unconditioned with guidance.
      controls: of the one stream, [1] each.
      known: int32 [chunk_frames, levels]: codes that are not drawn; -1 where they are.
    """
    layout, rows = config.layout, encoder_tokens.shape[0]
    contexts: Any
    contexts, state = start(config, packed, encoder_tokens, attention)
    layers = [context for context in contexts if isinstance(context, Context)]
    seen = fused_temporal.see(config, layers)
    steps = jnp.arange(layout.chunk_frames * layout.codec_levels).reshape(layout.chunk_frames, -1)
    seed, chunk = (jnp.asarray(value)[0] for value in (controls.seed, controls.chunk))
    noise = gumbel(seed, chunk, steps, layout.codebook_size)
    chosen: list[Any] = [controls.guidance, controls.temperature, controls.top_k]
    dials = jnp.stack(
        [jnp.asarray(dial)[0].astype(jnp.float32) for dial in chosen] + [jnp.float32(layout.codec_offset)]
    )

    def body(frame: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        memory, inputs, drawn_before = carry
        at = jnp.asarray(frame, jnp.int32)
        context, memory = fused_temporal.step(
            config, packed, kernels.temporal, compiled.temporal, seen, memory, inputs, at
        )
        drawn, inputs, _ = fused.draw_frame(
            config, packed, kernels.depth, compiled.depth, context, noise[frame], known[frame], dials
        )
        return memory, inputs, jax.lax.dynamic_update_slice_in_dim(drawn_before, drawn[None], frame, axis=0)

    empty = jnp.zeros((layout.chunk_frames, layout.codec_levels), jnp.int32)
    carry = (fused_temporal.empty_memory(config, rows), state.inputs[:, 0], empty)
    codes: jax.Array
    _, _, codes = jax.lax.fori_loop(0, frames, body, carry)
    return codes

"""Training examples of the language model, drawn on the device: encoder rows and the 50 frames that follow.

Knows codes only. A pool holds clips' codes; `draw` is a pure function of a pool and a key, made to be compiled.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from darius.tokens import MASK_ID, TokenLayout


class Pool(NamedTuple):
    """Clips on the device, the first `filled` rows of them real.

    Attributes:
      codes: int16 [N, frames, levels].
      styles: int16 [N, variants, style levels]: codes of words and sounds that fit the clip; one level more than the
        language model reads, which is the one that it read before there was one for the share of words.
      loop: int32 [N]: the loop in whole frames if the clip, or what comes before the switch, may be tiled, else 0.
      switch: int32 [N]: the frame from which on the clip is another groove, the one that its styles fit; 0 for none.
      filled: int32.
    """

    codes: jax.Array
    styles: jax.Array
    loop: jax.Array
    switch: jax.Array
    filled: jax.Array


class Sounds(NamedTuple):
    """What examples need to know of the codec: for each code the ones most like it, int16 [levels, codes, near],
    nearest first; and the codes of silence, int16 [levels]."""

    near: jax.Array
    silence: jax.Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dropouts:
    """How much of the condition is hidden or spoilt, as shares of the examples, and at most how much in each.

    Attributes:
      style: without style: the unconditioned row of guidance.
      context: with less than the whole context, anything from nothing to all but a frame.
      silence: that begin a clip out of silence.
      tiled: (where the clip has a loop of whole frames) whose context is one pass of it, tiled.
      noise: in which codes of the context are replaced; noise_rate: at most this share of them.
      slips: at most this share of the codes that the temporal stack hears of its own playing.
      alike: of the replacements, as many are codes that sound alike; the others are any.
      at_switch: of clips that turn into another groove, examples that begin to play just there.
      turning: where the clip does not turn into another groove, as many examples try a second one.
    """

    style: float = 0.12
    context: float = 0.2
    silence: float = 0.06
    tiled: float = 0.15
    noise: float = 0.5
    noise_rate: float = 0.2
    slips: float = 0.25
    alike: float = 0.7
    at_switch: float = 0.4
    turning: float = 0.0


class Batch(NamedTuple):
    """Ids. encoder: [B, encoder_length]; targets: [B, frames, levels]; played: the same as the temporal stack hears
    them, with slips in it."""

    encoder: jax.Array
    targets: jax.Array
    played: jax.Array


def empty(layout: TokenLayout, rows: int, frames: int, variants: int) -> Pool:
    """A pool with room for `rows` clips."""
    return Pool(
        codes=jnp.zeros((rows, frames, layout.codec_levels), jnp.int16),
        styles=jnp.zeros((rows, variants, layout.context_style_levels + 1), jnp.int16),
        loop=jnp.zeros(rows, jnp.int32),
        switch=jnp.zeros(rows, jnp.int32),
        filled=jnp.int32(0),
    )


@partial(jax.jit, donate_argnums=0)
def _put(pool: Pool, block: Pool, at: jax.Array) -> Pool:
    def put(whole: jax.Array, part: jax.Array) -> jax.Array:
        return jax.lax.dynamic_update_slice(whole, part, (at, *[jnp.int32(0)] * (whole.ndim - 1)))

    filled = jnp.maximum(pool.filled, at + len(block.loop))
    return Pool(*(put(whole, part) for whole, part in zip(pool[:4], block[:4], strict=True)), filled)


def add(pool: Pool, block: Pool, rng: np.random.Generator) -> Pool:
    """Puts clips behind the others or, where there is no room, over some of them."""
    rows, count, at = len(pool.loop), len(block.loop), int(pool.filled)
    if at + count > rows:
        at = int(rng.integers(0, rows - count + 1))
    return _put(pool, block, jnp.int32(at))


def sounds(codebooks: NDArray[np.float32], silence: NDArray[np.int16], near: int = 8) -> Sounds:
    """Neighbours in codebooks [levels, codes, dims]; `silence`: the codes of a frame of digital silence."""
    found = []
    for book in codebooks:
        distance = np.square(book).sum(1) - 2 * book @ book.T
        np.fill_diagonal(distance, np.inf)
        found.append(np.argsort(distance, axis=1)[:, :near])
    return Sounds(jnp.asarray(np.stack(found), jnp.int16), jnp.asarray(silence, jnp.int16))


def draw(
    layout: TokenLayout,
    pool: Pool,
    heard: Sounds,
    key: jax.Array,
    *,
    batch: int,
    prefix: int,
    dropouts: Dropouts,
    variants: tuple[int, int] | None = None,
    style_levels: int | None = None,
) -> Batch:
    """A random batch: any clip, any place in it, hidden and spoilt as `dropouts` says.

    Args:
      prefix: frames at the beginning of the targets that are known when music is made.
      variants: only these of the clips' style codes, first and behind the last; None: any.
      style_levels: of them, as many levels; None: those that the language model reads.
    """
    d, keys = dropouts, iter(jax.random.split(key, 24))
    known, length = layout.context_frames, layout.chunk_frames

    def chance(share: float) -> jax.Array:
        return jax.random.uniform(next(keys), (batch,)) < share

    def any_clip() -> jax.Array:
        return (jax.random.uniform(next(keys), (batch,)) * pool.filled).astype(jnp.int32)

    clip = any_clip()
    clip = jnp.where((pool.switch[clip] == 0) & chance(d.turning), any_clip(), clip)
    codes, switch, loop = pool.codes[clip].astype(jnp.int32), pool.switch[clip], pool.loop[clip]
    last = codes.shape[1] - length
    first = jnp.where(switch > 0, jnp.maximum(switch - prefix, known), known)
    start = first + (jax.random.uniform(next(keys), (batch,)) * (last + 1 - first)).astype(jnp.int32)
    start = jnp.where((switch > 0) & chance(d.at_switch), first, start)
    start = jnp.clip(start, known, last)
    places = start[:, None] - known + jnp.arange(known + length)
    window = jnp.take_along_axis(codes, places[..., None], axis=1)
    context, targets = window[:, :known, : layout.context_levels], window[:, known:]

    tiled = chance(d.tiled) & (loop > 0) & (loop <= known) & ((switch == 0) | (start == first))
    spread = known - loop[:, None] + (jnp.arange(known) - known) % jnp.maximum(loop, 1)[:, None]
    spread = jnp.where(tiled[:, None], spread, jnp.arange(known))
    context = jnp.take_along_axis(context, spread[..., None], axis=1)

    quiet = chance(d.silence) & (switch == 0)
    silence = heard.silence.astype(jnp.int32)
    context = jnp.where(quiet[:, None, None], silence[: layout.context_levels], context)
    begun = jnp.concatenate(
        [jnp.broadcast_to(silence, (batch, prefix, layout.codec_levels)), codes[:, : length - prefix]], axis=1
    )
    targets = jnp.where(quiet[:, None, None], begun, targets)

    rate = jax.random.uniform(next(keys), (batch,)) * d.noise_rate * chance(d.noise)
    context = spoilt(heard, next(keys), context, rate, d.alike)
    played = spoilt(heard, next(keys), targets, jax.random.uniform(next(keys), (batch,)) * d.slips, d.alike)
    missing = jax.random.uniform(next(keys), (batch,)) * known * chance(d.context)
    context = jnp.where((jnp.arange(known) < missing[:, None])[..., None], -1, context)
    variant = jax.random.randint(next(keys), (batch,), *(variants or (0, pool.styles.shape[1])))
    style = pool.styles[clip, variant, : style_levels or layout.context_style_levels].astype(jnp.int32)
    style = jnp.where(chance(d.style)[:, None], -1, style)
    return as_ids(layout, context, style, targets, played)


def as_ids(layout: TokenLayout, context: jax.Array, style: jax.Array, targets: jax.Array, played: jax.Array) -> Batch:
    """Codes as an example's ids; -1 is the mask."""
    context, targets, played = (_ids(layout.codec_offset, layout, codes) for codes in (context, targets, played))
    row = jnp.concatenate([context.reshape(len(context), -1), _ids(layout.style_offset, layout, style)], axis=1)
    return Batch(row, targets, played)


def _ids(offset: int, layout: TokenLayout, codes: jax.Array) -> jax.Array:
    """`TokenLayout.codec_ids` and `style_ids` on the device."""
    starts = offset + np.arange(codes.shape[-1], dtype=np.int32) * layout.codebook_size
    return jnp.where(codes < 0, MASK_ID, codes + starts)


def spoilt(heard: Sounds, key: jax.Array, codes: jax.Array, rate: jax.Array, alike: float) -> jax.Array:
    """Replaces a share [B] of codes [B, frames, levels]: what is played by sampling never repeats exactly."""
    which, how, near, other = jax.random.split(key, 4)
    levels, size, count = heard.near[: codes.shape[-1]].shape
    pick = jax.random.randint(near, codes.shape, 0, count)
    similar = heard.near[np.arange(levels), codes, pick].astype(jnp.int32)
    random = jax.random.randint(other, codes.shape, 0, size)
    instead = jnp.where(jax.random.uniform(how, codes.shape) < alike, similar, random)
    return jnp.where(jax.random.uniform(which, codes.shape) < rate[:, None, None], instead, codes)

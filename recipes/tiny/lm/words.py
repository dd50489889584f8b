"""Teaches weights that copy to follow words, and leaves as it is what they play without: two kinds of examples a step.

The last of the six style codes says what share of the style was asked for in words (`darius.style.tiny`), so one
network can be two functions. Without words the aim is the frozen weights that training went on from: their
distributions over codes (Hinton et al. 2015, "Distilling the knowledge in a neural network"), on contexts of every
kind; and where the context is one loop, tiled, the exact copy. With words the aim is the groove that they name,
whatever came before. With the style hidden, which is what guidance leads away from, it is some of both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from darius.depthformer import weights
from darius.depthformer.config import DepthformerConfig
from darius.tokens import TokenLayout
from recipes.tiny.lm import batches
from recipes.tiny.lm.batches import Batch, Dropouts, Pool, Sounds
from recipes.tiny.lm.forward import level_logits
from recipes.tiny.lm.structure import CONTENT, Slots
from recipes.tiny.lm.train import ADAM, AVERAGE, FROZEN, Params, Settings, State, loss

SHORTEST = 16
"""Frames of the shortest loop that is tiled."""

WORDS = Dropouts(style=0.15, context=0.1, silence=0.02, tiled=0.5, at_switch=0.6, turning=0.7)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kinds:
    """What a step is made of.

    Attributes:
      same: of the batch, examples without words.
      keep: weight of staying with the frozen weights; copy: of the exact copy of a tiled loop.
      words: what is hidden and spoilt in the examples with words; of those without, in as many the context and what was
        played are spoilt, and the context is short.
      hidden: of the examples without words, those with no style at all; others: with the sound of another clip.
      tiled: whose context is one loop, over and over; permuted: in which the codes of each level are permuted.
      sounds, variants: the style codes of a clip: as many of its sound first, then those of words, in all.
    """

    same: float = 0.375
    keep: float = 3.0
    copy: float = 0.5
    sounds: int = 3
    variants: int = 19
    words: Dropouts = WORDS
    hidden: float = 0.25
    others: float = 0.2
    tiled: float = 0.6
    permuted: float = 0.5


def flagged(config: DepthformerConfig, params: Mapping[str, Any], codes: int, old_codes: int = 128) -> dict[str, Any]:
    """Parameters whose last style code says the share of words: its first code, "none", is the mean of the codes that
    stood there before; from it the others go further and further in one new direction."""
    layout, table = config.layout, np.array(params[weights.EMBEDDING])
    first = layout.style_offset + (layout.context_style_levels - 1) * layout.codebook_size
    none = table[first : first + old_codes].mean(0)
    content = Slots.of(config).content
    turn = np.random.default_rng(5).standard_normal(content.shape[1])
    way = CONTENT * content @ (turn / np.linalg.norm(turn))
    table[first : first + layout.codebook_size] = none
    table[first : first + codes] += np.linspace(0, 1, codes)[:, None] * way
    return dict(params) | {weights.EMBEDDING: table.astype(np.float32)}


def draw_same(
    layout: TokenLayout, pool: Pool, heard: Sounds, key: jax.Array, kinds: Kinds, *, batch: int, prefix: int
) -> tuple[Batch, jax.Array]:
    """Examples without words, and which of them are a tiled loop whose copy goes on: bool [B].

    Loops are of any length and begin anywhere; in half of the examples the codes of each level that the context holds
    are permuted, another way in every example: what is learned of copying then holds for any codes.
    """
    keys = iter(jax.random.split(key, 24))
    known, length, levels = layout.context_frames, layout.chunk_frames, layout.context_levels

    def uniform(*shape: int) -> jax.Array:
        return jax.random.uniform(next(keys), (batch, *shape))

    clip = (uniform() * pool.filled).astype(jnp.int32)
    codes = pool.codes[clip].astype(jnp.int32)
    frames = codes.shape[1]
    places = jnp.arange(known + length) - known
    start = known + (uniform() * (frames - known - length + 1)).astype(jnp.int32)
    loop = (SHORTEST * (known / SHORTEST) ** uniform()).astype(jnp.int32)
    first = (uniform() * (frames - loop)).astype(jnp.int32)
    phase = (uniform() * loop).astype(jnp.int32)
    tiled = uniform() < kinds.tiled
    around = first[:, None] + (places + phase[:, None]) % loop[:, None]
    index = jnp.where(tiled[:, None], around, start[:, None] + places)
    window = jnp.take_along_axis(codes, index[..., None], axis=1)

    order = jnp.argsort(uniform(levels, layout.codebook_size), axis=-1)
    order = jnp.where((uniform() < kinds.permuted)[:, None, None], order, jnp.arange(layout.codebook_size))
    turned = jnp.take_along_axis(order, window[..., :levels].swapaxes(1, 2), axis=-1).swapaxes(1, 2)
    window = jnp.concatenate([turned, window[..., levels:]], axis=-1)
    context, targets = window[:, :known, :levels], window[:, known:]

    rate = uniform() * kinds.words.noise_rate * (uniform() < kinds.words.noise)
    context = batches.spoilt(heard, next(keys), context, rate, kinds.words.alike)
    played = batches.spoilt(heard, next(keys), targets, uniform() * kinds.words.slips, kinds.words.alike)
    missing = uniform() * known * (uniform() < kinds.words.context) * ~tiled
    context = jnp.where((jnp.arange(known) < missing[:, None])[..., None], -1, context)
    other = jnp.where(uniform() < kinds.others, (uniform() * pool.filled).astype(jnp.int32), clip)
    style = pool.styles[other, (uniform() * kinds.sounds).astype(jnp.int32)].astype(jnp.int32)
    style = jnp.where((uniform() < kinds.hidden)[:, None], -1, style)
    return batches.as_ids(layout, context, style, targets, played), tiled


def update(
    config: DepthformerConfig,
    settings: Settings,
    kinds: Kinds,
    teacher: Params,
    state: State,
    pool: Pool,
    heard: Sounds,
    key: jax.Array,
    rate: jax.Array,
) -> tuple[State, jax.Array, jax.Array]:
    """One step of Adam: the new state; with words the cross-entropy per level; and without, the share of places where
    the likeliest code is that of the frozen weights."""
    layout = config.layout
    same = round(settings.batch * kinds.same)
    common, asked = jax.random.split(key)
    plain, tiled = draw_same(layout, pool, heard, common, kinds, batch=same, prefix=settings.prefix)
    told = batches.draw(
        layout,
        pool,
        heard,
        asked,
        batch=settings.batch - same,
        prefix=settings.prefix,
        dropouts=kinds.words,
        variants=(kinds.sounds, kinds.variants),
    )
    batch = jax.tree.map(lambda *parts: jnp.concatenate(parts), plain, told)
    before, _ = level_logits(config, teacher, plain, first=settings.prefix, dtype=settings.dtype)
    before = jax.nn.log_softmax(before)
    trained = {name: value for name, value in state.params.items() if name not in FROZEN}
    fixed = {name: value for name, value in state.params.items() if name in FROZEN}

    def aim(part: Params) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        scores, codes = level_logits(config, part | fixed, batch, first=settings.prefix, dtype=settings.dtype)
        scores = jax.nn.log_softmax(scores)
        losses = -jnp.take_along_axis(scores, codes[..., None], axis=-1)[..., 0]
        moved = jnp.sum(jnp.exp(before) * (before - scores[:same]), axis=-1).mean((0, 1))
        share = tiled[:, None] * (jnp.arange(losses.shape[-1]) < layout.context_levels)
        copied = jnp.mean(losses[:same].mean(1) * share, axis=0)
        named = losses[same:].mean((0, 1))
        agreed = jnp.argmax(scores[:same], -1) == jnp.argmax(before, -1)
        total = loss(named) + kinds.keep * loss(moved) + kinds.copy * loss(copied)
        return total, (named, agreed.mean((0, 1)))

    gradients, (named, agreed) = jax.grad(aim, has_aux=True)(trained)
    updates, moments = ADAM.update(gradients, state.moments)
    params = {name: trained[name] - rate * state.paces[name] * updates[name] for name in trained} | fixed
    sound = jnp.isfinite(optax.global_norm(gradients))
    params, moments = jax.tree.map(
        lambda new, old: jnp.where(sound, new, old), (params, moments), (state.params, state.moments)
    )
    average = {name: AVERAGE * state.average[name] + (1 - AVERAGE) * params[name] for name in params}
    return State(params, moments, average, state.paces), named, agreed


def compiled(
    config: DepthformerConfig, settings: Settings, kinds: Kinds, teacher: Any, state: Any, pool: Any, heard: Any
) -> Any:
    """`update` compiled for these shapes: (teacher, state, pool, heard, key, rate) -> (state, losses, agreement)."""
    step = jax.jit(partial(update, config, settings, kinds), donate_argnums=1)
    return step.lower(teacher, state, pool, heard, jax.random.key(0), jnp.float32(0)).compile()

"""Joins two language models in one: one that copies the loop, for music without words, and one that follows words.

The last of the six style codes says what share of the style was asked for in words (`darius.style.tiny`), so one
network can be two functions. Both are learned from frozen weights, by their distributions over codes (Hinton et al.
2015, "Distilling the knowledge in a neural network"). What is compared is what is played: the logits after guidance.
Where the context is one loop, tiled, and there are no words, the exact copy is an aim besides.
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
from darius.tokens import MASK_ID, TokenLayout
from recipes.tiny.lm import batches
from recipes.tiny.lm.batches import Batch, Dropouts, Pool, Sounds
from recipes.tiny.lm.forward import level_logits
from recipes.tiny.lm.structure import CONTENT, Slots
from recipes.tiny.lm.train import ADAM, AVERAGE, FROZEN, Params, Settings, State, loss

NAMES = ("words_apart", "same_right", "held_out_words_apart", "words_right", "same_apart", "alone_apart")
"""What the log says: see `update` and `measuring`."""

SHORTEST = 16
"""Frames of the shortest loop that is tiled."""

WORDS = Dropouts(style=0.0, context=0.1, silence=0.02, tiled=0.5, at_switch=0.6, turning=0.7)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kinds:
    """What a step is made of.

    Attributes:
      same: of the batch, examples without words.
      copy: weight of the exact copy of a tiled loop, beside being like the first model.
      guidance: with which music is made; told: with which the second model is played: it follows words better so.
      told_sharpness: with which the second model is played, as a share of the first's: of the levels that the context
        holds, and of the others.
      words: what is hidden and spoilt in the examples with words; of those without, in as many the context and what was
        played are spoilt, and the context is short.
      others: of the examples without words, those with the sound of another clip.
      tiled: whose context is one loop, over and over; permuted: in which the codes of each level are permuted.
      sounds, variants: the style codes of a clip: as many of its sound first, then those of words, in all.
    """

    same: float = 0.375
    copy: float = 0.25
    guidance: float = 5.0
    told: float = 8.0
    told_sharpness: tuple[float, float] = (0.75, 1.0)
    sounds: int = 3
    variants: int = 19
    words: Dropouts = WORDS
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
    return batches.as_ids(layout, context, style, targets, played), tiled


def guide(shown: jax.Array, hidden: jax.Array, weight: Any) -> jax.Array:
    """Classifier-free guidance, as when music is made."""
    return shown + weight * (shown - hidden)


def hidden(layout: TokenLayout, batch: Batch) -> Batch:
    """The same examples with no style."""
    return batch._replace(encoder=batch.encoder.at[:, -layout.context_style_levels :].set(MASK_ID))


def divergence(aim: jax.Array, scores: jax.Array) -> jax.Array:
    """Kullback-Leibler divergence of distributions, both as log-probabilities [..., codes]."""
    return jnp.sum(jnp.exp(aim) * (aim - scores), axis=-1)


def cross_entropy(scores: jax.Array, codes: jax.Array) -> jax.Array:
    """Minus the log-probability of codes, from log-probabilities [..., codes]."""
    return -jnp.take_along_axis(scores, codes[..., None], axis=-1)[..., 0]


def examples(
    layout: TokenLayout, pool: Pool, heard: Sounds, key: jax.Array, kinds: Kinds, *, batch: int, prefix: int
) -> tuple[Batch, Batch, jax.Array]:
    """Examples without words, behind them those with words, and which of the former are a tiled loop.

    The first batch as the style codes are now, the second as they were, without a level for words.
    """
    same = round(batch * kinds.same)
    common, asked = jax.random.split(key)
    plain, tiled = draw_same(layout, pool, heard, common, kinds, batch=same, prefix=prefix)
    told = batches.draw(
        layout,
        pool,
        heard,
        asked,
        batch=batch - same,
        prefix=prefix,
        dropouts=kinds.words,
        variants=(kinds.sounds, kinds.variants),
        style_levels=layout.context_style_levels + 1,
    )
    both = jax.tree.map(lambda *parts: jnp.concatenate(parts), plain, told)
    rows, length = both.encoder, layout.encoder_length
    older = jnp.concatenate([rows[:, : length - 1], rows[:, length:] - layout.codebook_size], axis=1)
    return both._replace(encoder=rows[:, :length]), both._replace(encoder=older), tiled


def aims(
    config: DepthformerConfig, settings: Settings, kinds: Kinds, teachers: tuple[Params, Params], batch: Batch
) -> tuple[jax.Array, jax.Array]:
    """What the frozen weights play, with the style and (always the first's) without: log-probabilities."""
    layout, same = config.layout, round(settings.batch * kinds.same)
    kept, told = teachers
    logits = partial(level_logits, config, first=settings.prefix, fused=settings.fused, dtype=settings.dtype)
    plain, worded = (jax.tree.map(lambda part, at=at: part[at], batch) for at in (slice(same), slice(same, None)))
    without, _ = logits(kept, hidden(layout, batch))
    shown = guide(logits(kept, plain)[0], without[:same], kinds.guidance)
    named = guide(logits(told, worded)[0], logits(told, hidden(layout, worded))[0], kinds.told)
    coarse = jnp.arange(layout.codec_levels) < layout.context_levels
    named = named * jnp.where(coarse, *kinds.told_sharpness)[:, None]
    return jax.nn.log_softmax(jnp.concatenate([shown, named])), jax.nn.log_softmax(without)


def update(
    config: DepthformerConfig,
    settings: Settings,
    kinds: Kinds,
    teachers: tuple[Params, Params],
    state: State,
    pool: Pool,
    heard: Sounds,
    key: jax.Array,
    rate: jax.Array,
) -> tuple[State, jax.Array, jax.Array]:
    """One step of Adam: the new state; how far what is played with words is from the second model's, per level; and
    the share of places where, without words, the likeliest code is the first model's."""
    layout, same = config.layout, round(settings.batch * kinds.same)
    batch, older, tiled = examples(layout, pool, heard, key, kinds, batch=settings.batch, prefix=settings.prefix)
    played, neutral = aims(config, settings, kinds, teachers, older)
    trained = {name: value for name, value in state.params.items() if name not in FROZEN}
    fixed = {name: value for name, value in state.params.items() if name in FROZEN}

    def aim(part: Params) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        guided, without, codes = plays(config, settings, kinds, part | fixed, batch)
        apart, alone = divergence(played, guided), divergence(neutral, without)
        share = tiled[:, None] * (jnp.arange(codes.shape[-1]) < layout.context_levels)
        copying = cross_entropy(guided[:same], codes[:same]) + cross_entropy(without[:same], codes[:same])
        copied = jnp.mean(copying.mean(1) * share, axis=0)
        named = apart[same:].mean((0, 1))
        agreed = jnp.argmax(guided[:same], -1) == jnp.argmax(played[:same], -1)
        total = loss(named) + loss(apart[:same].mean((0, 1))) + loss(alone.mean((0, 1))) + kinds.copy * loss(copied)
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
    config: DepthformerConfig, settings: Settings, kinds: Kinds, teachers: Any, state: Any, pool: Any, heard: Any
) -> Any:
    """`update` compiled for these shapes: (teachers, state, pool, heard, key, rate) -> (state, losses, agreement)."""
    step = jax.jit(partial(update, config, settings, kinds), donate_argnums=1)
    return step.lower(teachers, state, pool, heard, jax.random.key(0), jnp.float32(0)).compile()


def plays(
    config: DepthformerConfig, settings: Settings, kinds: Kinds, params: Params, batch: Batch
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What weights play with the style and without, log-probabilities; and the codes of the examples.

    The former does not teach what is played without a style.
    """
    both = jax.tree.map(lambda *parts: jnp.concatenate(parts), batch, hidden(config.layout, batch))
    scores, codes = level_logits(
        config, params, both, first=settings.prefix, fused=settings.fused, dtype=settings.dtype
    )
    shown, without = jnp.split(scores, 2)
    guided = jax.nn.log_softmax(guide(shown, jax.lax.stop_gradient(without), kinds.guidance))
    return guided, jax.nn.log_softmax(without), codes[: len(shown)]


def measuring(config: DepthformerConfig, settings: Settings, kinds: Kinds) -> Any:
    """A function to compile, of teachers, parameters, two pools (the second of clips that turn) and sounds.

    It gives how far what is played with words is from the second model's, and the share of places where the likeliest
    code is the same; and how far what is played without words and without any style is from the first's; per level.
    """

    @jax.jit
    def measure(teachers: Any, params: Params, pool: Pool, turning: Pool, heard: Sounds) -> Any:
        same = round(settings.batch * kinds.same)
        batch, older, _ = examples(
            config.layout, turning, heard, jax.random.key(7), kinds, batch=settings.batch, prefix=settings.prefix
        )
        played, neutral = aims(config, settings, kinds, teachers, older)
        guided, without, _ = plays(config, settings, kinds, params, batch)
        apart, alone = divergence(played, guided), divergence(neutral, without)
        agreed = jnp.argmax(guided[same:], -1) == jnp.argmax(played[same:], -1)
        return apart[same:].mean((0, 1)), agreed.mean((0, 1)), apart[:same].mean((0, 1)), alone.mean((0, 1))

    return measure

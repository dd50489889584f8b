"""Training examples of the language model: encoder rows (context and style) and the 50 frames that follow.

Knows tokens only. Every random choice comes from the generator that is passed in.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from darius.tokens import TokenLayout

Int = NDArray[np.int32]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """A clip's codes [frames, levels], its style codes [variants, style levels], and its loop in whole frames or 0."""

    codes: NDArray[np.int16]
    styles: NDArray[np.int16]
    loop_frames: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dropouts:
    """How much of the condition is hidden.

    Attributes:
      style: share of examples without style: the unconditioned row of guidance.
      context: share of examples with less than the whole context, uniform from nothing to all but a frame.
      tiled: share of examples (where the clip has a loop of whole frames) whose context is one pass, tiled.
      noise: share of examples in which some context codes are replaced, as if sampled badly; and how many codes.
      slips: at most this share of the codes that the temporal stack hears of its own playing is replaced.
    """

    style: float = 0.15
    context: float = 0.25
    tiled: float = 0.15
    noise: float = 0.3
    noise_rate: float = 0.1
    slips: float = 0.2


class Batch(NamedTuple):
    """Ids.

    encoder: [B, encoder_length]; targets: [B, frames, levels]; played: the same as the temporal stack hears them, with
    slips in it; chosen: frames [B, S] that the loss looks at.
    """

    encoder: Int
    targets: Int
    played: Int
    chosen: Int


def draw(
    layout: TokenLayout,
    clips: list[Clip],
    rng: np.random.Generator,
    *,
    batch: int,
    chosen: int,
    dropouts: Dropouts | None = None,
) -> Batch:
    """A random batch: any clip, any start, hidden parts as `dropouts` says (None hides nothing)."""
    examples = [draw_example(layout, clips[rng.integers(len(clips))], rng, dropouts) for _ in range(batch)]
    frames = np.stack([choose_frames(layout, rng, chosen) for _ in range(batch)])
    encoder, targets = (np.stack(part) for part in zip(*examples, strict=True))
    played = targets
    if dropouts is not None:
        codes = layout.codes_from_ids(targets)
        slipped = [noisy(own, rng, rng.random() * dropouts.slips, layout.codebook_size) for own in codes]
        played = layout.codec_ids(np.stack(slipped))
    return Batch(encoder, targets, played, frames)


def choose_frames(layout: TokenLayout, rng: np.random.Generator, chosen: int) -> Int:
    """Frames for the loss, half of them from the first fifth: while little has been played, a slip is likeliest."""
    early = layout.chunk_frames // 5
    first = rng.permutation(early)[: chosen // 2]
    rest = np.setdiff1d(np.arange(layout.chunk_frames), first)
    return np.sort(np.concatenate([first, rng.permutation(rest)[: chosen - len(first)]])).astype(np.int32)


def draw_example(
    layout: TokenLayout, clip: Clip, rng: np.random.Generator, dropouts: Dropouts | None
) -> tuple[Int, Int]:
    """Encoder ids [encoder_length] and target ids [chunk_frames, levels] of one random place in a clip."""
    codes = clip.codes.astype(np.int32)
    known = layout.context_frames
    start = int(rng.integers(known, len(codes) - layout.chunk_frames + 1))
    context, target = codes[start - known : start], codes[start : start + layout.chunk_frames]
    style: Int | None = clip.styles[rng.integers(len(clip.styles))].astype(np.int32)
    if dropouts is not None:
        if 0 < clip.loop_frames <= known and rng.random() < dropouts.tiled:
            context = tiled(context[known - clip.loop_frames :], known)
        if rng.random() < dropouts.noise:
            context = noisy(context, rng, rng.random() * dropouts.noise_rate, layout.codebook_size)
        if rng.random() < dropouts.context:
            context = context[known - int(rng.integers(known)) :]
        if rng.random() < dropouts.style:
            style = None
    return layout.encoder_row(context, style), layout.codec_ids(target)


def tiled(loop: Int, frames: int) -> Int:
    """A loop repeated so that it ends at the end: [frames, levels]."""
    passes = -(-frames // len(loop))
    return np.concatenate([loop] * passes)[len(loop) * passes - frames :]


def noisy(codes: Int, rng: np.random.Generator, rate: float, codebook_size: int) -> Int:
    """Replaces a share of the codes by random ones: what is played by sampling is never an exact repetition."""
    return np.where(rng.random(codes.shape) < rate, rng.integers(0, codebook_size, codes.shape), codes).astype(np.int32)


def periodic(layout: TokenLayout, rng: np.random.Generator, *, shortest: int = 20, longest: int = 200) -> Clip:
    """A made-up clip that repeats a random loop of a few different frames: for tests, and to see copying emerge."""
    period = int(rng.integers(shortest, longest + 1))
    alphabet = rng.integers(0, layout.codebook_size, (int(rng.integers(3, 40)), layout.codec_levels))
    loop = alphabet[rng.integers(0, len(alphabet), period)]
    length = layout.context_frames + 2 * layout.chunk_frames
    codes = loop[(np.arange(length) + rng.integers(period)) % period]
    styles = rng.integers(0, layout.codebook_size, (1, layout.style_levels))
    return Clip(codes=codes.astype(np.int16), styles=styles.astype(np.int16), loop_frames=period)

"""From a clip's codes to one training window: encoder inputs and decoder targets. Knows ids; knows no files.

Source: the finetuning task of Magenta RealTime v1 (`magenta_rt.finetune.tasks`). Places are whole seconds: 10 s of
context in three draws of four, otherwise 0 to 9 s; then the next 2 s are the targets. The style is the one heard
around the targets' middle.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from darius.errors import BadDataset
from darius.tokens import TokenLayout
from finetune.records import STYLE_CLIP_SECONDS, Example

FULL_CONTEXT = 4
"""One draw in so many has less than the full context (where the clip is long enough)."""
STYLE_DROPOUT = 0.1

Ids = NDArray[np.int32]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where a window lies in its clip, in whole seconds: `context` of them from `start`, then the targets."""

    start: int
    context: int


def cut_window(
    example: Example, layout: TokenLayout, rng: np.random.Generator, *, style_dropout: float = STYLE_DROPOUT
) -> tuple[Ids, Ids]:
    """A window at a random place, its style masked with probability `style_dropout`.

    Returns:
      inputs int32 [encoder_length] and targets int32 [decoder_length].

    Raises:
      BadDataset: the clip is shorter than the targets, or lacks levels.
    """
    place = draw_place(len(example.acoustic_tokens), layout, rng)
    styled = rng.random() >= style_dropout
    return window_at(example, layout, place, styled=bool(styled))


def last_window(example: Example, layout: TokenLayout) -> tuple[Ids, Ids]:
    """The window at the clip's end with as much context as there is, and its style: the same each time, to evaluate."""
    seconds, context, target = _seconds(len(example.acoustic_tokens), layout)
    place = Place(start=max(seconds - target - context, 0), context=min(context, seconds - target))
    return window_at(example, layout, place, styled=True)


def draw_place(frames: int, layout: TokenLayout, rng: np.random.Generator) -> Place:
    """A place in a clip of so many frames. Raises BadDataset as `cut_window`."""
    seconds, most, target = _seconds(frames, layout)
    context = min(int(rng.integers(FULL_CONTEXT * most)), most, seconds - target)
    return Place(start=int(rng.integers(seconds - context - target + 1)), context=context)


def window_at(example: Example, layout: TokenLayout, place: Place, *, styled: bool) -> tuple[Ids, Ids]:
    """The window at a place; returns and raises as `cut_window`."""
    codes = np.asarray(example.acoustic_tokens, np.int32)
    if codes.shape[1] < layout.codec_levels or example.style_tokens.shape[1] < layout.context_style_levels:
        raise BadDataset(
            f"An example has {codes.shape[1]} codec and {example.style_tokens.shape[1]} style levels; this model needs "
            f"{layout.codec_levels} and {layout.context_style_levels}.",
            "Prepare the data with the model that is to be trained.",
        )
    first = place.start * layout.frame_rate
    end = first + place.context * layout.frame_rate
    targets = codes[end : end + layout.chunk_frames, : layout.codec_levels]
    if len(targets) < layout.chunk_frames:
        raise _too_short(len(codes), layout)
    inputs = layout.encoder_row(codes[first:end], _style(example, layout, place) if styled else None)
    return inputs, layout.codec_ids(targets).reshape(-1)


def _style(example: Example, layout: TokenLayout, place: Place) -> NDArray[np.int32]:
    middle = place.start + place.context + layout.chunk_frames / layout.frame_rate / 2
    row = min(int(middle / STYLE_CLIP_SECONDS), len(example.style_tokens) - 1)
    return np.asarray(example.style_tokens[row], np.int32)


def _seconds(frames: int, layout: TokenLayout) -> tuple[int, int, int]:
    """Whole seconds of a clip, of the longest context and of the targets."""
    target = -(-layout.chunk_frames // layout.frame_rate)
    if frames < layout.chunk_frames or frames // layout.frame_rate < target:
        raise _too_short(frames, layout)
    return frames // layout.frame_rate, layout.context_frames // layout.frame_rate, target


def _too_short(frames: int, layout: TokenLayout) -> BadDataset:
    return BadDataset(
        f"A clip of {frames} frames is too short: a window's targets are {layout.chunk_frames} frames.",
        "Prepare the data with a larger --min-clip-seconds.",
    )

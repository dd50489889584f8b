"""What a frame of Magenta RealTime 2 is told: knobs -> the tokens of its conditioning channels. Knows no network.

Source: `magenta_rt.config`, `magenta_rt.jax.system` (`_build_conditioning`, `discretize_cfg`): 12 style codes, 128
pitches, drums, the guidance scales of style and notes, that of drums; -1 leaves a channel to the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from darius.errors import InvalidOption

if TYPE_CHECKING:
    from darius.mrt2.package import Architecture
    from darius.session import Knobs

PITCHES = 128
LEAST, MOST = -1.0, 7.0
"""Guidance scales that the model knows; others are taken to the nearest."""
USUAL = 1.0
"""The package's guidance scale of notes and drums."""
OFFSET = 7
"""Reserved tokens, and the one for what training left out."""


def tokens(architecture: Architecture, knobs: Sequence[Knobs], frames: int) -> NDArray[np.int32]:
    """The conditioning of some streams' next frames, int32 [streams, frames, channels].

    Raises:
      InvalidOption: notes of another shape.
    """
    return np.stack([_of_one(architecture, k, frames) for k in knobs])


def _of_one(architecture: Architecture, knobs: Knobs, frames: int) -> NDArray[np.int32]:
    style, _, _, scales, drum_scale = architecture.inputs
    columns = [
        _style(knobs.style, style.rvq_truncation_level),
        _notes(knobs.notes, frames),
        np.array([-1 if knobs.drums is None else int(knobs.drums)]),
        scale_tokens((knobs.guidance, _or_usual(knobs.notes_guidance)), scales.step, scales.codebook_size),
        scale_tokens((_or_usual(knobs.drums_guidance),), drum_scale.step, drum_scale.codebook_size),
    ]
    whole = [np.broadcast_to(column, (frames, column.shape[-1])) for column in columns]
    told: NDArray[np.int32] = np.concatenate(whole, axis=1).astype(np.int32) + np.int32(OFFSET)
    return told


def scale_tokens(scales: Sequence[float], step: float, count: int) -> NDArray[np.int32]:
    """Guidance scales as the model has learned them: in steps from -1 to 7, a token a scale."""
    bins = np.rint((np.clip(np.asarray(scales, np.float64), LEAST, MOST) - LEAST) / step)
    return np.clip(bins, 0, count - 1).astype(np.int32)


def _or_usual(scale: float | None) -> float:
    return USUAL if scale is None else scale


def _style(codes: NDArray[np.int32] | None, levels: int) -> NDArray[np.int32]:
    row = np.full(levels, -1, np.int32)
    if codes is not None:
        known = np.asarray(codes, np.int32)[:levels]
        row[: len(known)] = known
    return row


def _notes(notes: NDArray[np.int8] | None, frames: int) -> NDArray[np.int32]:
    """States of every pitch in every frame, int32 [frames or 1, 128]."""
    if notes is None:
        return np.full((1, PITCHES), -1, np.int32)
    roll = np.asarray(notes, np.int32)
    if roll.ndim != 2 or roll.shape[1] != PITCHES or not len(roll):
        raise InvalidOption(f"Notes are [frames, {PITCHES}] pitch states, not {list(roll.shape)}.")
    if len(roll) < frames:  # what sounds at the end goes on, without striking again
        last = np.where(roll[-1:] == 2, 1, roll[-1:])
        roll = np.concatenate([roll, np.repeat(last, frames - len(roll), axis=0)])
    return roll[:frames]

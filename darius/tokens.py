"""Token geometry: RVQ codes <-> language-model ids, and the encoder's input row.

Knows the layout of the vocabulary; knows no network and no audio.

Source: Magenta RealTime v1 (`magenta_rt.system`, `magenta_rt.vocab`): ids 0 (padding, start) and 1 (mask), then
16 codec levels, one unused level, 12 style levels; an encoder row is 250 frames x 4 levels, frame by frame, then 6
style tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Codes = NDArray[np.int32]
"""RVQ codes, int32, -1 where nothing is known."""

PAD_ID = 0
MASK_ID = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenLayout:
    """Where each level's codes live among the language model's ids, and how long its inputs are."""

    codebook_size: int = 1024
    codec_levels: int = 16
    context_levels: int = 4
    style_levels: int = 12
    context_style_levels: int = 6
    context_frames: int = 250
    chunk_frames: int = 50
    frame_rate: int = 25

    @property
    def codec_offset(self) -> int:
        return 2

    @property
    def style_offset(self) -> int:
        return self.codec_offset + (self.codec_levels + 1) * self.codebook_size

    @property
    def vocab_size(self) -> int:
        return self.style_offset + self.style_levels * self.codebook_size

    @property
    def vocab_rows(self) -> int:
        """Rows that the tables store: the vocabulary rounded up to a multiple of 128."""
        return -(-self.vocab_size // 128) * 128

    @property
    def encoder_length(self) -> int:
        return self.context_frames * self.context_levels + self.context_style_levels

    @property
    def decoder_length(self) -> int:
        return self.chunk_frames * self.codec_levels

    def codec_ids(self, codes: ArrayLike) -> NDArray[np.int32]:
        """Codes [..., levels] to ids of the same shape; -1 becomes the mask id."""
        codes = np.asarray(codes, np.int32)
        starts = self.codec_offset + np.arange(codes.shape[-1], dtype=np.int32) * self.codebook_size
        return np.where(codes < 0, MASK_ID, codes + starts).astype(np.int32)

    def style_ids(self, codes: ArrayLike) -> NDArray[np.int32]:
        """Style codes [..., levels] to ids of the same shape; -1 becomes the mask id."""
        codes = np.asarray(codes, np.int32)
        starts = self.style_offset + np.arange(codes.shape[-1], dtype=np.int32) * self.codebook_size
        return np.where(codes < 0, MASK_ID, codes + starts).astype(np.int32)

    def codes_from_ids(self, ids: ArrayLike) -> Codes:
        """Ids [..., levels] to codes as the original maps them: (id - 2) modulo the codebook size.

        An id of another level, or the mask, is folded in silently by the original; so it is here. Our own
        constrained decoder never draws one.
        """
        ids = np.asarray(ids, np.int32)
        return np.asarray(np.mod(ids - self.codec_offset, self.codebook_size), np.int32)

    def encoder_row(self, context: ArrayLike, style: ArrayLike | None) -> NDArray[np.int32]:
        """One encoder input row, int32 [encoder_length].

        Args:
          context: codes [frames, levels], the newest last; more than `context_frames` are cut at the front,
            fewer are filled with the mask; levels past `context_levels` are left out.
          style: style codes [>= context_style_levels], or None for no style (all masks: the unconditioned row).
        """
        codes = np.asarray(context, np.int32)[-self.context_frames :, : self.context_levels]
        full = np.full((self.context_frames, self.context_levels), -1, np.int32)
        if len(codes):
            full[-len(codes) :] = codes
        if style is None:
            style_row = np.full(self.context_style_levels, MASK_ID, np.int32)
        else:
            style_row = self.style_ids(np.asarray(style, np.int32)[: self.context_style_levels])
        return np.concatenate([self.codec_ids(full).reshape(-1), style_row])

    def encoder_rows(self, contexts: Sequence[ArrayLike], styles: Sequence[ArrayLike | None]) -> NDArray[np.int32]:
        """`encoder_row` of each stream, int32 [batch, encoder_length]."""
        return np.stack([self.encoder_row(c, s) for c, s in zip(contexts, styles, strict=True)])

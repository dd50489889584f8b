"""Magenta RealTime 2 as an engine: frame by frame, from all that it has heard. Knows no request and no bars."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from darius.context import primed
from darius.engine import STYLE_CONTROLS
from darius.mrt2 import conditioning
from darius.mrt2.sampling import Draws
from darius.session import Knobs, Streams
from darius.tokens import Codes

if TYPE_CHECKING:
    from darius.codec.codec import Codec
    from darius.mrt2.decoder import FrameDecoder
    from darius.mrt2.network import State

CONTROLS = STYLE_CONTROLS | {"notes", "drums", "notes_guidance", "drums_guidance"}
CHUNK_FRAMES = 25
"""A second: long enough that the host's part of a call does not count. Any smaller number plays the same music."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MRT2Engine:
    """Tokens in, sound out: a language model and the codec whose codes it speaks.

    What a stream plays does not depend on how its frames are split into calls.

    Attributes:
      chunk_frames: frames of a call, unless it asks for fewer.
    """

    decoder: FrameDecoder
    codec: Codec
    chunk_frames: int = CHUNK_FRAMES

    @property
    def device(self) -> Any:
        return self.decoder.device

    @property
    def dtype(self) -> str:
        return self.decoder.dtype

    @property
    def frame_rate(self) -> int:
        return self.decoder.architecture.frame_rate

    @property
    def levels(self) -> int:
        return self.decoder.architecture.levels

    @property
    def codebook_size(self) -> int:
        return self.decoder.architecture.codebook_size

    @property
    def style_levels(self) -> int:
        return int(self.decoder.architecture.inputs[0].rvq_truncation_level)

    @property
    def call_frames(self) -> tuple[int, ...]:
        """A turned knob is heard after one short call: down to 40 ms of music. The short ones share a program."""
        return (*(frames for frames in (1, 2, 10) if frames < self.chunk_frames), self.chunk_frames)

    @property
    def context_frames(self) -> int:
        return self.memory_frames

    @property
    def memory_frames(self) -> int:
        """Frames of the past that a frame depends on: 20 s."""
        return self.decoder.architecture.memory_frames

    @property
    def supports(self) -> frozenset[str]:
        return CONTROLS

    def nothing(self) -> Codes:
        """No frames at all: the model has learned to begin."""
        return np.zeros((0, self.levels), np.int32)

    def programs(self, streams: int, knobs: Knobs, frames: int) -> list[Callable[[], None]]:
        """None: they are compiled when they are first played."""
        return []

    def begin(self, context: Codes, seed: int, knobs: Knobs) -> Streams:
        recent = np.asarray(context, np.int32).reshape(-1, self.levels)[-self.memory_frames :]
        memory = self.decoder.begin(np.array([seed], np.uint32))
        whole = self._whole(recent)
        return Streams(
            context=whole[None],
            codec=primed(self.codec, recent),
            chunk=np.zeros(1, np.int32),
            seed=np.array([seed], np.uint32),
            memory=self._heard(memory, whole, knobs),
        )

    def hear(self, streams: Streams, context: Codes, knobs: Knobs) -> Streams:
        whole = self._whole(np.asarray(context, np.int32)[-self.memory_frames :])
        memory = self.decoder.begin_with(streams.memory.key)
        return dataclasses.replace(streams, context=whole[None], memory=self._heard(memory, whole, knobs))

    def advance(
        self, streams: Streams, knobs: Sequence[Knobs], frames: int
    ) -> tuple[NDArray[np.float32], Codes, Streams]:
        """The next frames of every stream, in one call of the language model and one of the codec."""
        told = conditioning.tokens(self.decoder.architecture, knobs, frames)
        draws = Draws(
            temperature=np.array([k.temperature for k in knobs], np.float32),
            top_k=np.array([k.top_k for k in knobs], np.int32),
        )
        codes, memory = self.decoder.play(streams.memory, told, draws)
        samples, codec_state = self.codec.step(streams.codec, codes)
        host_codes = np.asarray(codes)
        after = dataclasses.replace(
            streams,
            context=np.concatenate([streams.context, host_codes], axis=1)[:, frames:],
            codec=codec_state,
            chunk=streams.chunk + 1,
            memory=memory,
        )
        return np.asarray(samples), host_codes, after

    def _whole(self, recent: Codes) -> Codes:
        """A context filled up to memory_frames with -1: one length, one program."""
        return np.pad(recent, ((self.memory_frames - len(recent), 0), (0, 0)), constant_values=-1)

    def _heard(self, memory: State, whole: Codes, knobs: Knobs) -> State:
        if (whole < 0).all():
            return memory
        # Under the style, but not under notes and drums that are meant for what comes.
        listening = dataclasses.replace(knobs, notes=None, drums=None)
        told = conditioning.tokens(self.decoder.architecture, [listening], self.memory_frames)
        return self.decoder.hear(memory, whole[None], told)

"""Magenta RealTime v1 as an engine: chunk after chunk, each from the encoder's context. Knows no request, no bars."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from darius.context import primed, silence_codes
from darius.engine import STYLE_CONTROLS
from darius.session import Knobs, Streams
from darius.tokens import Codes, TokenLayout

if TYPE_CHECKING:
    from darius.codec.codec import Codec
    from darius.depthformer.decode import Decoder
    from darius.depthformer.sampling import Controls


class ChunkPlayer:
    """How v1 plays, given its parts; what an `Engine` needs beyond them follows from them.

    Attributes:
      decoder: the language model.
      codec: the codec whose codes it speaks.
      layout: of its tokens.
      prefix_frames: frames of the context that each chunk begins with again, as known codes.
    """

    decoder: Any
    codec: Any
    layout: TokenLayout
    prefix_frames: int

    @property
    def device(self) -> Any:
        return self.decoder.device

    @property
    def dtype(self) -> str:
        return str(self.decoder.plan.dtype)

    @property
    def frame_rate(self) -> int:
        return self.layout.frame_rate

    @property
    def levels(self) -> int:
        return self.layout.codec_levels

    @property
    def codebook_size(self) -> int:
        return self.layout.codebook_size

    @property
    def style_levels(self) -> int:
        return self.layout.style_levels

    @property
    def chunk_frames(self) -> int:
        """New frames in a chunk."""
        return self.layout.chunk_frames - self.prefix_frames

    @property
    def call_frames(self) -> tuple[int, ...]:
        whole = self.chunk_frames
        return tuple(sorted({-(-whole // 5) + 2, -(-whole // 2), whole}))

    @property
    def context_frames(self) -> int:
        """Frames that the encoder hears."""
        return self.layout.context_frames

    @property
    def memory_frames(self) -> int:
        """Frames of the past that a chunk depends on."""
        return self.layout.context_frames + self.prefix_frames

    @property
    def supports(self) -> frozenset[str]:
        return STYLE_CONTROLS

    def nothing(self) -> Codes:
        """Silence, as the original has it."""
        return silence_codes(self)

    def programs(self, streams: int, knobs: Knobs, frames: int) -> list[Callable[[], None]]:
        """The language model's, the codec's, and of one stream also what silence and its beginning need."""
        again, codec, levels = self.prefix_frames, self.codec, self.levels
        chunk, seed = np.zeros(streams, np.int32), np.zeros(streams, np.uint32)
        dials = controls(Streams(context=chunk, codec=None, chunk=chunk, seed=seed), [knobs] * streams)
        needed: list[Callable[[], None]] = [
            functools.partial(self.decoder.compile, dials, frames=again + frames, prefix=again > 0),
            functools.partial(codec.compile_step, streams, frames, levels),
        ]
        if streams == 1:
            past = codec.history_frames
            needed += [
                functools.partial(codec.compile_encode, 1, past + self.memory_frames, levels),
                functools.partial(codec.compile_step, 1, min(past, self.memory_frames), levels),
            ]
        return needed

    def begin(self, context: Codes, seed: int, knobs: Knobs) -> Streams:
        """One stream; the codec is primed with the context's last frames: the first sound has the right past."""
        recent = np.asarray(context, np.int32).reshape(-1, self.levels)[-self.memory_frames :]
        heard = np.full((self.memory_frames, self.levels), -1, np.int32)
        heard[self.memory_frames - len(recent) :] = recent
        return Streams(
            context=heard[None],
            codec=primed(self.codec, recent),
            chunk=np.zeros(1, np.int32),
            seed=np.array([seed], np.uint32),
        )

    def hear(self, streams: Streams, context: Codes, knobs: Knobs) -> Streams:
        return dataclasses.replace(streams, context=context[None])

    def advance(
        self, streams: Streams, knobs: Sequence[Knobs], frames: int
    ) -> tuple[NDArray[np.float32], Codes, Streams]:
        """The next chunk of every stream, in one call of the decoder and one of the codec."""
        again = self.prefix_frames
        # The newest frames are played again inside the chunk, as its known beginning; the encoder hears what precedes.
        heard, prefix = np.split(streams.context, [self.memory_frames - again], axis=1)
        rows = self.layout.encoder_rows(list(heard), [k.style for k in knobs])
        codes = self.decoder.decode_chunk(
            rows, controls(streams, knobs), frames=again + frames, prefix=prefix if again else None
        )[:, again:]
        samples, codec_state = self.codec.step(streams.codec, codes)
        host_codes = np.asarray(codes)
        after = dataclasses.replace(
            streams,
            context=np.concatenate([streams.context, host_codes], axis=1)[:, frames:],
            codec=codec_state,
            chunk=streams.chunk + 1,
        )
        return np.asarray(samples), host_codes, after


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class V1Engine(ChunkPlayer):
    """Tokens in, sound out: a language model and the codec whose codes it speaks.

    Attributes:
      prefix_frames: frames of the context that each chunk begins with again, as known codes. 0 is the original's way;
        a small model finds its place in a loop far better with a few frames of its own past.
    """

    decoder: Decoder
    codec: Codec
    prefix_frames: int = 0

    @property
    def layout(self) -> TokenLayout:  # type: ignore[override]  # read from the decoder
        return self.decoder.config.layout


def controls(streams: Streams, knobs: Sequence[Knobs]) -> Controls:
    """The sampling controls of some streams, a row each."""
    from darius.depthformer.sampling import Controls

    return Controls(
        guidance=np.array([k.guidance for k in knobs], np.float32),
        temperature=np.array([k.temperature for k in knobs], np.float32),
        top_k=np.array([k.top_k for k in knobs], np.int32),
        seed=streams.seed,
        chunk=streams.chunk,
    )

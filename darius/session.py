"""Streams of music as a value: (state, knobs) -> (audio, state).

A state holds all that one or more streams are at a chunk border: context codes, the codec's decoder state, chunk
counts and seeds, a row a stream. Advancing returns a new state and touches nothing else, so interleaved streams equal
separate ones. Knows no bars, sockets or files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from darius.tokens import Codes

if TYPE_CHECKING:
    from darius.depthformer.sampling import Controls
    from darius.model import Engine


@dataclasses.dataclass(frozen=True, kw_only=True)
class Knobs:
    """What a musician may turn between chunks.

    Attributes:
      style: style codes int32 [>= 6], or None for no style.
      guidance: classifier-free guidance weight; 0 costs no second row.
      temperature: sampling temperature.
      top_k: codes to choose among at each step; 0 for all.
    """

    style: NDArray[np.int32] | None = None
    guidance: float = 5.0
    temperature: float = 1.1
    top_k: int = 40


@dataclasses.dataclass(frozen=True, kw_only=True)
class Streams:
    """Streams at a chunk border, a row each.

    Attributes:
      context: the codes that the next chunk continues, int32 [streams, engine.memory_frames, levels], the newest
        last, -1 where nothing was heard yet.
      codec: the codec's streaming state for this batch.
      chunk: how many chunks each has made, int32 [streams]; folded into its seed.
      seed: each stream's own seed, uint32 [streams].
    """

    context: Codes
    codec: Any
    chunk: NDArray[np.int32]
    seed: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.seed)


def start(engine: Engine, context: Codes, seed: int) -> Streams:
    """One stream that will continue `context` (codes int32 [frames, levels]; may be empty).

    The codec is primed with the context's last frames, so that the first sound has the right past.
    """
    layout, codec = engine.layout, engine.codec
    recent = np.asarray(context, np.int32).reshape(-1, layout.codec_levels)[-engine.memory_frames :]
    heard = np.full((engine.memory_frames, layout.codec_levels), -1, np.int32)
    heard[engine.memory_frames - len(recent) :] = recent
    codec_state = codec.start(1)
    past = recent[-codec.history_frames :]
    past = past[(past >= 0).all(axis=1)]
    if len(past):
        _, codec_state = codec.step(codec_state, past[None])
    return Streams(
        context=heard[None], codec=codec_state, chunk=np.zeros(1, np.int32), seed=np.array([seed], np.uint32)
    )


def gather(streams: Sequence[Streams]) -> Streams:
    """Several states as one; their rows in order."""
    import jax
    import jax.numpy as jnp

    if len(streams) == 1:
        return streams[0]
    return Streams(
        context=np.concatenate([s.context for s in streams]),
        codec=jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *[s.codec for s in streams]),
        chunk=np.concatenate([s.chunk for s in streams]),
        seed=np.concatenate([s.seed for s in streams]),
    )


def take(streams: Streams, rows: Sequence[int]) -> Streams:
    """Some of the streams, in the order of `rows`."""
    import jax

    index = np.asarray(rows, np.int32)
    return Streams(
        context=streams.context[index],
        codec=jax.tree.map(lambda leaf: leaf[index], streams.codec),
        chunk=streams.chunk[index],
        seed=streams.seed[index],
    )


def advance(
    engine: Engine, streams: Streams, knobs: Sequence[Knobs], *, frames: int | None = None
) -> tuple[NDArray[np.float32], Codes, Streams]:
    """Makes the next chunk of every stream in one device call.

    Args:
      engine: what plays.
      streams: the state; it stays as it is.
      knobs: one a stream.
      frames: frames to make (all streams alike), at most `engine.chunk_frames`, which is the default.

    Returns:
      samples float32 [streams, frames * frame_samples, 2], which lag the codes by the codec's lookahead;
      codes int32 [streams, frames, levels]; and the new state.
    """
    frames = engine.chunk_frames if frames is None else frames
    again = engine.prefix_frames
    # The newest frames are played again inside the chunk, as its known beginning; the encoder hears what precedes them.
    heard, prefix = np.split(streams.context, [engine.memory_frames - again], axis=1)
    rows = engine.layout.encoder_rows(list(heard), [k.style for k in knobs])
    codes = engine.decoder.decode_chunk(
        rows, controls(streams, knobs), frames=again + frames, prefix=prefix if again else None
    )[:, again:]
    samples, codec_state = engine.codec.step(streams.codec, codes)
    host_codes = np.asarray(codes)
    after = dataclasses.replace(
        streams,
        context=np.concatenate([streams.context, host_codes], axis=1)[:, frames:],
        codec=codec_state,
        chunk=streams.chunk + 1,
    )
    return np.asarray(samples), host_codes, after


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

"""Streams of music as a value: (state, knobs) -> (audio, state).

A state holds all that one or more streams are at a chunk border: context codes, the codec's decoder state, chunk
counts and seeds, a row a stream. Advancing returns a new state and touches nothing else, so interleaved streams equal
separate ones. Knows no bars, sockets or files, and leaves the playing to the engine (`darius.engine`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from darius.tokens import Codes

if TYPE_CHECKING:
    from darius.engine import Engine


@dataclasses.dataclass(frozen=True, kw_only=True)
class Knobs:
    """What a musician may turn between chunks.

    Attributes:
      style: style codes int32 [>= 6], or None for no style.
      guidance: classifier-free guidance weight; 0 costs no second row.
      temperature: sampling temperature.
      top_k: codes to choose among at each step; 0 for all.
      notes: what every pitch does in each of the coming frames, int8 [frames, 128], for engines that support it:
        -1 the model's choice, 0 silent, 1 sounding, 2 struck, 3 sounding, struck or not. Shorter: the last frame's
        notes go on. None: all pitches are the model's choice.
      drums: whether drums are to play; None for the model's choice.
      notes_guidance, drums_guidance: how strictly those two are followed, -1 to 7; None for the engine's own.
    """

    style: NDArray[np.int32] | None = None
    guidance: float = 5.0
    temperature: float = 1.1
    top_k: int = 40
    notes: NDArray[np.int8] | None = None
    drums: bool | None = None
    notes_guidance: float | None = None
    drums_guidance: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Streams:
    """Streams at a chunk border, a row each.

    Attributes:
      context: the codes that the next chunk continues, int32 [streams, engine.memory_frames, levels], the newest
        last, -1 where nothing was heard yet.
      codec: the codec's streaming state for this batch.
      memory: what else the engine remembers of each stream: a pytree of arrays, streams first; None for nothing.
      chunk: how many chunks each has made, int32 [streams]; folded into its seed.
      seed: each stream's own seed, uint32 [streams].
    """

    context: Codes
    codec: Any
    chunk: NDArray[np.int32]
    seed: NDArray[np.uint32]
    memory: Any = None

    def __len__(self) -> int:
        return len(self.seed)


def start(engine: Engine, context: Codes, seed: int, knobs: Knobs | None = None) -> Streams:
    """One stream that will continue `context` (codes int32 [frames, levels]; may be empty).

    Args:
      knobs: under which the context is heard, for engines whose past is made under knobs too.
    """
    return engine.begin(context, seed, knobs or Knobs())


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
        memory=jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *[s.memory for s in streams]),
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
        memory=jax.tree.map(lambda leaf: leaf[index], streams.memory),
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
    return engine.advance(streams, knobs, engine.chunk_frames if frames is None else frames)

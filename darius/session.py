"""One stream of music as a value: (state, knobs) -> (audio, state).

A state holds all that a stream is at a chunk border: the context codes, the codec's decoder state, the chunk count
and the seed. Advancing returns a new state and touches nothing else, so interleaved streams equal separate ones.
Knows no bars, sockets or files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from darius.tokens import Codes

if TYPE_CHECKING:
    from darius.model import Model


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
class StreamState:
    """A stream at a chunk border.

    Attributes:
      context: codes that the next chunk continues, int32 [frames, levels], the newest last.
      codec: the codec's streaming state, a batch of one.
      chunk: how many chunks were made; folded into the seed.
      seed: the stream's own seed, 32 bits.
    """

    context: Codes
    codec: Any
    chunk: int
    seed: int


def start(model: Model, context: Codes, seed: int) -> StreamState:
    """A stream that will continue `context` (codes int32 [frames, levels], may be empty).

    The codec is primed with the context's last frames, so that the first sound has the right past.
    """
    codec_state = model.codec.start(1)
    past = np.maximum(context[-model.codec.history_frames :], 0)
    if len(past):
        _, codec_state = model.codec.step(codec_state, past[None])
    return StreamState(context=context, codec=codec_state, chunk=0, seed=seed)


def advance(
    model: Model, states: Sequence[StreamState], knobs: Sequence[Knobs], *, frames: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int32], list[StreamState]]:
    """Makes the next chunk of every stream in one device call.

    Args:
      model: what plays.
      states: one a stream.
      knobs: one a stream.
      frames: frames to make (all streams alike), at most a chunk; a whole chunk if None.

    Returns:
      samples float32 [streams, frames * frame_samples, 2], which lag the codes by the codec's lookahead;
      codes int32 [streams, frames, levels]; and the new states.
    """
    import jax
    import jax.numpy as jnp

    from darius.depthformer.sampling import Controls

    layout = model.layout
    frames = layout.chunk_frames if frames is None else frames
    controls = Controls(
        guidance=np.array([k.guidance for k in knobs], np.float32),
        temperature=np.array([k.temperature for k in knobs], np.float32),
        top_k=np.array([k.top_k for k in knobs], np.int32),
        seed=np.array([s.seed for s in states], np.uint32),
        chunk=np.array([s.chunk for s in states], np.int32),
    )
    rows = layout.encoder_rows([s.context for s in states], [k.style for k in knobs])
    codes = model.decoder.decode_chunk(rows, controls, frames=frames)

    together = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *[s.codec for s in states])
    samples, together = model.codec.step(together, codes)
    host_codes = np.asarray(codes)
    after = [
        dataclasses.replace(
            state,
            context=np.concatenate([state.context, host_codes[i]])[-layout.context_frames :],
            codec=jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], together),
            chunk=state.chunk + 1,
        )
        for i, state in enumerate(states)
    ]
    return np.asarray(samples), host_codes, after

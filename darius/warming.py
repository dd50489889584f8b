"""Getting an engine ready for its first chunk: what has to be compiled is compiled side by side. Knows no request.

One after the other, the language model's program and the codec's three would take an accelerator twice as long.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from darius import session

if TYPE_CHECKING:
    from darius.engine import Engine
    from darius.v1 import ChunkPlayer


def get_ready(engine: Engine, *, guidance: float = 5.0) -> None:
    """Plays and forgets a stream's first chunk, part by part at the same time; nothing of it is kept but programs.

    On a CPU there is nothing to gain: compiling fills its cores, and the chunk takes longer than what is saved.
    """
    if engine.device.platform == "cpu":
        return
    work = parts(engine, session.Knobs(guidance=guidance))
    with ThreadPoolExecutor(len(work), thread_name_prefix="darius-ready") as pool:
        for done in [pool.submit(part) for part in work]:
            done.result()


def parts(engine: Any, knobs: session.Knobs) -> list[Callable[[], Any]]:
    """What a stream's first chunk needs, as calls that may be made at the same time."""
    from darius.v1 import ChunkPlayer

    if not isinstance(engine, ChunkPlayer):
        return [lambda: session.advance(engine, session.start(engine, engine.nothing(), 0, knobs), [knobs])]
    return [
        lambda: _decode(engine, knobs),
        engine.nothing,
        lambda: _prime(engine),
        lambda: _sound(engine),
    ]


def _decode(engine: ChunkPlayer, knobs: session.Knobs) -> None:
    from darius.v1 import controls

    unheard = np.full((engine.context_frames, engine.levels), -1, np.int32)
    none = session.Streams(context=unheard[None], codec=None, chunk=np.zeros(1, np.int32), seed=np.zeros(1, np.uint32))
    rows, again = engine.layout.encoder_rows([unheard], [None]), engine.prefix_frames
    prefix = np.full((1, again, engine.levels), -1, np.int32) if again else None
    dials = controls(none, [knobs])
    engine.decoder.decode_chunk(rows, dials, frames=again + engine.chunk_frames, prefix=prefix).block_until_ready()


def _prime(engine: ChunkPlayer) -> None:
    engine.codec.step(engine.codec.start(1), np.zeros((1, engine.codec.history_frames, engine.levels), np.int32))


def _sound(engine: ChunkPlayer) -> None:
    import jax

    codes = np.zeros((1, engine.chunk_frames, engine.levels), np.int32)
    engine.codec.step(engine.codec.start(1), jax.device_put(codes, engine.device))  # as they come from the model

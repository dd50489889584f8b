"""Getting an engine ready for its first chunk: what has to be compiled is compiled side by side. Knows no request.

One after the other, the language model's program and the codec's three would take an accelerator twice as long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from darius import session

if TYPE_CHECKING:
    from darius.engine import Engine

AT_ONCE = 4


def get_ready(engine: Engine, *, guidance: float = 5.0) -> None:
    """Compiles what a stream's first chunk needs, then plays and forgets one, in this thread.

    On a CPU there is nothing to gain: compiling fills its cores, and the chunk takes longer than what is saved.
    """
    if engine.device.platform == "cpu":
        return
    knobs = session.Knobs(guidance=guidance)
    side_by_side(engine.programs(1, knobs, engine.chunk_frames))
    session.advance(engine, session.start(engine, engine.nothing(), 0, knobs), [knobs])


def side_by_side(calls: Sequence[Callable[[], object]], *, at_once: int = AT_ONCE) -> None:
    """Makes calls at the same time, a few at once, and waits for all; raises what one of them raises."""
    with ThreadPoolExecutor(at_once, thread_name_prefix="darius-ready") as pool:
        for done in [pool.submit(call) for call in calls]:
            done.result()

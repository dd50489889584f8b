"""`darius serve` whose model breaks when it is told to: what a defect, or a full device, does to one stream of many.

python tests/faulty_server.py serve --model FOLDER ...      (a v1 model; flags as of `darius`)
Streams of these seeds break in their fourth call; all others play as ever.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

from darius.model import V1Model
from darius.session import Knobs, Streams
from serve import loading

BUG, FULL, SLOW = 666, 667, 668
GOOD_CALLS = 3
SLOW_SECONDS = 1.5


class Breaking(V1Model):
    """A whole model that meets the fault of a stream's seed."""

    def advance(self, streams: Streams, knobs: Sequence[Knobs], frames: int) -> Any:
        import jax

        broken = {int(seed) for seed, chunk in zip(streams.seed, streams.chunk, strict=True) if chunk >= GOOD_CALLS}
        if BUG in broken:
            raise ValueError("the network is broken")
        if FULL in broken:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 7 bytes")
        if SLOW in broken:
            time.sleep(SLOW_SECONDS)
        return super().advance(streams, knobs, frames)


def breaking(loaded: loading.Loaded) -> loading.Loaded:
    model: Any = loaded.model
    parts = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
    return dataclasses.replace(loaded, model=Breaking(**parts))


if __name__ == "__main__":
    from darius_cli.main import main

    load = loading.load
    loading.load = lambda *arguments: breaking(load(*arguments))
    main()

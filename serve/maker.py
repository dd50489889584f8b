"""One chunk of a jam: calls of the device until it is there; cut and encoded in a thread. Knows no client, no clock."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import itertools
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

import numpy as np

from darius import session
from darius.audio.waveform import Waveform
from darius.batching import Advance
from darius.jam import Jam, JamSettings
from darius.session import Knobs, Streams
from darius.style.mix import StyleRequest, WeightedText
from serve.packets import Packet, pack

if TYPE_CHECKING:
    from darius.engine import Engine, Model
    from serve.backend import Backend

REHEARSAL_RATE = 44_100


def call_lengths(engine: Engine) -> tuple[int, ...]:
    """Frames that a device call is made of, ascending: short ones for a quick first chunk, and the whole chunk.

    Few, since each is another program to compile, and streams share a call only if it is as long.
    """
    return engine.call_frames


def rehearse(model: Model, on_device: Callable[[Callable[[], Any]], Any]) -> None:
    """Plays a jam's first chunk, with all that a jam may come to need: afterwards none of it has to be compiled or
    imported while musicians wait.

    Args:
      on_device: makes a call that uses the device, where that may be done, and waits for it.
    """
    rng = np.random.default_rng(0)
    loop = Waveform(rng.normal(0, 0.1, (4 * REHEARSAL_RATE, 2)).astype(np.float32), REHEARSAL_RATE)
    style = StyleRequest(texts=(WeightedText("warmup"),))
    settings = JamSettings(bpm="120", bars_per_chunk=1, rate=REHEARSAL_RATE)
    jam = on_device(lambda: Jam.start(model, settings, loop=loop, style=style, seed=0))
    lengths = itertools.chain(call_lengths(model), itertools.repeat(model.chunk_frames))
    while jam.frames_needed():
        streams, knobs = jam.call()
        advance = functools.partial(session.advance, model, streams, [knobs], frames=next(lengths))
        samples, codes, after = on_device(advance)
        jam.feed(Advance(samples[0], codes[0], after))
    chunk = jam.cut()
    assert chunk is not None  # no frames are missing
    pack(chunk, settings)
    jam.splice(loop)
    jam.update(style=style, current_mix=True)
    on_device(jam.settle)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ask:
    """What the device is to advance next."""

    streams: Streams
    knobs: Knobs
    frames: int
    calls_left: int


class Maker:
    """Makes the chunks of one jam, one after the other.

    Args:
      key: whose turn it is on the device.
    """

    def __init__(self, backend: Backend, jam: Jam, key: Hashable) -> None:
        self._backend, self._jam, self._key = backend, jam, key
        self._lengths = call_lengths(jam.model)

    async def make(self, wanted: Callable[[], tuple[float, float]]) -> Packet:
        """The next chunk.

        Args:
          wanted: when it has to be there and when the music stops without it, in monotonic seconds; asked again
            before each call.
        """
        first = not self._jam.chunks_cut
        made: Advance | None = None
        while isinstance(step := await self._backend.in_thread(functools.partial(self._step, made)), Ask):
            deadline, dry = wanted()
            others = (step.calls_left - 1) * self._call_seconds(alone=first)
            made = await asyncio.wrap_future(
                self._backend.conductor.advance(
                    step.streams,
                    step.knobs,
                    deadline=deadline - others,
                    dry=dry - others,
                    key=self._key,
                    then=self._key if first and step.calls_left > 1 else None,
                    frames=step.frames,
                    engine=self._jam.model,
                )
            )
        return step

    def _step(self, made: Advance | None) -> Ask | Packet:
        """In a thread: takes in what was made; then what has to be made next, or the chunk."""
        jam = self._jam
        if made is not None:
            jam.feed(made)
        needed = jam.frames_needed()
        if needed:
            streams, knobs = jam.call()
            return Ask(streams=streams, knobs=knobs, frames=self._frames(needed), calls_left=jam.calls_needed())
        chunk = jam.cut()
        assert chunk is not None  # no frames are missing
        return pack(chunk, jam.settings)

    def _frames(self, needed: int) -> int:
        """Frames of the next call: whole ones, which streams share, but for the end of a first or a short chunk.

        It depends on the jam alone: the same seed plays the same, whoever else plays.
        """
        settings, whole = self._jam.settings, self._lengths[-1]
        short = settings.bpm is None and settings.chunk_duration * self._jam.model.frame_rate < whole
        if self._jam.chunks_cut and not short:
            return whole
        return next((length for length in self._lengths if length >= needed), whole)

    def _call_seconds(self, *, alone: bool) -> float:
        """How long a call takes: what later calls of the same chunk have to be left with."""
        known = self._backend.conductor.stats().chunk_seconds.values()
        return min(known, default=0.0) if alone else max(known, default=0.0)

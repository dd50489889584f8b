"""Live jams without a server: real sessions on a real device thread, with the small model. Knows no test."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import io
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import soundfile
from jam.small_model import small_model

from darius.audio.waveform import Waveform
from darius.jam import Dials, JamSettings
from darius.model import Model
from darius.style.mix import StyleRequest
from serve.backend import Backend
from serve.live import Live
from serve.packets import Packet
from serve.sessions import Sessions
from serve.settings import Settings

RATE = 8000
CHUNK_SECONDS = 0.2
"""Of the jams that are started here unless they say otherwise: one bar of one beat at 300 bpm."""


@functools.cache
def shared_model() -> Model:
    """One small model for all tests: compiling its programs takes longer than all that they play."""
    return small_model()


@contextlib.asynccontextmanager
async def sessions(model: Model, *, capacity: int = 4, **lease: float) -> AsyncIterator[Sessions]:
    """The sessions of a server that plays `model`."""
    here = Backend(Settings(max_sessions=capacity))
    here.conductor.engine = model
    here.sessions = Sessions(here, **lease)
    try:
        yield here.sessions
    finally:
        await here.close()


async def begin(jams: Sessions, model: Model, *, wanted: str | None = None, **more: Any) -> Live:
    """A jam that goes on from a second of noise, in bars of `CHUNK_SECONDS`."""
    settings = JamSettings(bpm="300", beats_per_bar=1, bars_per_chunk=1, rate=RATE, loudness="none")
    defaults: dict[str, Any] = {
        "settings": settings,
        "loop": noise(),
        "style": StyleRequest(),
        "dials": Dials(),
        "seed": 1,
        "assets": model.assets,
    }
    with jams.slot(wanted) as name:
        return await jams.begin(name, model, **(defaults | more))


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Waits for something that has to come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        await asyncio.sleep(0.01)


def noise(seconds: float = 1.0) -> Waveform:
    rng = np.random.default_rng(2)
    return Waveform(rng.normal(0, 0.1, (round(seconds * RATE), 2)).astype(np.float32), RATE)


def sound(packet: Packet) -> np.ndarray:
    """Samples float32 [n, 2] of a packet's WAV."""
    return np.asarray(soundfile.read(io.BytesIO(packet.wav), dtype="float32")[0])


def as_base64(waveform: Waveform) -> str:
    """A waveform as a socket's message carries it."""
    target = io.BytesIO()
    soundfile.write(target, waveform.samples, waveform.rate, subtype="FLOAT", format="WAV")
    return base64.b64encode(target.getvalue()).decode()

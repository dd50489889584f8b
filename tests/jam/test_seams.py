"""Borders of device calls and of chunks are no places that an ear, or a measurement, could find.

Calls begin at codec frames and at many phases of the beat, since the tempo is none of theirs: their borders are
compared with the same grid, shifted by some frames, which meets as many drums. (Any other places would not do: the
codec of `tiny` jumps a little 16 times a frame, in calls and between them alike.) Chunks begin on downbeats, where the
music has attacks: they are compared with the other downbeats.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from darius import session
from darius.audio import files
from darius.audio.waveform import Samples
from darius.batching import Advance
from darius.jam import Jam, JamSettings
from darius.model import Model

RATE, CHUNKS, WINDOW = 48_000, 6, 1024
Measure = Callable[[Samples, int], float]


@dataclasses.dataclass(frozen=True)
class Played:
    """A jam's sound float32 [n]; the samples at which its chunks and its other bars begin; the frames at which its
    calls do, how many frames a call has, and samples a frame."""

    sound: Samples
    chunks: list[int]
    bars: list[int]
    calls: list[int]
    call_frames: int
    frame: float


@pytest.fixture(scope="module")
def played(tiny: Model) -> Played:
    """Six chunks of two bars at 97.5 bpm, as tiny plays them from a loop."""
    loop = files.load(Path(__file__).parents[2] / "examples" / "loops" / "loop_garzul.flac")
    settings = JamSettings(bpm="97.5", bars_per_chunk=2, rate=RATE, loudness="none")
    jam, made, calls = Jam.start(tiny, settings, loop=loop, seed=3), [], []
    while jam.chunks_cut < CHUNKS:
        while jam.frames_needed():
            streams, knobs = jam.call()
            samples, codes, after = session.advance(tiny, streams, [knobs])
            jam.feed(Advance(samples[0], codes[0], after))
            calls.append(jam.frames_made)
        chunk = jam.cut()
        assert chunk is not None
        made.append(chunk.samples)
    bar = settings.seconds_per_bar * RATE
    return Played(
        sound=np.concatenate(made).mean(axis=1),
        chunks=[settings.chunk_start(k) for k in range(1, CHUNKS)],
        bars=[round(bar * k) for k in range(1, 2 * CHUNKS, 2)],
        calls=calls[:-1],
        call_frames=tiny.chunk_frames,
        frame=float(tiny.codec.frame_samples * jam._resampler.ratio),
    )


def step(sound: Samples, place: int) -> float:
    """How far the signal jumps there, against how far it does around, in nepers."""
    here = np.abs(np.diff(sound[place - 3 : place + 3])).max()
    around = np.sqrt((np.diff(sound[place - 2 * WINDOW : place + 2 * WINDOW]) ** 2).mean())
    return math.log((here + 1e-6) / (around + 1e-6))


def flux(sound: Samples, place: int) -> float:
    """How much louder the spectrum is after it than before, in nepers."""
    window = np.hanning(WINDOW)
    parts = sound[place - WINDOW : place], sound[place : place + WINDOW]
    before, after = (np.log(np.abs(np.fft.rfft(part * window)) + 1e-3) for part in parts)
    return float(np.maximum(after - before, 0).mean())


def against_shifted_grids(measure: Measure, played: Played, sound: Samples, *, lag: int = 0) -> float:
    """How many standard deviations the calls' borders (`lag` frames before them) lie above the same grid shifted."""

    def mean(shift: int) -> float:
        places = [round(played.frame * (call + shift)) for call in played.calls]
        room = range(2 * WINDOW, len(sound) - 2 * WINDOW)
        return float(np.mean([measure(sound, place) for place in places if place in room]))

    others = [mean(shift) for shift in range(3, played.call_frames - 3)]
    return float((mean(-lag) - np.mean(others)) / np.std(others))


def against_other_downbeats(measure: Measure, played: Played, sound: Samples) -> float:
    """How many standard errors the chunks' beginnings lie above the other downbeats."""
    found = [np.array([measure(sound, place) for place in places]) for places in (played.chunks, played.bars)]
    error = math.sqrt(sum(values.var(ddof=1) / len(values) for values in found))
    return float((found[0].mean() - found[1].mean()) / error)


@pytest.mark.parametrize("measure", [step, flux])
def test_borders_of_device_calls_are_like_any_other_frames(tiny: Model, played: Played, measure: Measure) -> None:
    for lag in (0, tiny.codec.lookahead_frames):  # where codes meet, and where the codec's steps do
        assert against_shifted_grids(measure, played, played.sound, lag=lag) < 3


@pytest.mark.parametrize("measure", [step, flux])
def test_chunks_begin_as_other_bars_do(played: Played, measure: Measure) -> None:
    assert against_other_downbeats(measure, played, played.sound) < 3


@pytest.mark.parametrize(("measure", "seam"), [(step, "click"), (flux, "gap")])
def test_a_seam_would_be_found(played: Played, measure: Measure, seam: str) -> None:
    spoilt = played.sound.copy()
    for place in (round(played.frame * call) for call in played.calls):
        if seam == "click":  # a jump of a tenth of the loudest
            spoilt[place : place + 200] += 0.1 * np.abs(spoilt).max() * np.linspace(1, 0, 200)
        else:  # of 20 ms
            spoilt[place - 960 : place] = 0
    assert against_shifted_grids(measure, played, spoilt) > 3

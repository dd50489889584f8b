"""What a stream listens to: loops as the codes of the last seconds before a place in the music. Knows no sockets.

A loop is repeated in time up to the wanted place and encoded once, so that there is no seam inside the context.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from darius.audio.bars import frame_grid
from darius.audio.resample import resample
from darius.audio.waveform import Samples, Waveform
from darius.errors import BadAudio
from darius.tokens import Codes

if TYPE_CHECKING:
    from darius.codec.codec import Codec
    from darius.engine import Engine

MOST_SECONDS = 60
"""Of a longer loop, the last whole bars within this time are heard."""
_NEARLY = Fraction(1, 50)
"""A loop that lacks less than this part of a bar is taken as cut a little short."""


def whole_bars(loop: Waveform, bar_seconds: Fraction | None, *, last: int | None = None) -> tuple[Waveform, int]:
    """The loop's whole bars, stereo, and how many they are.

    A loop cut a little short is filled up; one shorter than a bar is repeated until it fills one. Without bars the
    whole loop counts as one.

    Args:
      bar_seconds: None for music without bars.
      last: only so many bars, from the end; by default as many as `MOST_SECONDS` hold, and at least one.

    Raises:
      BadAudio: nothing is in it, or a sample is not a finite number.
    """
    if not len(loop):
        raise BadAudio("There is no sound in the audio: it is empty.", "Send at least one bar.")
    if not np.isfinite(loop.samples).all():
        raise BadAudio("The audio holds samples that are not finite numbers.", "Export it again.")
    stereo = loop.stereo()
    if bar_seconds is None:
        return stereo.cut(max(len(loop) - MOST_SECONDS * loop.rate, 0), len(loop)), 1
    bar = bar_seconds * loop.rate
    bars = int(len(loop) / bar + _NEARLY)
    if bars == 0:
        return Waveform(np.take(stereo.samples, np.arange(round(bar)), axis=0, mode="wrap"), loop.rate), 1
    length = round(bars * bar)
    samples = np.pad(stereo.samples, ((0, max(length - len(loop), 0)), (0, 0)))[:length]
    kept = min(bars, last or max(1, int(MOST_SECONDS / bar_seconds)))
    return Waveform(samples[length - round(kept * bar) :], loop.rate), kept


def stretch_of(bars: int, bar_seconds: Fraction | None, frame_rate: int, *, grid: bool) -> Fraction:
    """Seconds of the model per second of music: 1, or what makes bars whole frames."""
    if bar_seconds is None or not grid:
        return Fraction(1)
    return frame_grid(bars * bar_seconds, bars, frame_rate=frame_rate).ratio


def loop_codes(engine: Engine, loop: Waveform, *, stretch: Fraction, end: Fraction) -> Codes:
    """The context of a loop that has gone round and round until `end`, int32 [memory_frames, levels]."""
    return sound_codes(engine, loop_sound(engine, loop, stretch=stretch, end=end))


def loop_sound(engine: Engine, loop: Waveform, *, stretch: Fraction, end: Fraction) -> Samples:
    """What `sound_codes` makes that context of, at the codec's rate; needs no device.

    It is led in by the codec's past and followed by the loop's own continuation, as if it went on, so that neither
    edge of the window is heard. Always as many frames: another number would be another program to compile.

    Args:
      stretch: seconds of the model per second of music.
      end: seconds of music into the loop at which the window ends; 0 for the loop's own end.
    """
    codec = engine.codec
    window = (codec.history_frames + engine.memory_frames) * codec.frame_samples
    after = (codec.lookahead_frames + 1) * codec.frame_samples
    model_rate = codec.sample_rate * stretch
    into = Fraction(end) % Fraction(len(loop), loop.rate) * loop.rate
    passes = -int(-window * loop.rate // (len(loop) * model_rate))
    place = passes * len(loop) + into
    last = int(place + after * loop.rate / model_rate) + 64
    first = max(int(place - window * loop.rate / model_rate) - 4096, 0) // loop.rate * loop.rate
    tiled = np.take(loop.samples, np.arange(first, last), axis=0, mode="wrap")
    heard = resample(tiled, loop.rate, model_rate)
    stop = round((place - first) * model_rate / loop.rate)
    return heard[stop - window : stop + after]


def sound_codes(engine: Engine, sound: Samples) -> Codes:
    """The codes of a `loop_sound`, without what led in and followed."""
    lead, frames = engine.codec.history_frames, engine.memory_frames
    codes = engine.codec.encode(sound[None], levels=engine.levels)
    return np.asarray(codes, np.int32)[0, lead : lead + frames]


def played_sound(engine: Engine, codes: Codes) -> Waveform:
    """How codes [frames, levels] sound, but for their last moments: made in chunks, as they were while they played."""
    state, heard = engine.codec.start(1), []
    for start in range(0, len(codes), engine.chunk_frames):
        samples, state = engine.codec.step(state, codes[None, start : start + engine.chunk_frames])
        heard.append(np.asarray(samples, np.float32)[0])
    return Waveform(np.concatenate(heard), engine.codec.sample_rate)


def primed(codec: Codec, past: Codes) -> Any:
    """The codec's state of one stream after the frames `past` [frames, levels]: the first sound has the right past."""
    state = codec.start(1)
    recent = past[-codec.history_frames :]
    recent = recent[(recent >= 0).all(axis=1)]
    if len(recent):
        _, state = codec.step(state, recent[None])
    return state


def silence_codes(engine: Engine) -> Codes:
    """A context of silence, int32 [memory_frames, levels]."""
    codec = engine.codec
    lead = codec.history_frames
    samples = np.zeros((1, (lead + engine.memory_frames) * codec.frame_samples, codec.channels), np.float32)
    return np.asarray(codec.encode(samples, levels=engine.levels), np.int32)[0, lead:]

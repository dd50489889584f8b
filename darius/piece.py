"""A piece of exactly N bars while it is made: what the device plays next, what was made so far, the exact cut.

Whoever drives it has the device advance `call()` and hands the result to `feed()` until it is `complete`; then
`finish()` gives the music. What needs the device by itself (`Piece.start`) is marked; the rest is numpy. Knows no
files, no sockets and no other pieces.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from darius import beneath, openings, session
from darius.audio import bars as bar_time
from darius.audio.loudness import match
from darius.audio.resample import resample
from darius.audio.waveform import Samples, Waveform
from darius.context import sound_codes, stretch_of
from darius.engine import refuse_unsupported
from darius.errors import BadAudio, InvalidOption
from darius.jam import levels
from darius.style.mix import style_vector
from darius.tokens import Codes

if TYPE_CHECKING:
    from darius.audio.tempo import TempoEstimate
    from darius.batching import Advance
    from darius.continuation import ContinuationOptions
    from darius.engine import Model
    from darius.style.steering import Assets

MAX_SECONDS = 1200.0
JOIN_SECONDS = 0.02
"""Over how long the loop's own sound gives way to the codec's before the first downbeat, when both are kept."""
PEAK = 0.95
"""Where music without a loop has no level to match."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """One piece's arithmetic: everything that is decided before a model runs.

    Attributes:
      loop: whole bars, stereo, at the loop's own rate; None for music from words alone.
      stretch: model seconds per second of music.
      rate: of the result.
      samples: the result's length.
      bar: samples of a bar at the output rate.
      skip_samples: intro bars, at the output rate.
      frames: codec frames to make, lookahead included.
    """

    bpm: Fraction
    loop: Waveform | None
    stretch: Fraction
    rate: int
    samples: int
    bar: int
    skip_samples: int
    frames: int


def plan(
    model: Model, options: ContinuationOptions, *, loop: Waveform | None = None, tempo: TempoEstimate | None = None
) -> Plan:
    """The arithmetic of a piece.

    Args:
      loop: with its tempo; None for music from words alone, whose tempo the options state.

    Raises:
      InvalidOption: more music than can be made at a time, or no tempo.
      BadAudio: the loop is shorter than a bar.
    """
    if tempo is None and options.bpm is None:
        raise InvalidOption("Music without a loop needs a tempo.", "Give its tempo with --bpm.")
    bpm = bar_time.exact_bpm(tempo.bpm if tempo is not None else options.bpm or 0)
    bar_seconds = bar_time.bar_seconds(1, options.beats_per_bar, bpm)
    music_seconds = (options.bars + options.intro_bars_to_drop) * bar_seconds
    if music_seconds > MAX_SECONDS:
        raise InvalidOption(
            f"{options.bars} bars at {float(bpm):g} bpm last {float(music_seconds) / 60:.0f} minutes.",
            f"Ask for at most {int(MAX_SECONDS / bar_seconds)} bars at a time.",
        )
    whole, stretch = None, Fraction(1) if options.timing == "free" else openings.grid_stretch(model, bpm)
    if loop is not None and tempo is not None:
        whole = _whole_bars(loop, tempo, bpm, options.beats_per_bar)
        grid = options.timing == "grid" or (options.timing == "auto" and model.prefers_frame_grid)
        stretch = stretch_of(tempo.used_bars, bar_seconds, model.frame_rate, grid=grid)
    rate = options.sample_rate or (model.codec.sample_rate if loop is None else loop.rate)
    frame_seconds = Fraction(1, model.frame_rate)
    return Plan(
        bpm=bpm,
        loop=whole,
        stretch=stretch,
        rate=rate,
        samples=bar_time.bar_samples(options.bars, options.beats_per_bar, bpm, rate),
        bar=bar_time.bar_samples(1, options.beats_per_bar, bpm, rate),
        skip_samples=bar_time.bar_samples(options.intro_bars_to_drop, options.beats_per_bar, bpm, rate),
        frames=-int(-music_seconds * stretch // frame_seconds) + 1 + model.codec.lookahead_frames,
    )


def _whole_bars(loop: Waveform, tempo: TempoEstimate, bpm: Fraction, beats_per_bar: int) -> Waveform:
    """The loop cut, or (by a few samples at most) filled, to its whole bars."""
    if tempo.used_bars < 1:
        raise BadAudio(
            f"The loop is shorter than one bar at {float(bpm):g} bpm.", "Give its tempo with --bpm, or a longer loop."
        )
    length = bar_time.bar_samples(tempo.used_bars, beats_per_bar, bpm, loop.rate)
    samples = loop.stereo().samples[:length]
    missing = length - len(samples)
    if missing > 0:
        samples = np.pad(samples, ((0, missing), (0, 0)))
    return Waveform(samples, loop.rate)


def style_codes(
    model: Model, plan: Plan, options: ContinuationOptions, *, assets: Assets | None = None
) -> NDArray[np.int32] | None:
    """The style that a piece is to have; None for the neutral one.

    Args:
      assets: mean and centroids instead of the model's own.
    """
    listened = plan.loop is not None and options.style.loop_weight > 0
    embedding = style_vector(
        options.style,
        model.style,
        loop=model.style.embed_audio(plan.loop) if listened and plan.loop is not None else None,
        audio=[(model.style.embed_audio(sound), weight) for sound, weight in options.style_audio],
        assets=assets or model.assets,
    )
    return None if embedding is None else model.style.tokenize(embedding)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Take:
    """One finished variation.

    Attributes:
      gain: the one factor that the model's sound was multiplied with before its peaks were limited; None where the
        level was found otherwise (`ContinuationOptions.level_of` "whole").
    """

    waveform: Waveform
    gain: float | None


class Piece:
    """A piece in the making, a row for each seed."""

    def __init__(
        self, model: Model, plan: Plan, options: ContinuationOptions, streams: session.Streams, knobs: session.Knobs
    ) -> None:
        self.model, self.plan, self.options, self.knobs = model, plan, options, knobs
        self.chunks = -(-plan.frames // model.chunk_frames)
        """How many calls make it."""
        self.made = 0
        """How many were fed."""
        self._streams = streams
        self._audio: list[Samples] = []
        self._codes: list[Codes] = []

    @classmethod
    def start(
        cls,
        model: Model,
        plan: Plan,
        options: ContinuationOptions,
        *,
        style: NDArray[np.int32] | None,
        seeds: Sequence[int],
    ) -> Piece:
        """Listens to the loop. Uses the device.

        Args:
          style: see `style_codes`.

        Raises:
          InvalidOption: notes or drums for a model that takes none.
        """
        refuse_unsupported(
            model,
            notes=options.notes,
            drums=options.drums,
            notes_guidance=options.notes_guidance,
            drums_guidance=options.drums_guidance,
        )
        if plan.loop is not None:
            words = beneath.choose(model, options.style, bpm=plan.bpm, beats_per_bar=options.beats_per_bar)
            sound = beneath.loop_and_words(model, plan.loop, words, bpm=plan.bpm, stretch=plan.stretch, end=Fraction(0))
            context = sound_codes(model, sound)
        else:
            context = openings.context(model, options.style, seeds[0], bpm=plan.bpm, stretch=plan.stretch)
        knobs = session.Knobs(
            style=style,
            guidance=model.guidance if options.guidance is None else options.guidance,
            temperature=options.temperature,
            top_k=options.top_k,
            drums=options.drums,
            notes_guidance=options.notes_guidance,
            drums_guidance=options.drums_guidance,
        )
        streams = session.gather([session.start(model, context, seed, knobs) for seed in seeds])
        return cls(model, plan, options, streams, knobs)

    @property
    def complete(self) -> bool:
        """All of it is made."""
        return self.made >= self.chunks

    def call(self) -> tuple[session.Streams, session.Knobs]:
        """What the device is to advance next, by a whole chunk."""
        score = self.options.notes
        if score is None:
            return self._streams, self.knobs
        plan, frames = self.plan, self.model.chunk_frames
        per_beat = self.model.frame_rate * plan.stretch * 60 / plan.bpm
        intro = self.options.intro_bars_to_drop * self.options.beats_per_bar * per_beat
        return self._streams, dataclasses.replace(
            self.knobs, notes=score.roll(self.made * frames - intro, frames, per_beat)
        )

    def feed(self, made: Advance) -> None:
        """Takes in what the device made of the last `call`; of one stream, the axis of rows may be left out."""
        rows = len(self._streams)
        self._streams = made.streams
        self._audio.append(made.samples.reshape(rows, -1, made.samples.shape[-1]))
        self._codes.append(made.codes.reshape(rows, -1, made.codes.shape[-1]))
        self.made += 1

    def codes(self) -> list[Codes]:
        """int32 [frames, levels] of each row, from the first downbeat on."""
        return list(np.concatenate(self._codes, axis=1)[:, : self.plan.frames])

    def finish(self) -> list[Take]:
        """The music, one a row: exactly as long as planned, at its level, after the loop if that was asked for."""
        return [self._take(samples) for samples in np.concatenate(self._audio, axis=1)]

    def _take(self, samples: Samples) -> Take:
        plan, codec = self.plan, self.model.codec
        model_rate = codec.sample_rate * plan.stretch
        # What lags out of the codec first is the end of the context: a lead-in for the resampler and for the join.
        lag = codec.lookahead_frames * codec.frame_samples
        lead = _even_lead(lag, Fraction(plan.rate) / model_rate)
        resampled = resample(samples[lag - lead :], model_rate, plan.rate)
        start = round(lead * Fraction(plan.rate) / model_rate) + plan.skip_samples
        levelled, gain = self._levelled(resampled, start)
        music = _faded(levelled[start : start + plan.samples], round(self.options.fade_seconds * plan.rate))
        if not self.options.include_loop or plan.loop is None:
            return Take(waveform=Waveform(np.ascontiguousarray(music), plan.rate), gain=gain)
        loop_length = round(Fraction(len(plan.loop.samples) * plan.rate, plan.loop.rate))
        loop = resample(plan.loop.samples, plan.loop.rate, plan.rate, length=loop_length)
        joined = _join(loop, levelled[max(start - round(JOIN_SECONDS * plan.rate), 0) : start], music)
        return Take(waveform=Waveform(joined, plan.rate), gain=gain)

    def _levelled(self, samples: Samples, start: int) -> tuple[Samples, float | None]:
        """All samples at the level of the loop, and the gain; the music begins at `start`."""
        plan, options = self.plan, self.options
        if plan.loop is not None and options.level_of == "whole":
            return match(samples, plan.rate, plan.loop, options.loudness), None
        if options.loudness == "none":
            return samples, 1.0
        music = Waveform(samples[start : start + plan.samples], plan.rate)
        if plan.loop is None:
            gain = PEAK / music.peak if music.peak > 0 else 1.0
            return np.asarray(samples * np.float32(gain), np.float32), gain
        bar = plan.loop.cut(0, round(Fraction(plan.bar * plan.loop.rate, plan.rate)))
        ceiling = float(10.0 ** (-max(options.headroom_db, 0.3) / 20))
        gain = levels.first_gain(music, plan.bar, bar, options.loudness, ceiling)
        return levels.levelled(samples, plan.rate, gain, options.loudness, ceiling), gain


def _even_lead(most: int, ratio: Fraction) -> int:
    """The lead-in, at most `most` samples, that falls nearest to a whole sample after resampling by `ratio`."""
    leads = range(most // 2, most + 1)
    return min(leads, key=lambda lead: abs(lead * ratio - round(lead * ratio))) if most else 0


def _faded(music: Samples, n: int) -> Samples:
    """Music whose outer edges rise from and fall to silence over `n` samples each."""
    n = min(n, len(music) // 2)
    if not n:
        return music
    ramp = np.sin(np.linspace(0, np.pi / 2, n, endpoint=False, dtype=np.float32))[:, None] ** 2
    faded = music.copy()
    faded[:n] *= ramp
    faded[-n:] *= ramp[::-1]
    return faded


def _join(loop: NDArray[np.float32], before: NDArray[np.float32], music: NDArray[np.float32]) -> NDArray[np.float32]:
    """The loop, then the music; over the loop's last moments its sound gives way to the codec's own of them."""
    n = min(len(before), len(loop))
    joined = np.concatenate([loop, music]).astype(np.float32)
    if n:
        fade = np.sin(np.linspace(0, np.pi / 2, n, dtype=np.float32))[:, None] ** 2
        joined[len(loop) - n : len(loop)] = loop[-n:] * (1 - fade) + before[-n:] * fade
    return joined

"""A loop in, exactly N bars out: tempo, context, chunks, one continuous decode, exact length, level.

loop -> whole bars -> tiled in time until it fills the context -> codes -> chunk after chunk -> streaming decode
(one waveform, no seams) -> resampled once to the wanted rate -> cut at the exact sample -> level of the loop.
Knows no files and no terminal.
"""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from darius import session
from darius.audio import bars as bar_time
from darius.audio.waveform import Waveform
from darius.context import loop_codes, stretch_of
from darius.devices import memory_errors
from darius.errors import BadAudio, InvalidOption
from darius.style.mix import StyleRequest, style_vector
from darius.tokens import Codes

if TYPE_CHECKING:
    from darius.audio.tempo import TempoEstimate
    from darius.engine import Model

Progress = Callable[[str, float], None]
"""Called with a stage ("listening", "playing", "finishing") and how much of it is done, 0 to 1."""

MAX_SECONDS = 1200.0
RATES = (8000, 192000)
JOIN_SECONDS = 0.02
"""Over how long the loop's own sound gives way to the codec's before the first downbeat, when both are kept."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContinuationOptions:
    """What to play. The defaults are the ones of Magenta RealTime.

    Attributes:
      bars: bars to deliver.
      bpm: tempo, or None to find it.
      beats_per_bar: beats in a bar.
      style: words, the loop's own weight, and a finetune's mean and centroids.
      style_audio: sounds to lean towards, with their weights.
      guidance, temperature, top_k: see `darius.session.Knobs`.
      seed: 32 bits; None draws one, which the result names.
      variations: how many different continuations to play at once.
      loudness: how the level is matched to the loop.
      intro_bars_to_drop: bars to play and throw away before the first that is kept.
      sample_rate: of the result; None for the loop's own.
      include_loop: puts the loop before its continuation.
      timing: "grid" stretches time by at most 0.4 % so that the loop is whole frames, and back; "free" does not;
        "auto" takes what the model was made for.
    """

    bars: int = 8
    bpm: float | None = None
    beats_per_bar: int = 4
    style: StyleRequest = dataclasses.field(default_factory=StyleRequest)
    style_audio: Sequence[tuple[Waveform, float]] = ()
    guidance: float = 5.0
    temperature: float = 1.1
    top_k: int = 40
    seed: int | None = None
    variations: int = 1
    loudness: Literal["auto", "lufs", "rms", "none"] = "auto"
    intro_bars_to_drop: int = 0
    sample_rate: int | None = None
    include_loop: bool = False
    timing: Literal["auto", "grid", "free"] = "auto"

    def check(self) -> None:
        """Raises InvalidOption, naming the first option that is out of range."""
        _within("--bars", self.bars, 1, 1000)
        _within("--beats-per-bar", self.beats_per_bar, 1, 16)
        _within("--variations", self.variations, 1, 64)
        _within("--intro-bars-to-drop", self.intro_bars_to_drop, 0, 64)
        _within("--guidance", self.guidance, 0, 20)
        _within("--temperature", self.temperature, 0, 4)
        _within("--topk", self.top_k, 0, 1024)
        if self.bpm is not None:
            _within("--bpm", self.bpm, 20, 400)
        if self.seed is not None:
            _within("--seed", self.seed, 0, 2**32 - 1)
        if self.sample_rate is not None:
            _within("--sample-rate", self.sample_rate, *RATES)
        for name, value, allowed in (
            ("--loudness", self.loudness, ("auto", "lufs", "rms", "none")),
            ("--timing", self.timing, ("auto", "grid", "free")),
        ):
            if value not in allowed:
                raise InvalidOption(f"{name} cannot be '{value}'.", f"Choose one of: {', '.join(allowed)}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Continuation:
    """What was played.

    Attributes:
      waveforms: one a variation, each exactly `samples` long (plus the loop, if it was to be included).
      samples: round(bars * beats_per_bar * 60 / bpm * rate).
      loop_samples: how many samples at the front are the loop's (0 if it was not included).
      bpm: the tempo that was kept.
      tempo: how the tempo was found.
      seeds: one a variation.
      codes: int32 [frames, levels], one a variation, from the first kept downbeat on.
      seconds: wall-clock seconds by stage.
      notes: sentences worth telling ("the loop is not cut to whole bars: ...").
    """

    waveforms: tuple[Waveform, ...]
    samples: int
    loop_samples: int
    bars: int
    beats_per_bar: int
    bpm: Fraction
    tempo: TempoEstimate
    seeds: tuple[int, ...]
    codes: tuple[Codes, ...]
    seconds: dict[str, float]
    notes: tuple[str, ...]

    @property
    def real_time_factor(self) -> float:
        """Seconds of music made per second of work, all variations together."""
        made = self.samples / self.waveforms[0].rate * len(self.waveforms)
        return made / max(sum(self.seconds.values()), 1e-9)

    def save(
        self, path: str | Path, *, variation: int = 0, overwrite: bool = False, subtype: str | None = None
    ) -> None:
        """Writes one variation with its tempo; the format follows the file's ending."""
        from darius.audio import files

        waveform = self.waveforms[variation]
        files.save(
            path,
            waveform,
            tempo=float(self.bpm),
            beats=round(waveform.duration * float(self.bpm) / 60),
            beats_per_bar=self.beats_per_bar,
            subtype=subtype,
            overwrite=overwrite,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Plan:
    """One continuation's arithmetic: everything that is decided before a model runs."""

    bpm: Fraction
    loop: Waveform  # whole bars, stereo, at the loop's own rate
    stretch: Fraction  # model seconds per second of music
    rate: int
    samples: int
    skip_samples: int  # intro bars, at the output rate
    frames: int  # to generate, lookahead included


def continue_loop(
    model: Model,
    loop: Waveform,
    options: ContinuationOptions,
    *,
    tempo: TempoEstimate | None = None,
    progress: Progress | None = None,
) -> Continuation:
    """Continues `loop` by exactly `options.bars` bars; the first sample is the downbeat after the loop.

    Args:
      model: what plays.
      loop: any rate, mono or stereo.
      options: what to play.
      tempo: the loop's tempo if it was found already; `options.bpm` or the sound itself tells it otherwise.
      progress: told of each stage.

    Raises:
      InvalidOption: an option is out of range.
      BadAudio: the loop is shorter than a bar, or no tempo can be found in it.
    """
    from darius.audio.tempo import find_tempo

    options.check()
    report = progress or (lambda stage, done: None)
    clock = _Stopwatch()
    report("listening", 0.0)
    tempo = tempo or find_tempo(loop, beats_per_bar=options.beats_per_bar, bpm=options.bpm)
    plan = _plan(model, loop, tempo, options)
    with memory_errors("listening to the loop"):
        style = _style_codes(model, plan.loop, options)
        context = loop_codes(model, plan.loop, stretch=plan.stretch, end=Fraction(0))
    clock.lap("listening")
    report("listening", 1.0)

    seed = secrets.randbits(32) if options.seed is None else options.seed
    seeds = tuple((seed + i) % 2**32 for i in range(options.variations))
    knobs = session.Knobs(style=style, guidance=options.guidance, temperature=options.temperature, top_k=options.top_k)
    with memory_errors("playing"):
        audio, codes = _play(model, context, knobs, seeds, plan.frames, report)
    clock.lap("playing")

    report("finishing", 0.0)
    waveforms = tuple(_finish(model, plan, options, samples) for samples in audio)
    clock.lap("finishing")
    report("finishing", 1.0)
    return Continuation(
        waveforms=waveforms,
        samples=plan.samples,
        loop_samples=len(waveforms[0].samples) - plan.samples,
        bars=options.bars,
        beats_per_bar=options.beats_per_bar,
        bpm=plan.bpm,
        tempo=tempo,
        seeds=seeds,
        codes=tuple(codes),
        seconds=clock.laps,
        notes=_notes(loop, plan, tempo, options),
    )


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:  # also refuses NaN
        raise InvalidOption(f"{name} cannot be {value:g}.", f"Choose a value from {least:g} to {most:g}.")


def _plan(model: Model, loop: Waveform, tempo: TempoEstimate, options: ContinuationOptions) -> _Plan:
    bpm = bar_time.exact_bpm(tempo.bpm)
    bar_seconds = bar_time.bar_seconds(1, options.beats_per_bar, bpm)
    music_seconds = (options.bars + options.intro_bars_to_drop) * bar_seconds
    if music_seconds > MAX_SECONDS:
        raise InvalidOption(
            f"{options.bars} bars at {float(bpm):g} bpm last {float(music_seconds) / 60:.0f} minutes.",
            f"Ask for at most {int(MAX_SECONDS / bar_seconds)} bars at a time.",
        )
    if tempo.used_bars < 1:
        raise BadAudio(
            f"The loop is shorter than one bar at {float(bpm):g} bpm.", "Give its tempo with --bpm, or a longer loop."
        )
    length = bar_time.bar_samples(tempo.used_bars, options.beats_per_bar, bpm, loop.rate)
    whole = _whole_bars(loop.stereo(), length)

    grid = options.timing == "grid" or (options.timing == "auto" and model.prefers_frame_grid)
    stretch = stretch_of(tempo.used_bars, bar_seconds, model.frame_rate, grid=grid)
    rate = options.sample_rate or loop.rate
    frame_seconds = Fraction(1, model.frame_rate)
    return _Plan(
        bpm=bpm,
        loop=whole,
        stretch=stretch,
        rate=rate,
        samples=bar_time.bar_samples(options.bars, options.beats_per_bar, bpm, rate),
        skip_samples=bar_time.bar_samples(options.intro_bars_to_drop, options.beats_per_bar, bpm, rate),
        frames=-int(-music_seconds * stretch // frame_seconds) + 1 + model.codec.lookahead_frames,
    )


def _whole_bars(loop: Waveform, length: int) -> Waveform:
    """The loop cut, or (by a few samples at most) filled, to `length` samples."""
    samples = loop.samples[:length]
    missing = length - len(samples)
    if missing > 0:
        samples = np.pad(samples, ((0, missing), (0, 0)))
    return Waveform(samples, loop.rate)


def _style_codes(model: Model, loop: Waveform, options: ContinuationOptions) -> NDArray[np.int32] | None:
    listened = options.style.loop_weight > 0
    embedding = style_vector(
        options.style,
        model.style,
        loop=model.style.embed_audio(loop) if listened else None,
        audio=[(model.style.embed_audio(sound), weight) for sound, weight in options.style_audio],
        assets=model.assets,
    )
    return None if embedding is None else model.style.tokenize(embedding)


def _play(
    model: Model, context: Codes, knobs: session.Knobs, seeds: Sequence[int], frames: int, report: Progress
) -> tuple[list[NDArray[np.float32]], list[Codes]]:
    """`frames` frames for each seed: samples float32 [frames * frame_samples, 2] and codes [frames, levels] each."""
    streams = session.gather([session.start(model, context, seed, knobs) for seed in seeds])
    chunks = -(-frames // model.chunk_frames)
    audio, codes = [], []
    for i in range(chunks):
        report("playing", i / chunks)
        samples, chunk_codes, streams = session.advance(model, streams, [knobs] * len(seeds))
        audio.append(samples)
        codes.append(chunk_codes)
    report("playing", 1.0)
    return list(np.concatenate(audio, axis=1)), list(np.concatenate(codes, axis=1)[:, :frames])


def _finish(model: Model, plan: _Plan, options: ContinuationOptions, samples: NDArray[np.float32]) -> Waveform:
    """Model audio to exactly `plan.samples` at the output rate, at the loop's level, after the loop if asked for."""
    from darius.audio.loudness import match
    from darius.audio.resample import resample

    model_rate = model.codec.sample_rate * plan.stretch
    # What lags out of the codec first is the end of the context: a lead-in for the resampler and for the join.
    lag = model.codec.lookahead_frames * model.codec.frame_samples
    lead = _even_lead(lag, Fraction(plan.rate) / model_rate)
    resampled = resample(samples[lag - lead :], model_rate, plan.rate)
    downbeat = round(lead * Fraction(plan.rate) / model_rate)
    levelled = match(resampled, plan.rate, plan.loop, options.loudness)
    start = downbeat + plan.skip_samples
    music = levelled[start : start + plan.samples]
    if not options.include_loop:
        return Waveform(np.ascontiguousarray(music), plan.rate)
    loop_length = round(Fraction(len(plan.loop.samples) * plan.rate, plan.loop.rate))
    loop = resample(plan.loop.samples, plan.loop.rate, plan.rate, length=loop_length)
    joined = _join(loop, levelled[max(start - round(JOIN_SECONDS * plan.rate), 0) : start], music)
    return Waveform(joined, plan.rate)


def _even_lead(most: int, ratio: Fraction) -> int:
    """The lead-in, at most `most` samples, that falls nearest to a whole sample after resampling by `ratio`."""
    leads = range(most // 2, most + 1)
    return min(leads, key=lambda lead: abs(lead * ratio - round(lead * ratio))) if most else 0


def _join(loop: NDArray[np.float32], before: NDArray[np.float32], music: NDArray[np.float32]) -> NDArray[np.float32]:
    """The loop, then the music; over the loop's last moments its sound gives way to the codec's own of them."""
    n = min(len(before), len(loop))
    joined = np.concatenate([loop, music]).astype(np.float32)
    if n:
        fade = np.sin(np.linspace(0, np.pi / 2, n, dtype=np.float32))[:, None] ** 2
        joined[len(loop) - n : len(loop)] = loop[-n:] * (1 - fade) + before[-n:] * fade
    return joined


def _notes(loop: Waveform, plan: _Plan, tempo: TempoEstimate, options: ContinuationOptions) -> tuple[str, ...]:
    notes = []
    if not tempo.whole:
        used = len(plan.loop.samples) / plan.loop.rate
        notes.append(
            f"The loop ({loop.duration:.2f} s) is not cut to whole bars at {float(plan.bpm):g} bpm; "
            f"its first {tempo.used_bars} bars ({used:.2f} s) are used."
        )
    if options.bpm is None and tempo.confidence < 0.3:
        notes.append(f"The tempo {float(plan.bpm):g} bpm is a guess; give the right one with --bpm.")
    return tuple(notes)


class _Stopwatch:
    """Seconds by stage, in the order of the laps."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.laps[stage], self._last = now - self._last, now

"""A loop in, exactly N bars out: tempo, context, chunks, one continuous decode, exact length, level.

loop -> whole bars -> tiled in time until it fills the context -> codes -> chunk after chunk -> streaming decode
(one waveform, no seams) -> resampled once to the wanted rate -> cut at the exact sample -> level of the loop.
Knows no files and no terminal. How a piece is made is in `darius.piece`; this drives one on a device of its own.
"""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from darius import piece, session
from darius.audio.bars import Bpm, exact_bpm
from darius.audio.waveform import Waveform
from darius.batching.requests import Advance
from darius.devices import memory_errors
from darius.errors import InvalidOption
from darius.style.mix import StyleRequest
from darius.tokens import Codes

if TYPE_CHECKING:
    from darius.audio.tempo import TempoEstimate
    from darius.engine import Model
    from darius.notes import Score

Progress = Callable[[str, float], None]
"""Called with a stage ("listening", "playing", "finishing") and how much of it is done, 0 to 1."""

RATES = (8000, 192000)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContinuationOptions:
    """What to play. The defaults are the ones of Magenta RealTime.

    Attributes:
      bars: bars to deliver.
      bpm: tempo, or None to find it.
      beats_per_bar: beats in a bar.
      style: words, the loop's own weight, and a finetune's mean and centroids.
      style_audio: sounds to lean towards, with their weights.
      guidance: see `darius.session.Knobs`; None for the model's own.
      temperature, top_k: see there too.
      seed: 32 bits; None draws one, which the result names.
      variations: how many different continuations to play at once.
      loudness: how the level is matched to the loop.
      level_of: what is compared: all of the music and the loop, or the first bar of each, whose gain then holds for
        all ("none" then changes nothing at all).
      headroom_db: with "first bar", peaks stay this far below full scale.
      fade_seconds: fades at the outer edges.
      intro_bars_to_drop: bars to play and throw away before the first that is kept.
      sample_rate: of the result; None for the loop's own.
      include_loop: puts the loop before its continuation.
      timing: "grid" stretches time by at most 0.4 % so that the loop is whole frames, and back; "free" does not;
        "auto" takes what the model was made for.
      notes: a score whose first beat is the first downbeat kept, for models that take notes.
      drums: whether drums are to play, for models that can be told; None for the model's choice.
      notes_guidance, drums_guidance: how strictly those two are followed, -1 to 7; None for the model's own.
    """

    bars: int = 8
    bpm: Bpm | None = None
    beats_per_bar: int = 4
    style: StyleRequest = dataclasses.field(default_factory=StyleRequest)
    style_audio: Sequence[tuple[Waveform, float]] = ()
    guidance: float | None = None
    temperature: float = 1.1
    top_k: int = 40
    seed: int | None = None
    variations: int = 1
    loudness: Literal["auto", "lufs", "rms", "none"] = "auto"
    level_of: Literal["whole", "first bar"] = "whole"
    headroom_db: float = 0.3
    fade_seconds: float = 0.0
    intro_bars_to_drop: int = 0
    sample_rate: int | None = None
    include_loop: bool = False
    timing: Literal["auto", "grid", "free"] = "auto"
    notes: Score | None = None
    drums: bool | None = None
    notes_guidance: float | None = None
    drums_guidance: float | None = None

    def check(self) -> None:
        """Raises InvalidOption, naming the first option that is out of range."""
        _within("--bars", self.bars, 1, 1000)
        _within("--beats-per-bar", self.beats_per_bar, 1, 16)
        _within("--variations", self.variations, 1, 64)
        _within("--intro-bars-to-drop", self.intro_bars_to_drop, 0, 64)
        if self.guidance is not None:
            _within("--guidance", self.guidance, 0, 20)
        _within("--temperature", self.temperature, 0, 10)
        _within("--topk", self.top_k, 0, 1024)
        if self.bpm is not None:
            exact_bpm(self.bpm)
        if self.seed is not None:
            _within("--seed", self.seed, 0, 2**32 - 1)
        for name, scale in (("--guidance-notes", self.notes_guidance), ("--guidance-drums", self.drums_guidance)):
            if scale is not None:
                _within(name, scale, -1, 7)
        _within("headroom_db", self.headroom_db, 0, 24)
        _within("fade_seconds", self.fade_seconds, 0, 1)
        if self.sample_rate is not None:
            _within("--sample-rate", self.sample_rate, *RATES)
        for name, value, allowed in (
            ("--loudness", self.loudness, ("auto", "lufs", "rms", "none")),
            ("--timing", self.timing, ("auto", "grid", "free")),
            ("level_of", self.level_of, ("whole", "first bar")),
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
    plan = piece.plan(model, options, loop=loop, tempo=tempo)
    seed = secrets.randbits(32) if options.seed is None else options.seed
    seeds = tuple((seed + i) % 2**32 for i in range(options.variations))
    with memory_errors("listening to the loop"):
        style = piece.style_codes(model, plan, options)
        playing = piece.Piece.start(model, plan, options, style=style, seeds=seeds)
    clock.lap("listening")
    report("listening", 1.0)

    with memory_errors("playing"):
        while not playing.complete:
            report("playing", playing.made / playing.chunks)
            streams, knobs = playing.call()
            playing.feed(Advance(*session.advance(model, streams, [knobs] * len(seeds))))
    report("playing", 1.0)
    clock.lap("playing")

    report("finishing", 0.0)
    waveforms = tuple(take.waveform for take in playing.finish())
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
        codes=tuple(playing.codes()),
        seconds=clock.laps,
        notes=_notes(loop, plan, tempo, options),
    )


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:  # also refuses NaN
        raise InvalidOption(f"{name} cannot be {value:g}.", f"Choose a value from {least:g} to {most:g}.")


def _notes(loop: Waveform, plan: piece.Plan, tempo: TempoEstimate, options: ContinuationOptions) -> tuple[str, ...]:
    notes = []
    if not tempo.whole:
        used = tempo.used_bars / tempo.bars * loop.duration
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

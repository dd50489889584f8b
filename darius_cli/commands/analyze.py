"""`darius analyze LOOP`: what Darius hears in a loop: length, level, tempo, bars."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from darius_cli import output

if TYPE_CHECKING:
    from darius.audio.candidates import TempoCandidate
    from darius.audio.loudness import Level
    from darius.audio.tempo import TempoEstimate
    from darius.audio.waveform import Waveform


def analyze(
    loop: Annotated[Path, typer.Argument(help="The loop: WAV, FLAC, OGG, MP3 or AIFF.", metavar="LOOP")],
    bpm: Annotated[float | None, typer.Option(help="Tempo, if you know it: then only the bars are counted.")] = None,
    beats_per_bar: Annotated[int, typer.Option(help="Beats in a bar.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Tell a loop's length, level, tempo and bars, and how sure that is.

    darius analyze loop.wav
    """
    from darius.audio import files, loudness
    from darius.audio.tempo import find_tempo

    waveform = files.load(loop)
    tempo = find_tempo(waveform, path=loop, beats_per_bar=beats_per_bar, bpm=bpm)
    level = loudness.measure(waveform)
    output.show(
        summary(loop, waveform, level, tempo), as_json=as_json, human=lambda: _tell(loop, waveform, level, tempo)
    )


def summary(loop: Path, waveform: Waveform, level: Level, tempo: TempoEstimate) -> dict[str, Any]:
    """The JSON object: plain numbers, null where something cannot be measured."""
    return {
        "file": str(loop),
        "seconds": round(waveform.duration, 6),
        "samples": len(waveform),
        "sample_rate": waveform.rate,
        "channels": waveform.channels,
        **level_summary(level),
        "bpm": round(float(tempo.bpm), 4),
        "exact_bpm": round(float(tempo.exact_bpm), 4),
        "confidence": tempo.confidence,
        "source": tempo.source,
        "beats_per_bar": tempo.beats_per_bar,
        "bars": round(tempo.bars, 4),
        "whole_bars": tempo.whole,
        "used_bars": tempo.used_bars,
        "candidates": [_candidate(candidate) for candidate in tempo.candidates],
    }


def level_summary(level: Level) -> dict[str, float | None]:
    """Levels in dB relative to full scale, for JSON."""
    return {
        "lufs": _number(level.lufs),
        "rms_db": _number(level.rms_db),
        "peak_db": _number(level.peak_db),
    }


def _candidate(candidate: TempoCandidate) -> dict[str, Any]:
    return {
        "bpm": round(float(candidate.bpm), 4),
        "bars": round(candidate.bars, 4),
        "whole_bars": candidate.whole,
        "fit": candidate.fit,
    }


def _number(value: float | None) -> float | None:
    return round(value, 2) if value is not None and math.isfinite(value) else None


def _tell(loop: Path, waveform: Waveform, level: Level, tempo: TempoEstimate) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column()
    channels = {1: "mono", 2: "stereo"}.get(waveform.channels, f"{waveform.channels} channels")
    loudness = "too short or quiet for LUFS" if level.lufs is None else f"{level.lufs:.1f} LUFS"
    for name, value in (
        ("loop", loop.name),
        ("length", f"{waveform.duration:.3f} s, {len(waveform):,} samples"),
        ("format", f"{waveform.rate:,} Hz, {channels}"),
        ("level", f"{loudness}, RMS {level.rms_db:.1f} dB, peak {level.peak_db:.1f} dB"),
        ("tempo", _tempo_words(tempo)),
        ("bars", _bar_words(tempo)),
        ("also fits", ", ".join(_also(tempo)) or "nothing else"),
    ):
        table.add_row(name, value)
    Console(highlight=False).print(table)


def _tempo_words(tempo: TempoEstimate) -> str:
    how = "as given" if tempo.source == "given" else f"{tempo.confidence:.0%} sure, by its {tempo.source}"
    off = abs(tempo.exact_bpm / tempo.bpm - 1) > 1e-5
    return f"{float(tempo.bpm):.6g} bpm ({how}{f'; {float(tempo.exact_bpm):.2f} by its exact length' if off else ''})"


def _bar_words(tempo: TempoEstimate) -> str:
    count = f"{tempo.used_bars} bar{'' if tempo.used_bars == 1 else 's'} of {tempo.beats_per_bar} beats"
    if tempo.whole:
        return f"{count}, cut to whole bars"
    return f"{tempo.bars:.2f}: not cut to whole bars; the first {count} would be used"


def _also(tempo: TempoEstimate) -> list[str]:
    """The next candidates at least a third as good as the best."""
    others = [c for c in tempo.candidates if abs(c.bpm / tempo.bpm - 1) > 0.01]
    least = tempo.candidates[0].fit / 3 if tempo.candidates else 0.0
    return [f"{float(c.bpm):.5g} bpm ({c.bars:.3g} bars)" for c in others[:3] if c.fit >= least]

"""`darius jam LOOP`: music that goes on from a loop without an end, steered by typing while it plays."""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from darius.errors import DariusError, MissingDependency

if TYPE_CHECKING:
    from darius.audio.tempo import TempoEstimate
    from darius.audio.waveform import Samples
    from darius_cli.jamming.outlets import Outlet
    from darius_cli.jamming.sources import Source, Wish

SLOW_AFTER = 3
"""Chunks after which the pace is known."""


def jam(
    loop: Annotated[Path, typer.Argument(help="The loop to go on from: WAV, FLAC, OGG, MP3 or AIFF.", metavar="LOOP")],
    bars: Annotated[int | None, typer.Option(help="End after so many bars.", min=1)] = None,
    seconds: Annotated[float | None, typer.Option(help="End after so many seconds of music.", min=0.1)] = None,
    bpm: Annotated[float | None, typer.Option(help="Tempo of the loop. Found by itself if not given.")] = None,
    beats_per_bar: Annotated[int, typer.Option(help="Beats in a bar.")] = 4,
    bars_per_chunk: Annotated[int, typer.Option(help="Bars made at once; fewer obey sooner.", min=1, max=64)] = 1,
    style: Annotated[
        list[str] | None,
        typer.Option(help="Words to lean towards, with a weight: 'acid house:1.0'. Repeatable.", show_default=False),
    ] = None,
    loop_weight: Annotated[float, typer.Option(help="How much the loop's own style counts.", min=0)] = 1.0,
    guidance: Annotated[float, typer.Option(help="How strictly the style is followed.", min=0, max=10)] = 1.1,
    temperature: Annotated[float, typer.Option(help="How adventurous.", min=0, max=10)] = 1.1,
    topk: Annotated[int, typer.Option(help="Codes to choose among at each step; 0 for all.", min=0, max=1024)] = 40,
    seed: Annotated[
        int | None, typer.Option(help="The same seed gives the same music. Drawn if not given.", min=0, max=2**32 - 1)
    ] = None,
    loudness: Annotated[str, typer.Option(help="How the level is matched: auto, lufs, rms, none.")] = "auto",
    model: Annotated[str, typer.Option(help="What plays, unless a server does. See: darius models list")] = "tiny",
    device: Annotated[str, typer.Option(help="auto, cpu, gpu, or gpu:1.")] = "auto",
    server: Annotated[str | None, typer.Option(help="A Darius server that plays instead: http://host:7860")] = None,
    api_key: Annotated[str, typer.Option(help="The server's key.", envvar="DARIUS_API_KEY", show_default=False)] = "",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Also write to this file (.wav .flac .ogg).")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the output if it exists.")] = False,
    mute: Annotated[bool, typer.Option("--mute", help="Only write, as fast as it goes; nothing is heard.")] = False,
) -> None:
    """Jam with a loop: hear it go on, and steer by typing words and knobs while it plays.

    darius jam loop.wav --style "dub techno"

    darius jam loop.wav --bars 32 --mute --out long.wav

    darius jam loop.wav --server http://studio:7860
    """
    from darius.audio import files
    from darius.audio.tempo import find_tempo
    from darius.style.mix import parse
    from darius_cli.jamming.sources import Wish

    waveform = files.load(loop)
    tempo = find_tempo(waveform, path=loop, beats_per_bar=beats_per_bar, bpm=bpm)
    wish = Wish(
        bpm=f"{float(tempo.bpm):.10g}",
        beats_per_bar=beats_per_bar,
        bars_per_chunk=bars_per_chunk,
        rate=waveform.rate,
        seed=secrets.randbits(32) if seed is None else seed,
        loudness=loudness,
        styles=tuple(map(parse, style or ())),
        loop_weight=loop_weight,
        temperature=temperature,
        top_k=topk,
        guidance=guidance,
    )
    most = _most_samples(wish, bars, seconds)
    with contextlib.ExitStack() as stack:
        speaker = None if mute else _speaker(waveform.rate)
        outlets, path = _outlets(speaker, loop, out, wish, force, most, stack)
        source = _source(loop, wish, server=server, api_key=api_key, model=model, device=device)
        stack.callback(source.close)
        typer.echo(_greeting(tempo, wish, outlets), err=True)
        session = Session(source=source, loop=loop, wish=wish, heard=speaker is not None)
        made, took = session.play(outlets, most)
    _farewell(wish, made, took, path)


def _most_samples(wish: Wish, bars: int | None, seconds: float | None) -> int | None:
    from darius.audio.bars import bar_samples

    limits = []
    if bars is not None:
        limits.append(bar_samples(bars, wish.beats_per_bar, wish.bpm, wish.rate))
    if seconds is not None:
        limits.append(round(seconds * wish.rate))
    return min(limits, default=None)


def _speaker(rate: int) -> Outlet | None:
    from darius_cli.jamming import outlets

    found = outlets.loudspeaker(rate)
    return None if found is None else outlets.Background(found, rate)


def _outlets(
    speaker: Outlet | None,
    loop: Path,
    out: Path | None,
    wish: Wish,
    force: bool,
    most: int | None,
    stack: contextlib.ExitStack,
) -> tuple[list[Outlet], Path | None]:
    """What is heard and what is written. Without a loudspeaker a file is written, which needs an end."""
    from darius.audio import files
    from darius_cli.jamming import outlets

    if speaker is None and most is None:
        raise MissingDependency(
            "Nothing here can play sound, so the music goes to a file and needs an end.",
            "Say how long: --bars 32. To hear it: pip install 'darius[play]', or install ffplay.",
        )
    path = out if out is not None or speaker is not None else Path(f"{loop.stem}_darius_jam_{wish.bpm}bpm.wav")
    if path is None:
        return [speaker] if speaker else [], None
    files.check_output(path, overwrite=force, suffixes=(".wav", ".flac", ".ogg"))
    written: list[Outlet] = [stack.enter_context(outlets.opened(path, wish.rate))]
    return written + ([speaker] if speaker else []), path


def _source(loop: Path, wish: Wish, *, server: str | None, api_key: str, model: str, device: str) -> Source:
    from darius_cli.jamming import sources

    if server is not None:
        return sources.OnServer(server, loop, wish, api_key=api_key)
    from darius.audio import files
    from darius.model import load

    return sources.OwnModel(load(model, device=device), files.load(loop), wish)


@dataclasses.dataclass
class Session:
    """One jam from its first chunk to its end; the keyboard's thread changes `wish`, the main one plays."""

    source: Source
    loop: Path
    wish: Wish
    heard: bool
    ended: threading.Event = dataclasses.field(default_factory=threading.Event)
    seconds_made: float = 0.0
    first_made: float = 0.0  # of these, for the first chunk, which compiles

    def play(self, outlets: list[Outlet], most: int | None) -> tuple[int, float]:
        """Plays until the limit, "quit" or Ctrl-C; samples handed out and seconds that making them took."""
        threading.Thread(target=self._listen, name="darius-keyboard", daemon=True).start()
        done, finished = 0, False
        try:
            for samples in self._chunks():
                piece = samples if most is None else samples[: most - done]
                done += len(piece)
                for outlet in outlets:
                    outlet.write(piece)
                if done == most:
                    finished = True
                    break
        except KeyboardInterrupt:
            typer.echo(err=True)  # after the ^C
        finally:
            for outlet in outlets:
                outlet.close(now=not finished)
        return done, self.seconds_made

    def _chunks(self) -> Iterator[Samples]:
        count = 0
        while not self.ended.is_set():
            began = time.perf_counter()
            samples = self.source.chunk()
            self.seconds_made += time.perf_counter() - began
            count += 1
            if count == 1:
                self.first_made = self.seconds_made
            elif count == SLOW_AFTER and self.heard:
                self._warn_if_slow((count - 1) * len(samples) / self.wish.rate)
            yield samples

    def _warn_if_slow(self, music: float) -> None:
        pace = music / (self.seconds_made - self.first_made)
        if pace < 1:
            typer.secho(
                f"  {pace:.1f}x real time: it is heard faster than it is made, so there will be pauses. "
                "--mute --out FILE writes it without.",
                fg=typer.colors.YELLOW,
                err=True,
            )

    def _listen(self) -> None:
        """Obeys what is typed, line by line, until the input ends."""
        with contextlib.suppress(ValueError):  # the input was closed
            for line in sys.stdin:
                try:
                    self._obey(line)
                except DariusError as error:
                    typer.secho(f"  {error}", fg=typer.colors.RED, err=True)
                if self.ended.is_set():
                    return

    def _obey(self, line: str) -> None:
        from darius_cli.jamming import typed

        meant = typed.understand(line)
        if meant == "help":
            typer.echo(typed.HELP, err=True)
        elif meant == "quit":
            self.ended.set()
        elif isinstance(meant, typed.Reseed):
            self.source.reseed(meant.loop or self.loop)
            typer.echo(f"  on from {(meant.loop or self.loop).name}", err=True)
        elif isinstance(meant, typed.Change):
            self.wish = self.wish.turned(meant)
            self.source.update(self.wish)
            typer.echo(f"  {_knobs(self.wish)}", err=True)


def _knobs(wish: Wish) -> str:
    words = ", ".join(f"{text}:{weight:g}" for text, weight in wish.styles) or "no words"
    return (
        f"{words} | loop {wish.loop_weight:g} | temperature {wish.temperature:g} | topk {wish.top_k} | "
        f"guidance {wish.guidance:g}"
    )


def _greeting(tempo: TempoEstimate, wish: Wish, outlets: list[Outlet]) -> str:
    where = " and ".join(outlet.name for outlet in outlets)
    return (
        f"Playing on {where} at {wish.bpm} bpm ({tempo.source}), seed {wish.seed}. "
        f"Type words to steer, ? for help, q to end.\n  {_knobs(wish)}"
    )


def _farewell(wish: Wish, made: int, took: float, path: Path | None) -> None:
    seconds = made / wish.rate
    bars = seconds * float(wish.bpm) / 60 / wish.beats_per_bar
    pace = f", made at {seconds / took:.1f}x real time" if took and made else ""
    if path is not None:
        typer.secho(str(path), bold=True)
    typer.echo(f"  {bars:.4g} bars of {wish.beats_per_bar} at {wish.bpm} bpm: {made} samples, {seconds:.2f} s{pace}")

"""`darius generate LOOP`: continues a loop by exactly N bars."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from darius.errors import InvalidOption
from darius_cli import output
from darius_cli.commands import analyze

if TYPE_CHECKING:
    from darius.continuation import Continuation, ContinuationOptions
    from darius.engine import Model

STAGES = {"loading": "Loading", "listening": "Listening", "playing": "Playing", "finishing": "Finishing"}


def generate(
    loop: Annotated[Path, typer.Argument(help="The loop to continue: WAV, FLAC, OGG, MP3 or AIFF.", metavar="LOOP")],
    bars: Annotated[int, typer.Option(help="Bars to play.")] = 8,
    bpm: Annotated[float | None, typer.Option(help="Tempo of the loop. Found by itself if not given.")] = None,
    beats_per_bar: Annotated[int, typer.Option(help="Beats in a bar.")] = 4,
    style: Annotated[
        list[str] | None,
        typer.Option(help="Words to lean towards, with a weight: 'acid house:1.0'. Repeatable.", show_default=False),
    ] = None,
    style_audio: Annotated[
        list[str] | None,
        typer.Option(
            help="A sound file to lean towards, with a weight: 'ref.wav:0.5'. Repeatable.", show_default=False
        ),
    ] = None,
    loop_weight: Annotated[float, typer.Option(help="How much the loop's own style counts.")] = 1.0,
    mean: Annotated[float, typer.Option(help="Weight of a finetune's mean style.")] = 0.0,
    centroid: Annotated[
        list[float] | None,
        typer.Option(
            help="Weight of a finetune's next style centroid. Repeatable, in their order.", show_default=False
        ),
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(
            help="How strictly the style is followed; 0 is freest and fastest. Default: the model's own (5; tiny: 0)",
            show_default=False,
        ),
    ] = None,
    temperature: Annotated[float, typer.Option(help="How adventurous: 0 always takes the likeliest code.")] = 1.1,
    topk: Annotated[int, typer.Option(help="Codes to choose among at each step; 0 for all.")] = 40,
    notes: Annotated[
        Path | None, typer.Option(help="A MIDI file to play from the first downbeat on; mrt2-small and mrt2-base only.")
    ] = None,
    drums: Annotated[str, typer.Option(help="on, off, or auto: as the model likes; mrt2-* only.")] = "auto",
    guidance_notes: Annotated[
        float | None, typer.Option(help="How strictly notes are followed, -1 to 7; mrt2-* only.", show_default=False)
    ] = None,
    guidance_drums: Annotated[
        float | None, typer.Option(help="How strictly --drums is followed, -1 to 7; mrt2-* only.", show_default=False)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same music. Drawn if not given.")] = None,
    variations: Annotated[int, typer.Option(help="How many different continuations to play at once.")] = 1,
    model: Annotated[
        str,
        typer.Option(
            help="tiny, base, large, mrt2-small, mrt2-base, a folder, an archive, or hf:user/repo. "
            "See: darius models list"
        ),
    ] = "tiny",
    device: Annotated[str, typer.Option(help="auto, cpu, gpu, or gpu:1.")] = "auto",
    memory_limit: Annotated[str, typer.Option(help="Refuse what would take more of the device, such as 6G.")] = "",
    loudness: Annotated[
        str, typer.Option(help="How the level is matched to the loop: auto, lufs, rms, none.")
    ] = "auto",
    intro_bars_to_drop: Annotated[int, typer.Option(help="Bars to play and throw away before the first kept.")] = 0,
    sample_rate: Annotated[int | None, typer.Option(help="Of the result, in Hz. The loop's own if not given.")] = None,
    timing: Annotated[
        str, typer.Option(help="grid: bars fitted to whole frames inside the model; free: not; auto: the model's best.")
    ] = "auto",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File (.wav .flac .ogg .mp3) or folder. Named after the loop.")
    ] = None,
    bits: Annotated[str, typer.Option(help="Sample format of a WAV: float (32 bits) or 24.")] = "float",
    force: Annotated[bool, typer.Option("--force", help="Replace the output if it exists.")] = False,
    include_loop: Annotated[bool, typer.Option("--include-loop", help="Put the loop before its continuation.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw waveform, bar lines and mel spectrogram to this PNG.")] = None,
    play: Annotated[bool, typer.Option("--play", help="Play the result when it is done.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of words.")] = False,
) -> None:
    """Continue a loop by exactly N bars, in its tempo and at its level.

    darius generate loop.wav --bars 8

    darius generate loop.wav --style "acid house:1.0" --loop-weight 0.5 --variations 3
    """
    from darius import memory, warming
    from darius.audio import files
    from darius.audio.loudness import get_ready, measure
    from darius.audio.tempo import find_tempo
    from darius.continuation import ContinuationOptions, continue_loop
    from darius.model import load
    from darius.notes import read_midi
    from darius.style.mix import StyleRequest, parse

    options = ContinuationOptions(
        bars=bars,
        bpm=bpm,
        beats_per_bar=beats_per_bar,
        style=StyleRequest(
            texts=tuple(parse(words) for words in style or ()),
            loop_weight=loop_weight,
            mean=mean,
            centroids=tuple(centroid or ()),
        ),
        style_audio=[(files.load(name), weight) for name, weight in map(parse, style_audio or ())],
        guidance=guidance,
        temperature=temperature,
        top_k=topk,
        seed=seed,
        variations=variations,
        loudness=loudness,  # type: ignore[arg-type]  # check() refuses anything else with a sentence
        intro_bars_to_drop=intro_bars_to_drop,
        sample_rate=sample_rate,
        include_loop=include_loop,
        timing=timing,  # type: ignore[arg-type]
        notes=None if notes is None else read_midi(notes, beats_per_bar=beats_per_bar),
        drums=_drums(drums),
        notes_guidance=guidance_notes,
        drums_guidance=guidance_drums,
    )
    options.check()
    subtype = _subtype(bits)
    get_ready()
    waveform = files.load(loop)
    tempo = find_tempo(waveform, path=loop, beats_per_bar=beats_per_bar, bpm=bpm)
    paths = _output_paths(loop, out, options, float(tempo.bpm))
    for path in paths:
        files.check_output(path, overwrite=force)  # before any time is spent on playing
    if plot is not None:
        files.check_output(plot, overwrite=force, suffixes=(".png",))

    music_seconds = bars * beats_per_bar * 60 / float(tempo.bpm) * variations
    with output.stages(STAGES, quiet=as_json, music_seconds=music_seconds) as report:
        report("loading", 0.0)
        limit = memory.read_limit(memory_limit) if memory_limit else None
        player = load(model, device=device, memory_limit=limit)
        if limit is not None:
            memory.refuse_above(limit, player, [variations])
        if variations == 1:
            warming.get_ready(player, guidance=player.guidance if guidance is None else guidance)
        report("loading", 1.0)
        result = continue_loop(player, waveform, options, tempo=tempo, progress=report)
    for i, path in enumerate(paths):
        result.save(path, variation=i, overwrite=force, subtype=subtype)
    if plot is not None:
        _draw(result, plot, force)
    heard = analyze.summary(loop, waveform, measure(waveform), tempo)
    output.show(_summary(result, paths, player, heard), as_json=as_json, human=lambda: _tell(result, paths, plot))
    if play:
        from darius.audio.player import play as play_file

        for path in paths:
            play_file(path)


def _drums(word: str) -> bool | None:
    if word not in ("on", "off", "auto"):
        raise InvalidOption(f"--drums cannot be '{word}'.", "Choose on, off or auto.")
    return None if word == "auto" else word == "on"


def _subtype(bits: str) -> str | None:
    if bits not in ("float", "24"):
        raise InvalidOption(f"--bits cannot be '{bits}'.", "Choose float or 24.")
    return "PCM_24" if bits == "24" else None


def _output_paths(loop: Path, out: Path | None, options: ContinuationOptions, bpm: float) -> list[Path]:
    """One path a variation: as given, or `<loop>_darius_8bars_120bpm.wav` in the given or the current folder."""
    named = f"{loop.stem}_darius_{options.bars}bars_{bpm:g}bpm.wav"
    if out is None:
        path = Path(named)
    elif out.is_dir():
        path = out / named
    else:
        path = out
    if options.variations == 1:
        return [path]
    return [path.with_stem(f"{path.stem}_{i + 1}") for i in range(options.variations)]


def _draw(result: Continuation, target: Path, force: bool) -> None:
    from darius.audio.plot import plot_waveform

    plot_waveform(
        result.waveforms[0],
        target,
        bpm=result.bpm,
        beats_per_bar=result.beats_per_bar,
        loop_samples=result.loop_samples,
        title=target.stem,
        overwrite=force,
    )


def _summary(result: Continuation, paths: list[Path], player: Model, loop: dict[str, Any]) -> dict[str, Any]:
    from darius.audio.loudness import measure

    rate = result.waveforms[0].rate
    return {
        "outputs": [str(path) for path in paths],
        "model": player.name,
        "bars": result.bars,
        "beats_per_bar": result.beats_per_bar,
        "bpm": float(result.bpm),
        "loop": loop,
        "sample_rate": rate,
        "samples": result.samples,
        "seconds": result.samples / rate,
        "loop_samples": result.loop_samples,
        "seeds": list(result.seeds),
        "levels": [analyze.level_summary(measure(waveform)) for waveform in result.waveforms],
        "took": {stage: round(seconds, 3) for stage, seconds in result.seconds.items()},
        "real_time_factor": round(result.real_time_factor, 3),
        "notes": list(result.notes),
    }


def _tell(result: Continuation, paths: list[Path], plot: Path | None) -> None:
    rate = result.waveforms[0].rate
    took = sum(result.seconds.values())
    for path, seed in zip(paths, result.seeds, strict=True):
        typer.secho(str(path), bold=True, nl=False)
        typer.echo(f"  (seed {seed})")
    typer.echo(
        f"  {result.bars} bars of {result.beats_per_bar} at {float(result.bpm):g} bpm: {result.samples} samples at "
        f"{rate} Hz, {result.samples / rate:.3f} s; played in {took:.1f} s ({result.real_time_factor:.1f}x real time)"
    )
    for note in result.notes:
        typer.secho(f"  {note}", fg=typer.colors.YELLOW)
    if plot is not None:
        typer.echo(f"  picture: {plot}")

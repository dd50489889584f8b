"""`darius prepare-data AUDIO_DIR`: a folder of audio becomes a dataset for finetuning."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from darius_cli import output

if TYPE_CHECKING:
    from finetune.manifest import Manifest

SHOWN = 20
STAGES = {"loading": "Loading", "inspecting": "Inspecting", "listening": "Listening"}


def prepare_data(
    audio: Annotated[Path, typer.Argument(help="Folder with your audio files.", metavar="AUDIO_DIR")],
    output_dir: Annotated[Path, typer.Option(help="Folder for the dataset.", show_default=False)],
    task_name: Annotated[str, typer.Option(help="Name of the dataset: letters, digits and _.", show_default=False)],
    extensions: Annotated[
        str, typer.Option(help="File name endings to take, separated by commas.")
    ] = "wav,flac,ogg,opus,mp3,aiff,aif,m4a",
    filter_quiet: Annotated[bool, typer.Option("--filter-quiet", help="Leave clips with quiet stretches out.")] = False,
    min_clip_seconds: Annotated[float, typer.Option(help="Leave shorter files out.")] = 2.0,
    num_clusters: Annotated[int, typer.Option(help="Style clusters, each a style to steer to.")] = 5,
    validation_split: Annotated[
        float, typer.Option(help="Part of the audio to hold out, for example 0.1; 0 for none.")
    ] = 0.0,
    licence: Annotated[str, typer.Option(help="Licence of the audio, for the dataset and the model card.")] = "",
    model: Annotated[
        str, typer.Option(help="The model to be finetuned: its codec and style listen. base, large, tiny, a finetune.")
    ] = "large",
    device: Annotated[str, typer.Option(help="auto, cpu, gpu, or gpu:1.")] = "auto",
    batch_size: Annotated[int | None, typer.Option(help="Clips to encode at once. Chosen by itself.", min=1)] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that read audio. Half the cores by default.")] = None,
    style_report: Annotated[
        bool, typer.Option("--style-report", help="Write a page to hear the clips nearest to each centroid.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what is in the output folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of words.")] = False,
) -> None:
    """Turn a folder of your own music into a dataset for `darius train`.

    darius prepare-data my_loops --output-dir acid --task-name acid

    Interrupted? Give the same command with --resume: nothing that is done is done again.
    """
    from finetune import listening
    from finetune.prepare import PrepareOptions, prepare

    options = PrepareOptions(
        audio=audio,
        output=output_dir,
        task=task_name,
        extensions=tuple(part for part in extensions.split(",") if part.strip()),
        min_clip_seconds=min_clip_seconds,
        filter_quiet=filter_quiet,
        num_clusters=num_clusters,
        validation_split=validation_split,
        licence=licence,
        workers=workers,
        resume=resume,
        force=force,
        style_report=style_report,
    )
    options.check()
    began = time.perf_counter()
    with _progress(quiet=as_json) as report:
        report("loading", 0.0, 1.0)
        listener = listening.load(model, device=device, batch=batch_size)
        report("loading", 1.0, 1.0)
        made = prepare(listener, options, report)
    took = time.perf_counter() - began
    output.show(_summary(made, output_dir, took), as_json=as_json, human=lambda: _tell(made, output_dir, took))


@contextlib.contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[str, float, float], None]]:
    """A bar for each stage; the one for listening counts hours of audio. Silent when stderr is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda stage, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}
        began: dict[str, tuple[float, float]] = {}

        def report(stage: str, done: float, total: float) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(STAGES.get(stage, stage), total=total, note="")
                began[stage] = (time.perf_counter(), done)
            first, before = began[stage]
            elapsed = time.perf_counter() - first
            bar.update(
                tasks[stage], completed=done, total=total, note=_note(stage, done, total, done - before, elapsed)
            )

        yield report


def _note(stage: str, done: float, total: float, new: float, elapsed: float) -> str:
    if stage == "inspecting":
        return f"{done:.0f} of {total:.0f} files"
    if stage != "listening":
        return ""
    speed = f", {new / elapsed:.0f}x real time" if new and elapsed else ""
    return f"{done / 3600:.2f} of {total / 3600:.2f} hours{speed}"


def _summary(made: Manifest, folder: Path, took: float) -> dict[str, Any]:
    return {
        "dataset": str(folder),
        "task": made.task,
        "examples": made.examples,
        "eval_examples": made.eval_examples,
        "hours": made.hours,
        "eval_hours": made.eval_hours,
        "files": len(made.files),
        "left_out": [{"path": entry.path, "reason": entry.reason} for entry in made.left_out],
        "cluster_sizes": list(made.cluster_sizes),
        "tempi": dict(made.tempi),
        "model": made.model,
        "took": round(took, 3),
    }


def _tell(made: Manifest, folder: Path, took: float) -> None:
    minutes = (made.hours + made.eval_hours) * 60
    typer.secho(str(folder), bold=True, nl=False)
    typer.echo(f"  (task {made.task})")
    typer.echo(
        f"  {len(made.files)} files, {made.examples + made.eval_examples} clips, {minutes:.1f} minutes of audio; "
        f"took {took:.1f} s"
    )
    if made.eval_examples:
        typer.echo(f"  held out: {made.eval_examples} clips, {made.eval_hours * 60:.1f} minutes")
    typer.echo(f"  clips of each style cluster: {', '.join(map(str, made.cluster_sizes))}")
    if made.left_out:
        typer.secho(f"  not everything could be used ({len(made.left_out)}):", fg=typer.colors.YELLOW)
        for entry in made.left_out[:SHOWN]:
            typer.echo(f"    {entry.path}: {entry.reason}")
        if len(made.left_out) > SHOWN:
            typer.echo(f"    and {len(made.left_out) - SHOWN} more; all are in {folder / 'dataset.json'}")
    typer.echo(f"  next: darius train --output-dir {folder}")

"""`darius models`: what models there are, fetching, removing and converting them."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from darius_cli.output import human_bytes, stages

if TYPE_CHECKING:
    from darius.hub.catalogue import Entry

app = typer.Typer(rich_markup_mode=None, help="List, fetch, remove and convert models.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="tiny, base, large, a folder, an archive, or hf:user/repo@revision#step.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Offline = Annotated[bool, typer.Option("--offline", help="Use only what was downloaded before.")]


@app.command("list")
def list_models(json_output: Json = False) -> None:
    """Shows the models that Darius knows: the embedded one, the stock ones, and what was downloaded."""
    from darius.hub import cache_root, catalogue

    entries = catalogue.known()
    if json_output:
        typer.echo(json.dumps({"cache": str(cache_root()), "models": [_fields(entry) for entry in entries]}, indent=2))
        return
    _print_table(entries)
    typer.echo(f"Cache: {cache_root()}")


@app.command()
def show(name: Name, json_output: Json = False, offline: Offline = False) -> None:
    """Shows one model: where it is, its size and its steps. Downloads nothing but a repository's listing."""
    from darius.hub import catalogue

    entry = catalogue.describe(name, offline=offline)
    if json_output:
        typer.echo(json.dumps(_fields(entry), indent=2))
        return
    for key, value in _rows(entry):
        typer.echo(f"{key:>9}  {value}")


@app.command()
def pull(name: Name, offline: Offline = False) -> None:
    """Downloads a model and makes it ready to use; what is here already is not fetched again."""
    from darius import hub
    from darius.checkpoints import archives, convert
    from darius.hub.cache import checkpoints_folder

    with stages({}) as report:
        model = hub.resolve(name, offline=offline, on_progress=report)
        if model.kind == "stock":
            hub.v1_parts(offline=offline, on_progress=report)
        if archives.is_archive(model.path):
            folder = checkpoints_folder(hub.cache_root())
            convert.cached_safetensors(model.path, cache_dir=folder, on_progress=report)
    if model.note:
        typer.echo(model.note, err=True)
    step = f", step {model.step}" if model.step is not None else ""
    typer.echo(f"{name} is ready{step}: {model.path}")


@app.command()
def rm(name: Name, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Removes a downloaded model from the cache. Your own files are never touched."""
    from darius.hub import catalogue

    if not yes and sys.stdin.isatty():
        typer.confirm(f"Remove {name} from the cache?", abort=True)
    freed = catalogue.remove(name)
    typer.echo(f"Removed {name}: {_size(freed)} freed.")


@app.command()
def convert(
    source: Annotated[str, typer.Argument(help="A checkpoint (any model name), a .safetensors file, or v1's release.")],
    target: Annotated[Path, typer.Argument(help="NAME.safetensors, or a folder to create.")],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing .safetensors file.")] = False,
) -> None:
    """Converts a checkpoint into one .safetensors file or back into a T5X folder, bit for bit.

    A folder with v1's savedmodels/ becomes a folder with codec and style as Darius reads them.
    """
    from darius import hub
    from darius.checkpoints import convert as checkpoints
    from darius.hub.cache import checkpoints_folder

    with stages({}) as report:
        if (Path(source) / "savedmodels").is_dir():
            from darius.convert import convert_v1

            written = convert_v1(Path(source), target, report)
        elif source.endswith(checkpoints.SAFETENSORS_SUFFIX):
            written = checkpoints.to_t5x(source, target, on_progress=report)
        else:
            path = hub.resolve(source, on_progress=report).path
            folder = checkpoints_folder(hub.cache_root())
            written = checkpoints.to_safetensors(path, target, cache_dir=folder, overwrite=force, on_progress=report)
    typer.echo(f"Wrote {written}.")


def _print_table(entries: list[Entry]) -> None:
    """A table for people; plain lines of tab-separated fields for pipes, which are never cut to a width."""
    headings = ("model", "kind", "here", "size", "steps", "note")
    rows = [(e.name, e.kind, "yes" if e.here else "no", _size(e.bytes), _steps(e), e.note) for e in entries]
    if not sys.stdout.isatty():
        for row in (headings, *rows):
            typer.echo("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _rows(entry: Entry) -> list[tuple[str, str]]:
    rows = [
        ("model", entry.name),
        ("kind", entry.kind),
        ("here", "yes" if entry.here else "no"),
        ("size", _size(entry.bytes)),
        ("steps", _steps(entry)),
        ("revision", entry.revision or ""),
        ("path", str(entry.path or "")),
        ("note", entry.note),
    ]
    return [(key, value) for key, value in rows if value]


def _fields(entry: Entry) -> dict[str, Any]:
    fields = dataclasses.asdict(entry)
    return {**fields, "path": str(entry.path) if entry.path else None}


def _steps(entry: Entry) -> str:
    return " ".join(map(str, entry.steps))


def _size(count: int) -> str:
    return human_bytes(count) if count else ""

"""The `darius` command: its subcommands, and how an error becomes a sentence and an exit code.

Commands import the library inside their bodies, so that `darius --help` answers at once.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from darius.errors import DariusError
from darius_cli.commands import (
    analyze,
    bench,
    doctor,
    generate,
    jam,
    models,
    package_ckpt,
    prepare_data,
    serve,
    train,
    upload,
)

INTERRUPTED = 130


class ErrorTable(TyperGroup):
    """Shows a Darius error as one sentence and its next step, and exits with the error's own code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except DariusError as error:
            typer.secho(f"darius: {error.message}", fg=typer.colors.RED, err=True)
            if error.hint:
                typer.echo(f"  {error.hint}", err=True)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as stop:
            typer.echo("darius: stopped; nothing was left half written.", err=True)
            raise typer.Exit(INTERRUPTED) from stop


app = typer.Typer(
    name="darius",
    cls=ErrorTable,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: importing rich for it would cost a quarter of a second
    pretty_exceptions_enable=False,
    help="Give Darius a loop and get music that continues it, in time, at exact bar length.",
    epilog="Exit codes: 0 ok, 1 failure, 2 usage, 3 model missing, 4 no usable device, 5 bad audio or dataset, 6 busy, "
    "130 interrupted.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from darius._version import __version__, commit

        typer.echo(f"darius {__version__}" + (f" ({commit()})" if commit() else ""))
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    pass


app.command("generate", short_help="Continue a loop by exactly N bars.")(generate.generate)
app.command("generate-file", hidden=True)(generate.generate)
app.command("analyze", short_help="Tell a loop's tempo, bars, level.")(analyze.analyze)
app.command("doctor", short_help="Say what this machine can run.")(doctor.doctor)
app.command("bench", short_help="Measure how fast a model plays here.")(bench.bench)
app.command("jam", short_help="Jam with a loop, steered by typing.")(jam.jam)
app.command("serve", short_help="Serve jams and continuations over HTTP.")(serve.serve)
app.command("prepare-data", short_help="Turn a folder of music into a dataset to train on.")(prepare_data.prepare_data)
app.command("train", short_help="Finetune a model on a dataset.")(train.train)
app.command("package-ckpt", short_help="Package checkpoints as archives to share.")(package_ckpt.package_ckpt)
app.command("upload", short_help="Upload a finetune to Hugging Face.")(upload.upload)
app.add_typer(models.app, name="models")


def main() -> None:
    """The console script."""
    app()

"""`darius package-ckpt RUN`: checkpoints as archives that every Magenta RealTime tool reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from darius_cli import output

if TYPE_CHECKING:
    from finetune.packaging import Package

STAGES = {"packing": "Packing", "verifying": "Verifying"}


def package_ckpt(
    place: Annotated[
        Path, typer.Argument(help="A run's folder, a checkpoint's, or a dataset with one run.", metavar="RUN")
    ],
    step: Annotated[int | None, typer.Option(help="The checkpoint to package. The newest if not given.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Package every checkpoint of the run.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the archives. RUN/archives if not given.")] = None,
    without_optimizer: Annotated[
        bool,
        typer.Option(
            "--without-optimizer",
            help="Leave the optimiser's state out. It is small; whoever goes on training wants it.",
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace archives that exist.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of words.")] = False,
) -> None:
    """Package checkpoints as checkpoint_<step>.tgz: one top folder, every file, read back tensor by tensor.

    darius package-ckpt acid/runs/first

    The archives play at once: darius generate loop.wav --model acid/runs/first/archives/checkpoint_1861000.tgz
    """
    from finetune import card, packaging, places

    found = places.find(place)
    target = out or found.archives
    made = []
    for number, folder in found.choose(step=step, everything=everything).items():
        with output.stages(STAGES, quiet=as_json) as report:
            about = card.facts(found, number)
            made.append(
                packaging.package(
                    folder,
                    target,
                    with_optimizer=not without_optimizer,
                    overwrite=force,
                    about=about,
                    on_progress=report,
                )
            )
    output.show({"packages": [_fields(one) for one in made]}, as_json=as_json, human=lambda: _tell(made, target))


def _fields(made: Package) -> dict[str, Any]:
    import dataclasses

    return dataclasses.asdict(made) | {"path": str(made.path), "manifest": str(made.manifest)}


def _tell(made: list[Package], target: Path) -> None:
    for one in made:
        typer.secho(str(one.path), bold=True)
        state = "with" if one.optimizer_state else "without"
        typer.echo(
            f"  {output.human_bytes(one.bytes)}, {one.tensors} tensors ({one.parameters:,} values), {state} the "
            f"optimiser's state; every tensor was read back\n  sha256 {one.sha256}"
        )
    typer.echo(f"  next: darius upload {target.parent} --repo user/name")

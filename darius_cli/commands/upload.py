"""`darius upload RUN --repo user/name`: a finetune on Hugging Face, ready for everyone's player."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from darius_cli import output

if TYPE_CHECKING:
    from finetune.uploading import Plan

STAGES = {"packing": "Packing", "verifying": "Verifying"}


def upload(
    place: Annotated[
        Path, typer.Argument(help="A run's folder, a checkpoint's, or a dataset with one run.", metavar="RUN")
    ],
    repo: Annotated[str, typer.Option(help="The repository: user/name.", show_default=False)],
    step: Annotated[int | None, typer.Option(help="The checkpoint to upload. The newest if not given.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Upload every checkpoint of the run.")] = False,
    private: Annotated[bool, typer.Option("--private", help="Make the repository private, if it is new.")] = False,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request instead of committing.")] = False,
    no_card: Annotated[bool, typer.Option("--no-card", help="Leave the repository's README.md alone.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done; send nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of words.")] = False,
) -> None:
    """Upload a finetune: archives, steering files and a model card; never raw checkpoint folders.

    darius upload acid/runs/first --repo me/acid --dry-run

    Needs a Hugging Face token with write access (hf auth login, or HF_TOKEN). Broke off? Give the command again.
    """
    from finetune import places, uploading

    found = places.find(place)
    steps = found.choose(step=step, everything=everything)
    with output.stages(STAGES, quiet=as_json) as report:
        packages = uploading.packages_of(found, steps, report)
    planned = uploading.plan(found, packages, repo, private=private, create_pr=create_pr, with_card=not no_card)
    if not as_json:
        _tell(planned)
    address = None
    if planned.sending and not dry_run:
        _bars(wanted=not as_json and sys.stderr.isatty())
        address = uploading.send(planned)
    result = {
        "repo": repo,
        "dry_run": dry_run,
        "files": [{"name": item.name, "bytes": item.size, "state": item.state} for item in planned.items],
        "address": address,
    }
    output.show(result, as_json=as_json, human=lambda: _conclude(planned, address, dry_run))


def _bars(*, wanted: bool) -> None:
    """The hub's client draws a bar for each file by itself, wanted or not."""
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not wanted:
        disable_progress_bars()


def _tell(planned: Plan) -> None:
    what = "exists" if planned.exists else f"will be made{', private' if planned.private else ''}"
    typer.secho(planned.repo, bold=True, nl=False)
    typer.echo(f"  ({what}{'; a pull request will be opened' if planned.create_pr else ''})")
    for item in planned.items:
        typer.echo(f"  {item.state:<9} {output.human_bytes(item.size):>10}  {item.name}")


def _conclude(planned: Plan, address: str | None, dry_run: bool) -> None:
    size = output.human_bytes(sum(item.size for item in planned.sending))
    if not planned.sending:
        typer.echo("  everything is there already")
    elif dry_run:
        typer.echo(f"  nothing was sent; without --dry-run {size} would be")
    else:
        typer.echo(f"  sent {size}: {address}")
        typer.echo(f"  play it: darius generate loop.wav --model hf:{planned.repo}")

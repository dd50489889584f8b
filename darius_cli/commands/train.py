"""`darius train`: finetunes a model on a dataset of `darius prepare-data`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from darius_cli import output

if TYPE_CHECKING:
    from finetune.train import Result


def train(
    output_dir: Annotated[Path, typer.Option(help="The dataset's folder; runs go to its runs/.", show_default=False)],
    task_name: Annotated[str | None, typer.Option(help="Refuse a dataset of another name.", show_default=False)] = None,
    model: Annotated[
        str | None, typer.Option(help="To start from: base, large (default), tiny, a finetune.", show_default=False)
    ] = None,
    steps: Annotated[int, typer.Option(help="Steps in all, counted from the run's beginning.")] = 6000,
    batch_size: Annotated[int | None, typer.Option(help="Windows a step. 8 by default.", show_default=False)] = None,
    micro_batch: Annotated[
        int | None, typer.Option(help="Windows at a time: fewer take less memory. All by default.", show_default=False)
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="A constant. The original's schedule by default, for LoRA 1e-3.", show_default=False),
    ] = None,
    save_every: Annotated[int, typer.Option(help="Steps between checkpoints; 0 saves only the last.")] = 1000,
    keep: Annotated[int, typer.Option(help="Newest checkpoints to keep.")] = 5,
    experiment_name: Annotated[
        str | None, typer.Option(help="The run's folder. Made of task and model by default.", show_default=False)
    ] = None,
    lora: Annotated[
        int | None, typer.Option(help="Train low-rank adapters of this rank, not everything.", show_default=False)
    ] = None,
    dtype: Annotated[str, typer.Option(help="Of activations: float32, bfloat16, or auto.")] = "auto",
    legal_only: Annotated[
        bool | None,
        typer.Option(
            "--legal-only/--whole-vocabulary",
            help="Learn each level's choice among its own codes only. As the model was trained by default.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run.")] = False,
    sample_every: Annotated[int, typer.Option(help="Steps between samples to hear; 0 for none.")] = 1000,
    eval_every: Annotated[int, typer.Option(help="Steps between checks on held-out clips; 0 for none.")] = 250,
    seed: Annotated[int | None, typer.Option(help="Of everything drawn. 0 by default.", show_default=False)] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, gpu, or gpu:1.")] = "auto",
    devices: Annotated[
        int | None, typer.Option(help="How many to train on together. All GPUs by default.", show_default=False)
    ] = None,
    split: Annotated[bool, typer.Option("--split", help="Split the model over the devices, not only batches.")] = False,
    coordinator: Annotated[
        str | None, typer.Option(help="address:port of the first of several hosts.", show_default=False)
    ] = None,
    hosts: Annotated[int | None, typer.Option(help="How many hosts there are.", show_default=False)] = None,
    host_index: Annotated[int | None, typer.Option(help="Which of them this is, from 0.", show_default=False)] = None,
    trainer: Annotated[str, typer.Option(help="darius, or t5x: the original's, where it is installed.")] = "darius",
    offline: Annotated[bool, typer.Option("--offline", help="Download nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of words.")] = False,
) -> None:
    """Finetune a model on your own music.

    darius train --output-dir acid --model large

    Ctrl-C saves a checkpoint and stops; go on with --resume. Too little memory? Try --micro-batch 2, or --lora 16.
    """
    from darius_cli.training_board import board, summary
    from finetune.sharding import join_hosts
    from finetune.train import TrainOptions
    from finetune.train import train as run

    options = TrainOptions(
        dataset=output_dir,
        task=task_name,
        model=model,
        steps=steps,
        batch_size=batch_size,
        micro_batch=micro_batch,
        learning_rate=learning_rate,
        save_every=save_every,
        keep=keep,
        experiment=experiment_name,
        lora=lora,
        dtype=dtype,
        legal_only=legal_only,
        resume=resume,
        sample_every=sample_every,
        eval_every=eval_every,
        seed=seed,
        device=device,
        devices=devices,
        split=split,
        trainer=trainer,
        offline=offline,
    )
    options.check()
    join_hosts(coordinator, hosts, host_index)
    with board(quiet=as_json) as report:
        result = run(options, report)
    output.show(summary(result), as_json=as_json, human=lambda: _tell(result))


def _tell(result: Result) -> None:
    typer.secho(str(result.checkpoint), bold=True)
    if result.last:
        typer.echo(
            f"  step {result.step}: loss {result.last['loss']:.3f}, {result.last['accuracy']:.1%} of codes right"
        )
    typer.echo(f"  samples, curves and metrics: {result.run}")
    typer.echo(f"  play it: darius generate LOOP --model {result.run}")
    typer.echo(f"  pack it: darius package-ckpt {result.run}")

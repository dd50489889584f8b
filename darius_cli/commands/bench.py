"""`darius bench`: chunk time, real-time factor, memory and compile time on this machine."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from darius.errors import InvalidOption
from darius_cli import output

if TYPE_CHECKING:
    from darius.benchmark import BatchSpeed


def bench(
    model: Annotated[str, typer.Option(help="What to measure: tiny, base, large, or any model's name.")] = "tiny",
    random: Annotated[
        bool, typer.Option("--random", help="Random weights of the right shape: measures speed without a download.")
    ] = False,
    batch: Annotated[str, typer.Option(help="Streams decoded together; several sizes with commas.")] = "1",
    chunks: Annotated[int, typer.Option(help="Chunks to time for each size.")] = 10,
    guidance: Annotated[float, typer.Option(help="Guidance weight; 0 halves the rows.")] = 5.0,
    device: Annotated[str, typer.Option(help="auto, cpu, gpu, or gpu:1.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    suite: Annotated[
        str, typer.Option(help="h100 or cpu: everything that is published, with random weights; see --stages.")
    ] = "",
    stages: Annotated[
        str, typer.Option(help="Of a suite, with commas: cold (start), streams, (first) sound, crowd (in real time).")
    ] = "",
    budget: Annotated[float, typer.Option(help="Seconds for each stage of a suite, instead of its own.")] = 0.0,
    memory_limit: Annotated[
        str, typer.Option(help="Refuse batches that would take more of the device, such as 6G.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the JSON line alone.")] = False,
) -> None:
    """Measure how fast a model plays here; a table, then one JSON line.

    darius bench --model large --random --batch 1,16,64

    darius bench --suite h100 --json
    """
    if suite:
        _run_suite(suite, stages, budget, device, dtype, as_json)
        return
    from darius import benchmark, memory
    from darius.devices import cpu_name
    from darius.model import load
    from darius.random_weights import PREFIX

    sizes = _sizes(batch)
    if not 1 <= chunks <= 1000:
        raise InvalidOption(f"--chunks cannot be {chunks}.", "Choose 1 to 1000.")
    with output.stages({}, quiet=as_json) as report:
        report("weights", 0.0)
        limit = memory.read_limit(memory_limit) if memory_limit else None
        engine = load(PREFIX + model if random else model, device=device, dtype=dtype, memory_limit=limit)
        report("weights", 1.0)
        if limit is not None:
            memory.refuse_above(limit, engine, sizes)
        speeds = benchmark.measure(engine, sizes, chunks=chunks, guidance=guidance, report=report)
    platform = engine.device
    result = {
        "model": model,
        "random": random or model.startswith(PREFIX),
        "device": cpu_name() if platform.platform == "cpu" else platform.device_kind,
        "dtype": engine.dtype,
        "guidance": guidance,
        "chunk_seconds": engine.chunk_frames / engine.frame_rate,
        "chunks": chunks,
        "results": [dataclasses.asdict(speed) for speed in speeds],
    }
    if not as_json:
        _tell(result, speeds)
    typer.echo(json.dumps(result))


def _run_suite(name: str, stages: str, budget: float, device: str, dtype: str, as_json: bool) -> None:
    """Prints a JSON line for every measurement as soon as it is there, and one with all of them at the end."""
    import datetime
    import importlib.metadata

    from darius import __version__, suite

    if name not in suite.SUITES:
        raise InvalidOption(f"There is no suite '{name}'.", f"Choose from: {', '.join(suite.SUITES)}.")
    chosen = suite.SUITES[name]
    if budget:
        chosen = dataclasses.replace(chosen, budget=budget)
    found: dict[str, list[dict[str, Any]]] = {}

    def tell(stage: str, measured: dict[str, Any]) -> None:
        measured = {key: round(value, 4) if isinstance(value, float) else value for key, value in measured.items()}
        found.setdefault(stage, []).append(measured)
        typer.echo(json.dumps({"stage": stage, **measured}), err=not as_json)

    wanted = [stage.strip() for stage in stages.split(",")] if stages else suite.STAGES
    suite.run(chosen, wanted, device=device, dtype=dtype, tell=tell)
    from darius.devices import find_device

    place = find_device(device)
    whole = {
        "suite": name,
        "model": chosen.model,
        "device": place.device_kind,
        "darius": __version__,
        "jax": importlib.metadata.version("jax"),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **found,
    }
    typer.echo(json.dumps(whole))


def _sizes(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and 1 <= int(part) <= 4096 for part in parts):
        raise InvalidOption(f"--batch cannot be '{text}'.", "Give numbers of streams, such as 1,4,16.")
    return [int(part) for part in parts]


def _tell(result: dict[str, Any], speeds: list[BatchSpeed]) -> None:
    from rich.console import Console
    from rich.table import Table

    kind = "random weights" if result["random"] else "its own weights"
    table = Table(title=f"{result['model']}, {kind}, {result['dtype']}, {result['device']}", title_justify="left")
    for heading in ("streams", "chunk p50", "p95", "language model", "codec", "real time", "memory", "compile"):
        table.add_column(heading, justify="right")
    for speed in speeds:
        table.add_row(
            str(speed.batch),
            f"{speed.p50 * 1000:.1f} ms",
            f"{speed.p95 * 1000:.1f} ms",
            f"{speed.language_model_p50 * 1000:.1f} ms",
            f"{speed.codec_p50 * 1000:.1f} ms",
            f"{speed.real_time_factor:.1f}x",
            output.human_bytes(speed.peak_bytes) if speed.peak_bytes else "unknown",
            f"{speed.compile_seconds:.1f} s",
        )
    Console().print(table)

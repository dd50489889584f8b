"""`darius doctor`: what this machine can run, why not, what to do; and the proof of parity."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from darius_cli import output

if TYPE_CHECKING:
    from darius.depthformer.parity import Report

PACKAGES = (
    "jax",
    "jaxlib",
    "numpy",
    "scipy",
    "soundfile",
    "soxr",
    "safetensors",
    "huggingface_hub",
    "quart",
    "hypercorn",
)
EXTRAS = {"plot": "matplotlib", "convert": "tensorflow", "finetune": "seqio", "mrt2": "magenta_rt"}


def doctor(
    parity: Annotated[
        Path | None,
        typer.Option(
            help="Run every case of a golden folder through our reader and engine, and compare.", metavar="DIR"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of words.")] = False,
) -> None:
    """Say what this machine can run, and what to do about what it cannot.

    darius doctor

    darius doctor --parity tests/golden/depthformer_test
    """
    if parity is not None:
        _check_parity(parity, as_json)
        return
    report = _examine()
    output.show(report, as_json=as_json, human=lambda: _tell(report))


def _check_parity(folder: Path, as_json: bool) -> None:
    from darius.depthformer.parity import check_folder

    report = check_folder(folder)
    output.show(report.to_dict(), as_json=as_json, human=lambda: _tell_parity(report))
    if not report.ok:
        raise typer.Exit(1)


def _tell_parity(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Parity with {report.folder}")
    for heading in ("case", "what", "measured", "tolerance", ""):
        table.add_column(heading)
    for case in report.cases:
        verdict = "[green]holds[/green]" if case.ok else "[red]FAILS[/red]"
        table.add_row(case.name, case.what, f"{case.measured:.3g}", f"{case.tolerance:.3g}", verdict)
    Console().print(table)
    failed = sum(not case.ok for case in report.cases)
    typer.echo(f"{len(report.cases) - failed} of {len(report.cases)} cases hold.")


def _examine() -> dict[str, Any]:
    """Everything the report says, as one JSON-ready object."""
    from darius import __version__, devices, hub
    from darius.hub import mrt2
    from darius.hub.catalogue import known

    found = devices.list_devices()
    best = devices.find_device("auto")
    budget = next(d.memory for d in found if d.kind == best.platform)
    cache = hub.cache_root()
    here = {entry.name: entry.here for entry in known()}
    models = [_judge(name, here[name], best.platform, budget) for name in ("tiny", "base", "large", *mrt2.NAMES)]
    return {
        "darius": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "devices": [{"kind": d.kind, "index": d.index, "name": d.name, "memory": d.memory} for d in found],
        "models": models,
        "cache": {"path": str(cache), "bytes": _folder_bytes(cache)},
        "packages": {name: _version(name) for name in PACKAGES},
        "extras": {extra: importlib.util.find_spec(module) is not None for extra, module in EXTRAS.items()},
        "verdict": _verdict(models, best.platform),
    }


def _judge(name: str, here: bool, platform_name: str, budget: int | None) -> dict[str, Any]:
    """What a model needs for one stream on this kind of device, and whether it gets it."""
    needs = _needed(name, platform_name)
    fits = budget is None or needs < budget
    if not fits:
        say = f"needs {output.human_bytes(needs)}, which this device does not have; use a smaller model"
    elif name.startswith("mrt2") and importlib.util.find_spec(EXTRAS["mrt2"]) is None:
        say = "fits; first: pip install 'darius[mrt2]'"
    elif not here:
        say = f"fits; fetch it with: darius models pull {name}"
    elif name != "tiny" and platform_name == "cpu":
        say = "fits, but far from real time without a GPU"
    else:
        say = "ready"
    return {"name": name, "needs": needs, "fits": fits, "here": here, "verdict": say}


def _needed(name: str, platform_name: str) -> int:
    """Bytes for one stream."""
    from darius import memory
    from darius.codec.config import CodecConfig
    from darius.depthformer.config import DepthformerConfig
    from darius.depthformer.decode import DecodePlan
    from darius.mrt2 import memory as mrt2_memory

    if name in mrt2_memory.LANGUAGE_MODEL:
        return mrt2_memory.needed(name, platform_name)
    config = {"tiny": DepthformerConfig.tiny, "base": DepthformerConfig.base, "large": DepthformerConfig.large}[name]()
    codec = CodecConfig.tiny() if name == "tiny" else CodecConfig.spectrostream()
    return memory.account(config, codec, 1, DecodePlan.for_platform(platform_name)).total


def _verdict(models: list[dict[str, Any]], platform_name: str) -> str:
    ready = [model["name"] for model in models if model["verdict"] == "ready"]
    if platform_name == "cpu":
        return "No GPU is used here. The model tiny plays on this CPU: darius generate LOOP"
    return f"Ready on the {platform_name.upper()}: {', '.join(ready) or 'no model is here yet'}."


def _tell(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(f"darius {report['darius']}, Python {report['python']}, {report['system']}")
    devices = Table("device", "name", "memory", title="Devices", title_justify="left")
    for device in report["devices"]:
        memory = output.human_bytes(device["memory"]) if device["memory"] else "unknown"
        devices.add_row(f"{device['kind']}:{device['index']}", device["name"], memory)
    console.print(devices)
    models = Table("model", "needs", "verdict", title="Models, one stream each", title_justify="left")
    for model in report["models"]:
        models.add_row(model["name"], output.human_bytes(model["needs"]), model["verdict"])
    console.print(models)
    console.print(f"Cache: {report['cache']['path']} ({output.human_bytes(report['cache']['bytes'])})", highlight=False)
    console.print("Packages: " + ", ".join(f"{k} {v}" for k, v in report["packages"].items()), highlight=False)
    missing = [extra for extra, there in report["extras"].items() if not there]
    if missing:
        console.print(f"Optional parts not installed: {', '.join(missing)} (pip install 'darius\\[{missing[0]}]')")
    console.print(f"{report['verdict']}")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _folder_bytes(folder: Path) -> int:
    if not folder.is_dir():
        return 0
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())

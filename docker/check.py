"""Runs what the Dockerfiles would run, without a container engine: `make docker-check`.

Every RUN that installs Python packages is executed in a scratch environment: for this machine's own architecture as it
stands, for the other one by asking for its wheels (nothing of those can be started here). Then the command and the
health check of the image are run from that environment. Knows no layers, users or GPUs: what was not run is said.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILES = ("Dockerfile.x86", "Dockerfile.arm64", "Dockerfile.finetune_x86", "Dockerfile.finetune_arm64")
UV_PLATFORM = {"x86": "x86_64-manylinux_2_28", "arm64": "aarch64-manylinux_2_28"}
MACHINES = {"x86_64": "x86", "AMD64": "x86", "aarch64": "arm64", "arm64": "arm64"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Instruction:
    """One line of a Dockerfile: RUN, ENV, CMD, ... and its text, continuations joined."""

    name: str
    text: str


def instructions(dockerfile: Path) -> Iterator[Instruction]:
    """The instructions of a file, comments left out."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if line.strip():
            name, _, text = line.strip().partition(" ")
            yield Instruction(name=name.upper(), text=re.sub(r"\s+", " ", text.strip()))


def defaults(dockerfile: Path) -> dict[str, str]:
    """The defaults of its ARGs."""
    args = (i.text.partition("=") for i in instructions(dockerfile) if i.name == "ARG")
    return {name: value for name, _, value in args}


def environment(dockerfile: Path) -> dict[str, str]:
    """What its ENV instructions set, but for paths inside the image."""
    pairs: dict[str, str] = {}
    for instruction in instructions(dockerfile):
        if instruction.name == "ENV":
            pairs |= dict(word.split("=", 1) for word in shlex.split(instruction.text))
    return {name: value for name, value in pairs.items() if not value.startswith("/")}


def installs(dockerfile: Path) -> list[str]:
    """The `uv pip install` commands of its RUN lines, arguments filled in; optional ones (`if ...; then`) too."""
    args = defaults(dockerfile)
    found = []
    for instruction in instructions(dockerfile):
        if instruction.name == "RUN":
            for part in re.split(r"&&|;", instruction.text):
                command = part.strip().removeprefix("then ")
                if command.startswith("uv pip install"):
                    found.append(re.sub(r"\$\{?(\w+)\}?", lambda m: args.get(m[1], m[0]), command))
    return found


def run_install(command: str, scratch: Path, *, uv: str, foreign: str | None) -> tuple[bool, str]:
    """Executes an install line in `scratch`; for another architecture its wheels are unpacked there instead."""
    words = [uv, *shlex.split(command)[1:]]
    words = [word for word in words if word != "--no-cache"]  # the same wheels serve four files
    if foreign:
        words += ["--target", str(scratch), "--python-platform", foreign, "--python-version", "3.11"]
        words += ["--only-binary", ":all:", "--no-binary", "darius", "--no-binary", "promise"]
    done = subprocess.run(
        words, cwd=ROOT, env=os.environ | {"VIRTUAL_ENV": str(scratch)}, capture_output=True, text=True, check=False
    )
    return done.returncode == 0, done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""


def megabytes(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file() and not f.is_symlink()) // 1_000_000


def start(dockerfile: Path, scratch: Path) -> str:
    """Runs the image's command and its health check from the scratch environment; what came of it."""
    command, check = "", ""
    for instruction in instructions(dockerfile):
        if instruction.name == "CMD":
            command = instruction.text
        if instruction.name == "HEALTHCHECK":
            check = instruction.text.partition("CMD ")[2]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    variables = os.environ | environment(dockerfile)
    variables |= {"PORT": port, "MRT_SIZE": "tiny", "DARIUS_CACHE": str(scratch / "cache")}
    variables["PATH"] = f"{scratch}/bin:{variables['PATH']}"
    if not check:
        done = subprocess.run(json.loads(command), env=variables, capture_output=True, text=True, check=False)
        return f"{command}: exit {done.returncode}"
    server = subprocess.Popen(json.loads(command), env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        began = time.monotonic()
        while time.monotonic() - began < 120:
            healthy = subprocess.run(json.loads(check), env=variables, capture_output=True, check=False)
            if healthy.returncode == 0:
                return f"{command}: healthy after {time.monotonic() - began:.0f} s (with tiny, on the CPU)"
            time.sleep(1)
        return f"{command}: NOT healthy after two minutes"
    finally:
        server.terminate()
        server.wait(15)


def check_file(name: str, scratch: Path, *, uv: str, git: bool) -> bool:
    """Checks one Dockerfile; prints what was run."""
    dockerfile, architecture = ROOT / name, name.rpartition("_")[2].rpartition(".")[2]
    foreign = None if MACHINES.get(platform.machine()) == architecture else UV_PLATFORM[architecture]
    print(f"{name} ({'wheels only' if foreign else 'in a scratch environment'})")
    subprocess.run([uv, "venv", "--quiet", "--clear", str(scratch), "--python", "3.11"], check=True)
    good = True
    for command in installs(dockerfile):
        if "requirements-t5x" in command and not git:
            print("  not run (needs GitHub; --git runs it):", command)
            continue
        worked, last = run_install(command, scratch, uv=uv, foreign=foreign)
        good &= worked
        print(f"  {'ok' if worked else 'FAILED'}: {command}" + ("" if worked else f"\n    {last}"))
    print(f"  installed: {megabytes(scratch)} MB, of the image's size the largest part; python-slim adds about 130 MB")
    if foreign:
        print("  not run (another architecture):", "the command and the health check")
    else:
        outcome = start(dockerfile, scratch)
        good &= "NOT" not in outcome and not outcome.endswith("exit 1")
        print(" ", outcome)
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="*", default=DOCKERFILES)
    parser.add_argument("--scratch", type=Path, default=ROOT / "out" / "docker-check")
    parser.add_argument("--uv", default="uv")
    parser.add_argument("--git", action="store_true", help="run lines that fetch from GitHub, too")
    args = parser.parse_args()
    args.scratch.mkdir(parents=True, exist_ok=True)
    good = [check_file(name, args.scratch / name, uv=args.uv, git=args.git) for name in args.files]
    print("Not run at all: the base images, apt, users, volumes, GPUs. No container engine was used.")
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()

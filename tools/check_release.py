"""Builds wheel and source archive, installs each alone in a new environment and uses it there: `make release`.

Knows no index and uploads nothing. What a user would meet is measured: size, install, import and help times, one
continuation from outside the source tree.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST_MEGABYTES = 45
WANTED = (
    "darius/assets/tiny/depthformer.safetensors",
    "darius/_commit.txt",
    "darius/py.typed",
    "serve/static/tester.html",
)
FORBIDDEN = ("tests/", "recipes/", ".ipynb", "runs/")


def build(target: Path, uv: str) -> tuple[Path, Path]:
    """The wheel and the source archive of the checkout."""
    subprocess.run([uv, "build", "--quiet", "--out-dir", str(target), str(ROOT)], check=True)
    return next(target.glob("*.whl")), next(target.glob("*.tar.gz"))


def check_content(wheel: Path) -> list[str]:
    """Sentences on what is wrong with the wheel's content and size."""
    names = zipfile.ZipFile(wheel).namelist()
    wrong = [f"{name} is missing" for name in WANTED if name not in names]
    wrong += [
        f"{name} does not belong there" for name in names if name.startswith(FORBIDDEN) or name.endswith(FORBIDDEN)
    ]
    size = wheel.stat().st_size / 1e6
    if size > MOST_MEGABYTES:
        wrong.append(f"{size:.1f} MB, more than {MOST_MEGABYTES}")
    return wrong


def use(package: Path, scratch: Path, uv: str) -> dict[str, object]:
    """Installs one package alone and continues a loop with it; what was measured."""
    environment = scratch / f"env-{package.suffix.lstrip('.')}"
    began = time.perf_counter()
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(environment)], check=True)
    python = environment / "bin" / "python"
    subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), str(package)], check=True)
    installed = time.perf_counter() - began
    darius = str(environment / "bin" / "darius")
    variables = os.environ | {"DARIUS_CACHE": str(scratch / "cache")}
    variables.pop("PYTHONPATH", None)

    def seconds(*command: str) -> float:
        began = time.perf_counter()
        subprocess.run(command, cwd=scratch, env=variables, check=True, capture_output=True)
        return round(time.perf_counter() - began, 2)

    version = subprocess.run(
        [darius, "--version"], cwd=scratch, env=variables, capture_output=True, text=True, check=True
    )
    loop = str(ROOT / "examples" / "loops" / "loop_garzul.flac")
    return {
        "package": package.name,
        "megabytes": round(package.stat().st_size / 1e6, 1),
        "version": version.stdout.strip(),
        "install_seconds": round(installed, 1),
        "import_seconds": min(seconds(str(python), "-c", "import darius") for _ in range(3)),
        "help_seconds": min(seconds(darius, "--help") for _ in range(3)),
        "generate_seconds": seconds(
            darius, "generate", loop, "--bars", "2", "--seed", "1", "--out", f"{package.suffix}.wav"
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dist", type=Path, default=ROOT / "dist")
    parser.add_argument("--uv", default="uv")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wheel, archive = build(args.dist, args.uv)
        wrong = check_content(wheel)
        for package in (wheel, archive):
            print(json.dumps(use(package, Path(folder), args.uv)))
    for sentence in wrong:
        print(f"{wheel.name}: {sentence}.", file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

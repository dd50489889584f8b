"""The images' recipes: linted, alike where they should be, installing what the constraints pin. No engine is needed."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_spec = importlib.util.spec_from_file_location("docker_check", ROOT / "docker" / "check.py")
assert _spec and _spec.loader
check = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = check
_spec.loader.exec_module(check)

FILES = [ROOT / name for name in check.DOCKERFILES]
SERVING, FINETUNING = FILES[:2], FILES[2:]


@pytest.mark.parametrize("dockerfile", FILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(dockerfile: Path) -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint has no wheel for this machine")
    done = subprocess.run([hadolint, dockerfile], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("dockerfile", FILES, ids=lambda path: path.name)
def test_the_last_stage_runs_as_a_chosen_user_and_not_as_root(dockerfile: Path) -> None:
    users = [i.text for i in check.instructions(dockerfile) if i.name == "USER"]
    assert users == ["${UID}:${GID}"]
    assert check.defaults(dockerfile)["UID"] == "1000"


@pytest.mark.parametrize("dockerfile", FILES, ids=lambda path: path.name)
def test_every_extra_that_an_image_installs_exists(dockerfile: Path) -> None:
    extras = re.search(r"\[([\w,]+)\]", check.installs(dockerfile)[0])
    assert extras
    declared = (ROOT / "pyproject.toml").read_text()
    for extra in extras[1].split(","):
        assert re.search(rf"^{extra} = \[", declared, re.MULTILINE), extra


@pytest.mark.parametrize("pair", [SERVING, FINETUNING], ids=["serving", "finetuning"])
def test_architectures_differ_in_their_cuda_and_title_alone(pair: list[Path]) -> None:
    first, second = ([(i.name, i.text) for i in check.instructions(file)] for file in pair)
    different = [(a, b) for a, b in zip(first, second, strict=True) if a != b]
    assert [a[0] for a, _ in different] == ["ARG"]
    assert different[0][1][1] == different[0][0][1].replace("cuda,", "cuda13,")


@pytest.mark.parametrize("dockerfile", SERVING, ids=lambda path: path.name)
def test_the_server_listens_to_the_outside_on_the_original_port(dockerfile: Path) -> None:
    command = next(json.loads(i.text) for i in check.instructions(dockerfile) if i.name == "CMD")
    assert command == ["darius", "serve", "--host", "0.0.0.0"]
    assert check.environment(dockerfile)["PORT"] == "7860"


def test_constraints_pin_everything_that_the_package_itself_needs() -> None:
    pinned = {line.split("==")[0] for line in (ROOT / "docker" / "constraints.txt").read_text().split()}
    needed = re.search(r"^dependencies = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)
    assert needed
    names = {name.lower().replace("_", "-") for name in re.findall(r'"([\w-]+)', needed[1])}
    assert names <= pinned

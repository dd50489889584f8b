"""Every command in the README and the guides exists, with the options that it is shown with.

A fenced block marked `sh` is for any machine; a second word says what else it needs (docker, network, gpu, ...).
`tests/docs/test_guides.py` runs the short ones for real.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main

from darius_cli.main import app

ROOT = Path(__file__).resolve().parents[2]
NEEDS = {"", "docker", "network", "gpu", "server", "serve", "dev", "loop", "finetune"}
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "recipes").rglob("*.md")]
)
FENCE = re.compile(r"^```sh ?(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """The `darius` lines of its shell blocks, continuations joined, comments and prefixes cut."""
    lines = []
    for _, block in FENCE.findall(page.read_text()):
        for line in re.sub(r"\\\n", " ", block).splitlines():
            words = shlex.split(line, comments=True)
            while words and ("=" in words[0] or words[0] in ("time", "exec")):
                words = words[1:]
            if words and Path(words[0]).name == "darius":
                lines.append(shlex.join(words[1:]))
    return lines


CASES = [pytest.param(page, line, id=f"{page.relative_to(ROOT)}: {line}") for page in PAGES for line in commands(page)]


@pytest.mark.parametrize(("page", "line"), CASES)
def test_a_documented_command_is_understood(page: Path, line: str) -> None:
    command: Any = typer.main.get_command(app)
    context = click.Context(command, info_name="darius")
    words = shlex.split(line)
    while getattr(command, "commands", None) and words and not words[0].startswith("-"):
        name = words.pop(0)
        assert name in command.commands, f"there is no command {name}"
        command = command.commands[name]
    if "--help" in words or "--version" in words or "..." in words:
        return
    command.make_context(command.name, words, parent=context)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_block_says_what_it_needs_in_a_known_word(page: Path) -> None:
    assert {need for need, _ in FENCE.findall(page.read_text())} <= NEEDS

"""Every command in the README and the guides exists, with the options that it is shown with.

Those in fenced blocks are parsed whole; those within a sentence may leave arguments out. `test_guides.py` runs the
blocks.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click
import guides
import pytest
import typer.main

from darius_cli.main import app

INLINE = re.compile(r"`(darius [a-z][^`]*)`")


def commands(lines: list[str]) -> list[str]:
    """What follows the program's name in those lines that call `darius`; prefixes and comments cut, each once."""
    found = []
    for line in lines:
        words = shlex.split(line, comments=True)
        while words and ("=" in words[0] or words[0] in ("time", "exec")):
            words = words[1:]
        if words and Path(words[0]).name == "darius":
            found.append(shlex.join(words[1:]))
    return list(dict.fromkeys(found))


def shown(page: Path) -> list[str]:
    """The commands of its shell blocks, continuations joined."""
    texts = [block.text for block in guides.blocks(page) if block.kind == "sh"]
    return commands([line for text in texts for line in re.sub(r"\\\n", " ", text).splitlines()])


def mentioned(page: Path) -> list[str]:
    """The commands within its sentences."""
    return commands(INLINE.findall(page.read_text().replace("\n", " ")))


def cases(kind: Any) -> list[Any]:
    return [
        pytest.param(line, id=f"{page.relative_to(guides.ROOT)}: {line}")
        for page in guides.PAGES
        for line in kind(page)
    ]


def find(line: str) -> tuple[Any, click.Context, list[str]]:
    """The command that a line names, the context above it, and the words that are left for it."""
    command: Any = typer.main.get_command(app)
    context = click.Context(command, info_name="darius")
    words = shlex.split(line)
    while getattr(command, "commands", None) and words and not words[0].startswith("-"):
        name = words.pop(0)
        assert name in command.commands, f"there is no command {name}"
        command = command.commands[name]
    return command, context, words


@pytest.mark.parametrize("line", cases(shown))
def test_a_command_in_a_block_is_understood(line: str) -> None:
    command, context, words = find(line)
    if "--help" not in words and "--version" not in words and "..." not in words:
        command.make_context(command.name, words, parent=context)


@pytest.mark.parametrize("line", cases(mentioned))
def test_a_command_in_a_sentence_exists_with_its_options(line: str) -> None:
    command, _, words = find(line)
    known = {"--help", "--version"} | {
        name for option in command.params for name in option.opts + option.secondary_opts
    }
    assert {word.split("=")[0] for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("block", guides.BLOCKS, ids=str)
def test_a_block_says_what_it_needs_in_a_known_word(block: guides.Block) -> None:
    assert block.need in guides.NEEDS

"""docs/contract.md names tests that there are, and leaves out none of the clients' own."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from serving import ROOT

PAGE = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
TESTS = ROOT / "tests"
HELPERS = {"test_the_table_names_tests_that_there_are", "test_every_row_is_shown_by_something"}


def names_in(folder: Path) -> set[str]:
    """Names of all test functions below a folder."""
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in folder.rglob("test_*.py")]
    functions = [node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {function.name for function in functions if function.name.startswith("test_")}


def test_the_table_names_tests_that_there_are() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert named <= names_in(TESTS), sorted(named - names_in(TESTS))
    own = names_in(TESTS / "clients") - HELPERS
    assert own <= named, f"in no row: {sorted(own - named)}"


def test_every_row_is_shown_by_something() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| fact |",))]
    shown = [line for line in rows if not re.match(r"\| (it needs|they need|promise|defect) \|", line)]
    assert len(shown) > 60 and all("`test_" in line for line in shown)

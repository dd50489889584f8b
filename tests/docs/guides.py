"""The fenced blocks of the README and the guides, and what each says that it needs. Runs nothing.

A block opens with ```sh or ```python and at most one more word, what it needs:

  (nothing)  any machine with Darius: run for real by test_guides.py
  serve      begins with a server, which it leaves running: run for real
  server     a server that listens on port 7860: run for real, on another port
  finetune   the base model `large`: a page's such blocks are run in turn with `tiny` (acceptance)
  dev        the source tree: its `darius` lines are run; make and pytest are what CI itself runs
  network    a download;  docker: a container engine;  gpu: a GPU that is worth the name: not run
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NEEDS = {"", "serve", "server", "finetune", "dev", "network", "docker", "gpu"}
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "recipes").rglob("*.md")]
)
FENCE = re.compile(r"^```(sh|python) ?(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block: its page, the line it opens on, "sh" or "python", what it needs, and its text."""

    page: Path
    line: int
    kind: str
    need: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Its shell blocks, and those Python blocks that are programs: a list of signatures imports nothing."""
    text = page.read_text()
    found = [
        Block(page=page, line=text[: m.start()].count("\n") + 1, kind=m[1], need=m[2], text=m[3])
        for m in FENCE.finditer(text)
    ]
    return [block for block in found if block.kind == "sh" or re.match(r"(import|from) ", block.text)]


BLOCKS = [block for page in PAGES for block in blocks(page)]

"""The version, and the commit it was made of where that is known."""

from __future__ import annotations

from pathlib import Path

__version__ = "0.1.0"


def commit() -> str:
    """Ten digits of the commit's hash: what the build wrote down, else the checkout's own; "" if neither is there."""
    package = Path(__file__).parent
    written = package / "_commit.txt"
    if written.exists():
        return written.read_text().strip()
    git = package.parent / ".git"
    try:
        head = (git / "HEAD").read_text().strip()
        if head.startswith("ref: "):
            head = _resolved(git, head.removeprefix("ref: "))
    except OSError:  # not a checkout, or a worktree whose .git is a file
        return ""
    return head[:10]


def _resolved(git: Path, ref: str) -> str:
    loose = git / ref
    if loose.exists():
        return loose.read_text().strip()
    packed = (line.split() for line in (git / "packed-refs").read_text().splitlines() if line.endswith(ref))
    return next((words[0] for words in packed), "")

"""Folders of the real loops, as a musician has them."""

import shutil
from pathlib import Path

from known_loops import LOOPS


def loop_folder(folder: Path, names: list[str] | None = None) -> Path:
    """A new folder with some of the real loops; by default all six."""
    folder.mkdir(parents=True)
    for name in names or sorted(LOOPS):
        shutil.copy(LOOPS[name], folder)
    return folder

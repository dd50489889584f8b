"""Build hook: writes the commit that a wheel or source archive is made of into it, for `darius --version`."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PLACE = "darius/_commit.txt"


class CommitHook(BuildHookInterface[Any]):
    """Adds `darius/_commit.txt` where git knows the commit; a source archive carries its own already."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable" or (Path(self.root) / PLACE).exists():
            return
        asked = subprocess.run(
            ["git", "rev-parse", "--short=10", "HEAD"], cwd=self.root, capture_output=True, text=True, check=False
        )
        if asked.returncode == 0:
            with tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False) as file:
                file.write(asked.stdout.strip())
            build_data["force_include"][file.name] = PLACE

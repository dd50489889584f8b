"""The documentation builds with every link in place, and its reference pages are what the program says of itself."""

import subprocess
import sys
from pathlib import Path

from guides import ROOT


def test_the_site_builds_and_no_link_is_broken(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site" / "websocket" / "index.html").exists()


def test_the_reference_is_of_this_version() -> None:
    done = subprocess.run(
        [sys.executable, "tools/reference.py", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"python tools/reference.py\n{done.stdout}{done.stderr}"

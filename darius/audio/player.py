"""Playing a file through whatever player the system has."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from darius.errors import BadAudio, MissingDependency

_PLAYERS = (
    ("ffplay", "-nodisp", "-autoexit", "-loglevel", "error"),
    ("afplay",),
    ("paplay",),
    ("pw-play",),
    ("play", "-q"),
    ("mpv", "--no-video", "--really-quiet"),
    ("aplay", "-q"),
)
"""Programs and their arguments before the file's name, those that read most formats first."""


def find_player(search_path: str | None = None) -> tuple[str, ...] | None:
    """The command of the first player that is installed, without the file; None if there is none.

    Args:
      search_path: folders to look in, as in PATH (which is the default).
    """
    for program, *arguments in _PLAYERS:
        found = shutil.which(program, path=search_path)
        if found:
            return (found, *arguments)
    return None


def play(path: str | os.PathLike[str], *, search_path: str | None = None) -> None:
    """Plays a file and returns when it has ended; Ctrl-C stops it.

    Raises:
      MissingDependency: no player is installed, or it cannot play here (no sound device, for example).
      BadAudio: there is no such file.
    """
    if not Path(path).is_file():
        raise BadAudio(f"There is no file '{path}' to play.", "Give the path of an audio file.")
    command = find_player(search_path)
    if command is None:
        names = ", ".join(program for program, *_ in _PLAYERS)
        raise MissingDependency("No audio player was found on this system.", f"Install one of: {names}.")
    done = subprocess.run([*command, os.fspath(Path(path).absolute())], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        complaint = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise MissingDependency(
            f"{Path(command[0]).name} could not play '{path}': {complaint}", "Check the sound device, or open the file."
        )

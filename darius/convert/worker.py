"""The conversion's own process: `python -m darius.convert.worker`. Speaks JSON lines on its standard output.

TensorFlow lives and dies in here: on macOS it cannot share a process with SentencePiece, and its converter may take
many gigabytes or crash. Lines: {"progress": [stage, fraction]}, then one of {"result": {...}} and
{"error": [class, message, hint]}. Whatever libraries print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from darius.errors import DariusError, OutputFailed

Job = dict[str, Any]
Progress = Callable[[str, float], None]


def main(argv: list[str]) -> int:
    """Runs the job that `argv[1]` describes as JSON; 0 if it gave a result."""
    # Libraries print to standard output as they like: it becomes standard error, and the messages keep the pipe.
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    job = json.loads(argv[1])
    try:
        result = JOBS[job["verb"]](job, lambda stage, fraction: _say(channel, progress=[stage, fraction]))
    except DariusError as error:
        _say(channel, error=[type(error).__name__, error.message, error.hint])
        return 1
    except OSError as error:
        failed = OutputFailed(f"The conversion could not write its files: {error}.", "Make room and try again.")
        _say(channel, error=["OutputFailed", failed.message, failed.hint])
        return 1
    _say(channel, result=result)
    return 0


def convert(job: Job, on_progress: Progress) -> dict[str, Any]:
    """Writes every converted file into `job["target"]`; towers in `job["keep"]` stay SavedModels."""
    from darius.style import saved_model

    # Before anything that takes long: without TensorFlow nothing works.
    saved_model.tensorflow()
    from darius.codec.config import CodecConfig
    from darius.convert import codec, style

    source, target = Path(job["source"]), Path(job["target"])
    on_progress("codec", 0.02)
    config = CodecConfig.from_dict(job["codec"])
    done = codec.convert_codec(source, target, config, on_progress=lambda part: on_progress("codec", 0.4 * part))
    on_progress("style codebooks", 0.4)
    style.convert_quantizer(source, target)
    towers: dict[str, dict[str, Any]] = {}
    for index, tower in enumerate(style.TOWERS):
        on_progress(tower.name, 0.45 + 0.2 * index)
        if tower.name in job["keep"]:
            towers[tower.name] = {"format": "saved_model", "reason": "TensorFlow's converter crashed"}
        else:
            towers[tower.name] = style.convert_tower(tower, source, target)
    if style.towers_kept(towers):
        style.keep_graph(source, target)
    return {"codec": done, "style": towers, "versions": versions()}


def check_files(job: Job, on_progress: Progress) -> dict[str, Any]:
    """Compares what was converted with the original's own test data, where the source has it."""
    from darius.convert import check

    on_progress("checks", 0.9)
    return check.check(Path(job["source"]), Path(job["target"]), tensorflow_towers=job["keep"])


def versions() -> dict[str, str]:
    """Versions of what did the conversion."""
    import tensorflow as tf

    from darius._version import __version__

    return {"darius": __version__, "tensorflow": tf.__version__, "python": sys.version.split()[0]}


JOBS: dict[str, Callable[[Job, Progress], dict[str, Any]]] = {"convert": convert, "check": check_files}


def _say(channel: TextIO, **message: Any) -> None:
    channel.write(json.dumps(message) + "\n")
    channel.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv))

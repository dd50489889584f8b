"""A worker process: started, listened to, and gone afterwards. Knows its messages, not what they are about."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from typing import IO, Any

from darius import errors
from darius.errors import DariusError

Progress = Callable[[str, float], None]


class WorkerDiedError(Exception):
    """The worker ended without an answer.

    Attributes:
      stage: the last one that it told of.
      status: its exit status; negative for a signal.
      log: what it wrote to standard error.
    """

    def __init__(self, stage: str, status: int, log: str) -> None:
        super().__init__(f"{stage}: {status}")
        self.stage = stage
        self.status = status
        self.log = log

    def failure(self) -> DariusError:
        """The same as a sentence for people."""
        if self.status < 0:
            how = f"was ended by {signal.Signals(-self.status).name}"
            return DariusError(f"The conversion {how} at the stage `{self.stage}`.", "Is there enough memory (8 GB)?")
        last = next((line.strip() for line in reversed(self.log.splitlines()) if line.strip()), "none")
        return DariusError(
            f"The conversion ended with status {self.status} at the stage `{self.stage}`.",
            f"Please report its last words: {last[:300]}",
        )


def run(command: Sequence[str], on_progress: Progress) -> dict[str, Any]:
    """The worker's result.

    Args:
      command: what to start; it speaks the lines described in `darius.convert.worker`.
      on_progress: told the stage and the part done, 0 to 1.

    Raises:
      DariusError: the one that the worker reports.
      WorkerDiedError: it ended without a result.
    """
    # No GPU for the worker: it copies numbers, and whoever plays music beside it keeps the memory.
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "2"}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment, text=True)
        try:
            return _listen(process, log, on_progress)
        finally:
            process.kill()
            process.communicate()


def _listen(process: subprocess.Popen[str], log: IO[bytes], on_progress: Progress) -> dict[str, Any]:
    stage = "start"
    for line in process.stdout or ():
        message = json.loads(line)
        if "progress" in message:
            stage, part = message["progress"]
            on_progress(stage, part)
        elif "error" in message:
            name, sentence, hint = message["error"]
            raise getattr(errors, name)(sentence, hint)
        else:
            result: dict[str, Any] = message["result"]
            return result
    status = process.wait()
    log.seek(0)
    raise WorkerDiedError(stage, status, log.read().decode(errors="replace"))

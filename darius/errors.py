"""What can go wrong, as one table: each error's sentence, next step, exit code, HTTP status and code.

Every failure that a user can meet is one of these classes. The command line prints `message` and `hint`
and exits with `exit_code`; a server answers `http_status` with `code`. Nothing here knows of either.
"""

from __future__ import annotations


class DariusError(Exception):
    """A failure with one clear sentence and what to do next.

    Args:
      message: one sentence that says what is wrong.
      hint: one sentence that says what to do next ("" when the message already does).
    """

    exit_code: int = 1
    http_status: int = 500
    code: str = "failed"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class InvalidOption(DariusError):
    """An argument is outside what it may be."""

    exit_code, http_status, code = 2, 400, "invalid_option"


class ModelNotFound(DariusError):
    """No model of that name, here or on the hub."""

    exit_code, http_status, code = 3, 404, "model_not_found"


class DownloadFailed(DariusError):
    """The hub could not be reached, or a transfer broke."""

    exit_code, http_status, code = 3, 502, "download_failed"


class UploadFailed(DariusError):
    """The hub did not take an upload: no token, no right, or the transfer broke."""

    exit_code, http_status, code = 1, 502, "upload_failed"


class BadCheckpoint(DariusError):
    """A checkpoint is damaged, incomplete, or not of the expected shape."""

    exit_code, http_status, code = 3, 422, "bad_checkpoint"


class NoDevice(DariusError):
    """The device asked for is not on this machine."""

    exit_code, http_status, code = 4, 503, "no_device"


class OutOfMemory(DariusError):
    """The device has too little memory for this model or batch."""

    exit_code, http_status, code = 4, 507, "out_of_memory"


class BadAudio(DariusError):
    """An audio file or array that cannot be used."""

    exit_code, http_status, code = 5, 400, "bad_audio"


class BadDataset(DariusError):
    """A dataset for finetuning is damaged, incomplete, or not one."""

    exit_code, http_status, code = 5, 422, "bad_dataset"


class TrainingStopped(DariusError):
    """Training went wrong (not a number, a collapse) and stopped itself."""

    exit_code, http_status, code = 1, 500, "training_stopped"


class Busy(DariusError):
    """All capacity is taken; try again later."""

    exit_code, http_status, code = 6, 429, "busy"


class OutputFailed(DariusError):
    """The result could not be written."""

    exit_code, http_status, code = 1, 500, "output_failed"


class OutputExists(OutputFailed):
    """The output file exists already and was not to be replaced."""

    exit_code, http_status, code = 2, 409, "output_exists"


class MissingDependency(DariusError):
    """An optional part of Darius is not installed."""

    exit_code, http_status, code = 1, 501, "missing_dependency"

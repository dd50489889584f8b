"""Why a jam is over, and what everyone who asks for it is told. Values only."""

from __future__ import annotations

import dataclasses

from darius.errors import DariusError
from serve.errors import Refused


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ending:
    """The end of a jam.

    Attributes:
      reason: stopped (by its client), stopped_all, model_changed, disconnected, expired, failed, shutdown.
      status: what who waits for its next chunk is answered; 408 rather than 404, which some clients take as the end
        of everything.
    """

    reason: str
    message: str
    hint: str = "Start another."
    status: int = 408
    code: str = "session_stopped"

    @classmethod
    def of(cls, error: DariusError) -> Ending:
        """The end of a jam that failed."""
        return cls(reason="failed", message=error.message, hint=error.hint, status=error.http_status, code=error.code)

    @property
    def failed(self) -> bool:
        """It did not end because somebody wanted it to."""
        return self.reason in ("failed", "shutdown")

    def error(self) -> Refused:
        """A new error each time: one that is raised again and again would hold on to all who raised it."""
        return Refused(self.message, self.hint, status=self.status, code=self.code)


STOPPED = Ending(reason="stopped", message="The jam was stopped.")
STOPPED_ALL = Ending(reason="stopped_all", message="The jam was stopped with all others.")
CHANGED = Ending(reason="model_changed", message="The jam ended because another model was selected.")
DISCONNECTED = Ending(reason="disconnected", message="The jam ended with its socket.")
EXPIRED = Ending(
    reason="expired", message="The jam ended because its client did not call any more.", code="session_expired"
)
SHUTDOWN = Ending(
    reason="shutdown",
    message="The server is shutting down.",
    hint="Try again in a moment.",
    status=503,
    code="shutting_down",
)

"""How far each one-shot is, for whoever asks; kept for a while after its end. Knows no route and no device."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

from darius.errors import DariusError
from serve import request_id as ids
from serve.errors import of_a_bug, sentence

KEPT_SECONDS = 600.0
MOST_KEPT = 10_000
SHARES = {
    "queued": (0, 0),
    "generating": (2, 90),
    "postprocess": (90, 94),
    "resample_and_snap": (94, 97),
    "encode": (97, 99),
}
"""Percent at the beginning and end of each stage."""


@dataclasses.dataclass(kw_only=True)
class Report:
    """One request's progress.

    Attributes:
      n, total: how much of the stage is done; while queued, n is how many are served before.
      error: what went wrong, once the stage is "error".
      place: tells how many are served before, while it is queued.
    """

    stage: str = "pending"
    percent: float = 0.0
    n: int = 0
    total: int = 0
    ts: float = dataclasses.field(default_factory=time.time)
    error: str | None = None
    place: Callable[[], int] | None = None

    def enter(self, stage: str, n: int = 0, total: int = 0) -> None:
        """The request is in a stage, `n` of `total` of it done. Percent never decreases."""
        begin, end = SHARES[stage]
        percent = begin + (end - begin) * (n / total if total else 0.0)
        self.stage, self.n, self.total, self.ts = stage, n, total, time.time()
        self.percent = max(self.percent, round(percent, 1))
        self.place = None

    def queue(self, place: Callable[[], int]) -> None:
        """The request waits in line; `place` tells how many come before it."""
        self.enter("queued")
        self.place = place

    def done(self) -> None:
        """It is over, and well."""
        self.stage, self.percent, self.ts = "done", 100.0, time.time()

    def failed(self, error: str) -> None:
        """It is over, and failed."""
        self.stage, self.percent, self.ts, self.error = "error", 100.0, time.time(), error

    def reply(self) -> dict[str, Any]:
        """As GET /progress tells it."""
        n = self.place() if self.stage == "queued" and self.place is not None else self.n
        told = {"percent": self.percent, "stage": self.stage, "n": n, "total": self.total, "ts": self.ts}
        return told | ({} if self.error is None else {"error": self.error})


class Progress:
    """Reports by request id, the oldest forgotten first."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._reports: collections.OrderedDict[str, tuple[float, Report]] = collections.OrderedDict()

    @contextlib.contextmanager
    def of(self, request_id: str) -> Iterator[Report]:
        """The report of a request while it is worked on; how it ends is noted."""
        report = Report()
        self._reports.pop(request_id, None)
        self._reports[request_id] = (self._clock(), report)
        self._forget()
        ended = "The request was given up."
        try:
            yield report
            ended = ""
        except DariusError as error:
            ended = sentence(error)
            raise
        except Exception:  # whatever it was goes on up; here it is only noted for who polls
            ended = of_a_bug(ids.current())
            raise
        finally:
            if ended:
                report.failed(ended)
            else:
                report.done()
            if self._reports.get(request_id, (0.0, None))[1] is report:
                self._reports[request_id] = (self._clock(), report)
                self._reports.move_to_end(request_id)

    def read(self, request_id: str) -> dict[str, Any]:
        """The reply of GET /progress; "pending" for an unknown id."""
        self._forget()
        _, report = self._reports.get(request_id, (0.0, Report()))
        return report.reply()

    def _forget(self) -> None:
        before = self._clock() - KEPT_SECONDS
        for name, (begun, report) in list(self._reports.items()):
            if len(self._reports) <= MOST_KEPT and (begun > before or report.stage not in ("done", "error")):
                return
            del self._reports[name]

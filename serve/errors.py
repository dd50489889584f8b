"""Every failure as the client sees it: {"ok": false, error, detail, code}, its status and Retry-After. One table.

Knows exceptions and replies; knows no route. Raise any `DariusError`, or `Refused` for what only a server can refuse.
"""

from __future__ import annotations

import json
import logging
import re
from typing import Any

from quart import Quart, Response, current_app
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from darius.errors import DariusError
from serve import request_id

log = logging.getLogger("darius.serve")

_FLAG = re.compile(r"--([a-z][a-z-]*[a-z])")
RETRY_SECONDS = {429: 2, 503: 5}
"""Retry-After where the error does not say."""
CODES = {404: "not_found", 405: "method_not_allowed", 408: "timeout", 413: "too_large", 415: "unsupported_media_type"}
SENTENCES = {
    404: "There is nothing at this address; see /docs for what there is.",
    405: "This address does not take this method; see /docs.",
    408: "The request's body did not arrive in time; try again.",
    413: "The request is too large; send less or shorter audio.",
}


class Refused(DariusError):
    """What a server refuses, with a status and a stable code of its own.

    Args:
      retry_after: seconds after which trying again makes sense.
    """

    def __init__(
        self, message: str, hint: str = "", *, status: int, code: str, retry_after: float | None = None
    ) -> None:
        super().__init__(message, hint)
        self.http_status, self.code, self.retry_after = status, code, retry_after


def shutting_down() -> Refused:
    """The server ends."""
    return Refused("The server is shutting down.", "Try again in a moment.", status=503, code="shutting_down")


def sentence(error: DariusError) -> str:
    """The error in one line; options are named as fields, not as flags."""
    return _FLAG.sub(lambda flag: flag[1].replace("-", "_"), str(error))


def retry_seconds(status: int, stated: float | None) -> int | None:
    """Whole seconds after which trying again makes sense, as stated or by the status; None where it does not."""
    wait = RETRY_SECONDS.get(status) if stated is None else stated
    return None if wait is None else max(1, round(wait))


def of_a_bug(number: str) -> str:
    """What is told of a failure that nobody foresaw; the rest is in the log under this request's id."""
    return f"The server met a bug; it is in its log as request {number}."


def body(sentence: str, code: str, **more: Any) -> dict[str, Any]:
    """A failure as JSON."""
    return {"ok": False, "error": sentence, "detail": sentence, "code": code, **more}


def reply(sentence: str, code: str, status: int, *, retry_after: float | None = None, **more: Any) -> Response:
    """A failure as a response."""
    count(code)
    response = Response(json.dumps(body(sentence, code, **more)), status=status, content_type="application/json")
    wait = retry_seconds(status, retry_after)
    if wait is not None:
        response.headers["Retry-After"] = str(wait)
    return response


def count(code: str) -> None:
    """Counts a failure for /metrics."""
    current_app.extensions["darius"].metrics.errors.labels(code).inc()


def install(app: Quart) -> None:
    """Makes every failure of the app one of these replies."""

    @app.errorhandler(DariusError)
    async def known(error: DariusError) -> Response:
        return reply(sentence(error), error.code, error.http_status, retry_after=getattr(error, "retry_after", None))

    @app.errorhandler(HTTPException)
    async def from_the_framework(error: HTTPException) -> Response:
        status = error.code or 500
        text = SENTENCES.get(status) or error.description or error.name
        response = reply(text, CODES.get(status, error.name.lower().replace(" ", "_")), status)
        if isinstance(error, MethodNotAllowed):
            response.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
        return response

    @app.errorhandler(Exception)
    async def bug(error: Exception) -> Response:
        number = request_id.current()
        log.error("a bug: %s", error, exc_info=error)
        return reply(of_a_bug(number), "internal", 500, request_id=number)

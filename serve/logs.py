"""The log: one line an event, as JSON or as text, each with the id of its request. Knows no route."""

from __future__ import annotations

import json
import logging
import sys
import time

from quart import Quart, Response, g, request

from serve import request_id

log = logging.getLogger("darius.serve")
QUIET = ("/ping", "/health", "/progress", "/metrics", "/model/config", "/static/")
"""Asked for again and again: logged only when they fail."""


class JsonLines(logging.Formatter):
    """{"ts": ..., "level": ..., "request_id": ..., "message": ...}"""

    def format(self, record: logging.LogRecord) -> str:
        facts = {
            "ts": round(record.created, 3),
            "level": record.levelname.lower(),
            "request_id": request_id.current(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            facts["trace"] = self.formatException(record.exc_info)
        return json.dumps(facts, ensure_ascii=False)


class Text(logging.Formatter):
    """2026-01-31T12:00:00 info [request id] message"""

    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(record.created))
        # A message may quote a client: it must not be able to begin a new line of its own.
        said = record.getMessage().replace("\n", "\\n").replace("\r", "\\r")
        line = f"{when} {record.levelname.lower()} [{request_id.current()}] {said}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure(style: str) -> None:
    """Sends the server's log to stderr, as "json" or "text"."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if style == "json" else Text())
    for name in ("darius", "hypercorn", "quart"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO if name == "darius" else logging.WARNING)


def install(app: Quart) -> None:
    """Logs every request of the app when it is answered."""

    @app.before_request
    async def begin() -> None:
        g.began = time.perf_counter()

    @app.after_request
    async def answered(response: Response) -> Response:
        if response.status_code >= 400 or not request.path.startswith(QUIET):
            took = time.perf_counter() - g.get("began", time.perf_counter())
            log.info("%s %s %d %.3f s", request.method, request.path, response.status_code, took)
        return response

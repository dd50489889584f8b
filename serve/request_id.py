"""Each request's id: the client's `X-Request-ID` or a new one; echoed, and in every log line of that request."""

from __future__ import annotations

import contextvars
import re
import secrets

from quart import Quart, Response, request, websocket

HEADER = "X-Request-ID"
_ALLOWED = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_current: contextvars.ContextVar[str] = contextvars.ContextVar("darius_request_id", default="-")


def current() -> str:
    """The id of the request that this task works for; "-" for none."""
    return _current.get()


def adopt(wanted: str | None) -> str:
    """Takes the wanted id, or makes one if it is none or unfit for a log."""
    number = wanted if wanted and _ALLOWED.fullmatch(wanted) else secrets.token_hex(8)
    _current.set(number)
    return number


def install(app: Quart) -> None:
    """Gives every request of the app its id."""

    @app.before_request
    async def begin() -> None:
        adopt(request.headers.get(HEADER))

    @app.before_websocket
    async def begin_websocket() -> None:
        adopt(websocket.headers.get(HEADER))

    @app.after_request
    async def echo(response: Response) -> Response:
        response.headers[HEADER] = current()
        return response

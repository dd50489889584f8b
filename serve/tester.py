"""The web tester: its page and the words it plays with. Everything else it needs lies under /static/. Knows no jam."""

from __future__ import annotations

from pathlib import Path

from quart import Blueprint, Response, request, send_file

from serve.describe import described

PAGES = Path(__file__).parent / "static"

blueprint = Blueprint("tester", __name__)


@blueprint.get("/tester")
@described(media="text/html")
async def page() -> Response:
    """The page to play with."""
    return await _send("tester.html", "text/html")


@blueprint.get("/magenta_prompts.js")
@described(media="text/javascript")
async def prompts() -> Response:
    """An ES module that exports MagentaPrompts."""
    return await _send("magenta_prompts.js", "text/javascript")


@blueprint.after_app_request
async def describe(response: Response) -> Response:
    """Modules by their type, which browsers insist on and some systems get wrong; and never an old page's modules with
    a new page: browsers keep them, but ask each time whether they are still the same."""
    if response.mimetype in ("application/javascript", "application/x-javascript"):
        response.mimetype = "text/javascript"
    if request.endpoint in ("static", "tester.page", "tester.prompts"):
        response.headers["Cache-Control"] = "no-cache"
        response.headers.pop("Expires", None)
    return response


async def _send(name: str, mimetype: str) -> Response:
    return await send_file(PAGES / name, mimetype=mimetype)

"""The web tester: its page and the words it plays with. Everything else it needs lies under /static/. Knows no jam."""

from __future__ import annotations

from pathlib import Path

from quart import Blueprint, Response, send_file

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
async def name_modules(response: Response) -> Response:
    """Browsers refuse a module of any other type, and some systems call .js files plain text."""
    if response.mimetype in ("application/javascript", "application/x-javascript"):
        response.mimetype = "text/javascript"
    return response


async def _send(name: str, mimetype: str) -> Response:
    response = await send_file(PAGES / name, mimetype=mimetype)
    response.headers["Cache-Control"] = "no-cache"  # asked for again after every update of the server
    return response

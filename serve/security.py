"""Who may call, from where, and what browsers are told: API key, CORS, headers. Knows no route but the open ones.

CORS is our own few lines: the library for it refuses every WebSocket without an Origin, and only browsers send one.
"""

from __future__ import annotations

import hmac

from quart import Quart, Request, Response, Websocket, request, websocket

from serve import errors
from serve.settings import Settings

OPEN = ("/", "/ping", "/health", "/docs", "/openapi.json", "/tester", "/magenta_prompts.js")
"""Paths without a key: they tell nothing that is worth one. /static/ too."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
PAGE_POLICY = (
    "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data: blob:; media-src 'self' blob: data:; "
    "worker-src 'self' blob:; script-src 'self'; style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'"
)
ALLOWED_HEADERS = "Authorization, Content-Type, X-API-Key, X-Request-ID"
EXPOSED_HEADERS = "Retry-After, X-Request-ID"


def install(app: Quart, settings: Settings) -> None:
    """Guards every request of the app."""
    origins = {origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()}

    @app.before_request
    async def check_key() -> Response | None:
        if not settings.api_key or request.method == "OPTIONS" or _is_open(request.path):
            return None
        return None if _has_key(request, settings.api_key) else _refusal()

    @app.before_websocket
    async def check_socket() -> Response | None:
        origin = websocket.headers.get("Origin")
        own = {f"http://{websocket.host}", f"https://{websocket.host}"}
        if origin is not None and "*" not in origins and origin not in origins | own:
            return errors.reply("This server takes no calls from that page.", "origin_not_allowed", 403)
        if not settings.api_key or _has_key(websocket, settings.api_key):
            return None
        given = websocket.args.get("api_key", "")
        return None if hmac.compare_digest(given.encode(), settings.api_key.encode()) else _refusal()

    @app.after_request
    async def tell_browsers(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if response.mimetype == "text/html":
            response.headers.setdefault("Content-Security-Policy", PAGE_POLICY)
        _allow_origin(response, origins)
        return response


def _is_open(path: str) -> bool:
    return path in OPEN or path.startswith("/static/")


def _has_key(call: Request | Websocket, key: str) -> bool:
    bearer = call.headers.get("Authorization", "")
    given = bearer[7:] if bearer[:7].lower() == "bearer " else call.headers.get("X-API-Key", "")
    return hmac.compare_digest(given.encode(), key.encode())


def _refusal() -> Response:
    response = errors.reply(
        "This server needs an API key; send it as Authorization: Bearer or X-API-Key.", "unauthorized", 401
    )
    response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _allow_origin(response: Response, origins: set[str]) -> None:
    origin = request.headers.get("Origin")
    if "*" not in origins:
        response.headers.add("Vary", "Origin")
        if origin not in origins:
            return
    if origin is None:
        return
    response.headers["Access-Control-Allow-Origin"] = "*" if "*" in origins else origin
    response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
    if request.method == "OPTIONS":
        response.headers["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
        response.headers["Access-Control-Allow-Headers"] = ALLOWED_HEADERS
        response.headers["Access-Control-Max-Age"] = "600"

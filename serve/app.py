"""The application: its parts put together. Knows all rooms of the server; holds no logic of its own."""

from __future__ import annotations

import importlib
import importlib.util

from quart import Quart
from quart_schema import Info, QuartSchema

from darius._version import __version__
from serve import describe, errors, request_id
from serve.backend import Backend
from serve.settings import Settings

BLUEPRINTS = {
    "serve.health": "blueprint",
    "serve.generation": "blueprint",
    "serve.model_routes": "blueprint",
    "serve.jam_routes": "jam",
    "serve.websocket": "websocket",
    "serve.tester": "blueprint",
}
"""Modules with routes, and the name of the blueprint in each."""


DESCRIPTION = """Live jams and continuations of loops, played by Magenta RealTime.

Fields may be sent as multipart/form-data or urlencoded; an empty field counts as not given and unknown ones are
ignored. Audio goes in as any file that libsndfile reads, and comes back as base64 of a float32 WAV. Every failure is
{"ok": false, "error": ..., "detail": ..., "code": ...}. The WebSocket /ws/jam is described in docs/websocket.md."""


def create_app(settings: Settings) -> Quart:
    """The server's ASGI application; it loads the model in the background once it is served."""
    app = Quart("serve", static_folder="static", static_url_path="/static")
    app.config["MAX_CONTENT_LENGTH"] = settings.max_upload_mb << 20
    app.config["RESPONSE_TIMEOUT"] = None
    QuartSchema(
        app,
        swagger_ui_path=None,  # its pages come from a content network; /docs is our own and works offline
        redoc_ui_path=None,
        scalar_ui_path=None,
        conversion_preference="pydantic",
        openapi_provider_class=describe.Provider,
        info=Info(title="Darius", version=__version__, description=DESCRIPTION),
    )
    here = Backend(settings)
    app.extensions["darius"] = here
    if importlib.util.find_spec("serve.sessions"):
        here.sessions = importlib.import_module("serve.sessions").Sessions(here)
    request_id.install(app)
    errors.install(app)
    for module, name in BLUEPRINTS.items():
        if importlib.util.find_spec(module):
            app.register_blueprint(getattr(importlib.import_module(module), name))
    app.before_serving(here.start)
    app.after_serving(here.close)
    return app

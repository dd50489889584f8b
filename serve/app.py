"""The application: its parts put together. Knows all rooms of the server; holds no logic of its own."""

from __future__ import annotations

import importlib
import importlib.util

from quart import Quart
from quart_schema import QuartSchema

from serve import errors, request_id
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


def create_app(settings: Settings) -> Quart:
    """The server's ASGI application; it loads the model in the background once it is served."""
    app = Quart("serve", static_folder="static", static_url_path="/static")
    app.config["MAX_CONTENT_LENGTH"] = settings.max_upload_mb << 20
    app.config["RESPONSE_TIMEOUT"] = None
    QuartSchema(app, swagger_ui_path=None, redoc_ui_path=None, scalar_ui_path=None, conversion_preference="pydantic")
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

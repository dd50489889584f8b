"""The application: its parts put together. Knows all rooms of the server; holds no logic of its own."""

from __future__ import annotations

from quart import Quart
from quart_schema import Info, QuartSchema

from darius._version import __version__
from serve import describe, errors, generation, health, logs, model_routes, request_id, security, tester
from serve.backend import Backend
from serve.jam_routes import jam
from serve.settings import Settings
from serve.websocket import websocket

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
    request_id.install(app)
    logs.install(app)
    errors.install(app)
    security.install(app, settings)
    for blueprint in (health.blueprint, generation.blueprint, model_routes.blueprint, jam, websocket, tester.blueprint):
        app.register_blueprint(blueprint)
    app.before_serving(here.start)
    app.after_serving(here.close)
    return app

"""Whether the server lives and can play, what it is, and what it counts. Knows no model by itself."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel
from quart import Blueprint, Response, render_template

from serve.backend import backend
from serve.describe import described, document
from serve.metrics import CONTENT_TYPE

blueprint = Blueprint("health", __name__)


class Alive(BaseModel):
    ok: Literal[True]


class Probe(BaseModel):
    """What the server computes on; null and empty until it is known."""

    backend: str | None
    devices: list[str]
    has_gpu: bool
    error: str | None


class Health(BaseModel):
    """Whether the server can play. `message` says what is wrong, if something is."""

    ok: bool
    status: Literal["ready", "initializing", "gpu_unavailable", "template_mode"]
    mode: str
    warmed: bool
    active_jams: int
    capacity: int
    probe: Probe
    message: str


UNKNOWN: dict[str, Any] = {"backend": None, "devices": [], "has_gpu": False, "error": None}
MESSAGES = {
    "gpu_unavailable": "A GPU was demanded and none can be used here.",
    "template_mode": "This is a template: it plays nothing. Run a copy of it.",
    "initializing": "The model is being loaded.",
    "ready": "",
}


@blueprint.get("/ping")
@described(reply=Alive)
async def ping() -> dict[str, Any]:
    """Whether the server lives."""
    return {"ok": True}


@blueprint.get("/health")
@described(reply=Health, replies={503: Health})
async def health() -> tuple[dict[str, Any], int]:
    """Whether the server can play; 503 only if a GPU was demanded and is missing, or for a template."""
    here = backend()
    models = here.models
    status = "ready" if models.loaded else "initializing"
    if here.settings.template:
        status = "template_mode"
    elif models.gpu_missing:
        status = "gpu_unavailable"
    well = status in ("ready", "initializing")
    return {
        "ok": well,
        "status": status,
        "mode": "serve",
        "warmed": models.warmed,
        "active_jams": here.active_jams,
        "capacity": here.capacity,
        "probe": models.probe or UNKNOWN,
        "message": (models.trouble if well else "") or MESSAGES[status],
    }, 200 if well else 503


@blueprint.get("/metrics")
@described(media="text/plain")
async def metrics() -> Response:
    """Counters and gauges in Prometheus' text format."""
    return Response(backend().metrics.text(), content_type=CONTENT_TYPE)


@blueprint.get("/")
@described(media="text/html")
async def home() -> str:
    """What this server is and how to use it."""
    here = backend()
    return await render_template("home.html", config=here.models.config(), capacity=here.capacity)


@blueprint.get("/docs")
@described(media="text/html")
async def docs() -> str:
    """The OpenAPI document as a page that needs no internet."""
    return await render_template("docs.html", document=document())

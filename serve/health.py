"""Whether the server lives and can play, what it is, and what it counts. Knows no model by itself."""

from __future__ import annotations

from typing import Any

from quart import Blueprint

from serve.backend import backend

blueprint = Blueprint("health", __name__)


@blueprint.get("/ping")
async def ping() -> dict[str, Any]:
    """Whether the server lives."""
    return {"ok": True}


@blueprint.get("/health")
async def health() -> dict[str, Any]:
    """Whether the server can play."""
    here = backend()
    return {
        "ok": True,
        "status": "ready" if here.models.loaded else "initializing",
        "mode": "serve",
        "warmed": here.models.warmed,
        "active_jams": here.active_jams,
        "capacity": here.capacity,
    }

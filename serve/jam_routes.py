"""/jam/*: live jams over HTTP. Knows the wire; what a jam is, is in `sessions` and `live`."""

from __future__ import annotations

import time
from typing import Annotated, Any

from pydantic import Field
from quart import Blueprint, Response

from darius.jam import Dials
from serve import forms, uploads
from serve import jam_replies as replies
from serve.backend import backend
from serve.describe import described
from serve.errors import Refused
from serve.forms import Fields, Whole
from serve.jam_fields import JamStart, SessionId, Update, neutral, seed_of
from serve.live import Live
from serve.packets import beats_a_minute
from serve.sessions import Sessions
from serve.steering import steer

jam = Blueprint("jam", __name__, url_prefix="/jam")

LONGEST_POLL = 30.0


class OfSession(Fields):
    """Which jam."""

    session_id: Annotated[SessionId, Field(description="As /jam/start gave it.")]


class Next(OfSession):
    """Query of /jam/next."""

    timeout_seconds: Annotated[float, Field(ge=0, description=f"How long to wait, at most {LONGEST_POLL:.0f} s.")] = (
        LONGEST_POLL
    )


class Consume(OfSession):
    """Form of /jam/consume."""

    chunk_index: Annotated[Whole, Field(description="Of the chunk that begins to play.")]


class JamUpdate(OfSession, Update):
    """Form of /jam/update."""


class Splice(OfSession):
    """Form of /jam/reseed_splice, besides the file combined_audio."""

    anchor_bars: Annotated[float, Field(gt=0, le=64, description="Whole bars to take from the audio's end.")] = 2.0


@jam.post("/start")
@described(form=JamStart, files={"loop_audio": True}, reply=replies.Started, errors=(409, 413, 415, 429))
async def start() -> dict[str, Any]:
    """Starts a jam that goes on from a loop, on the downbeat after it.

    It plays until it is stopped, or until nobody has called for three chunks (at least a minute).
    """
    here, form = backend(), await forms.read(JamStart)
    loaded = here.models.current()
    style, dials = form.style(neutral()), form.dials(Dials())
    with _sessions().slot(form.session_id) as name:
        upload = await forms.upload("loop_audio")
        assert upload is not None  # it is required
        loop = await uploads.decode(here, upload)
        settings = form.settings(
            loop.rate,
            rate=form.target_sample_rate,
            loudness=form.loudness_mode,
            headroom_db=form.loudness_headroom_db,
        )
        live = await _sessions().begin(
            name,
            loaded.model,
            settings,
            loop=loop,
            style=style,
            dials=dials,
            seed=seed_of(form.seed),
            assets=loaded.assets,
            buffer_ahead=form.buffer_ahead,
        )
    return {"ok": True, "session_id": live.id, "status": "started"}


@jam.get("/next")
@described(query=Next, reply=replies.NextChunk, errors=(404, 408, 409))
async def next_chunk() -> Response:
    """Waits for the next chunk; each goes once, in order, also to several calls at once.

    Chunk 0 goes when it is made; chunk k when the client says that it plays chunk k - 1 (/jam/consume) or, if it never
    does, at (k + 1/4) chunk durations after chunk 0, on an absolute schedule: in real time, however long it plays.
    """
    wanted = forms.query(Next)
    live = _sessions().get_to_hear(wanted.session_id)
    if live.of_socket:
        raise Refused(
            "This stream goes to its socket.", "Start a jam of your own.", status=409, code="session_of_socket"
        )
    packet = await live.next(min(wanted.timeout_seconds, LONGEST_POLL))
    if packet is None:
        raise Refused("The next chunk may not go yet.", "Ask again.", status=408, code="not_ready")
    return Response(b'{"ok":true,"chunk":{%s}}' % packet.members, content_type="application/json")


@jam.post("/consume")
@described(form=Consume, reply=replies.Consumed, errors=(404,))
async def consume() -> dict[str, Any]:
    """Tells that a chunk begins to play, which lets the next one go."""
    form = await forms.read(Consume)
    _sessions().get(form.session_id).consume(form.chunk_index)
    return {"ok": True, "consumed": form.chunk_index}


@jam.post("/update")
@described(form=JamUpdate, reply=replies.Done, errors=(404, 409))
async def update() -> dict[str, Any]:
    """Turns knobs, from the next chunk on, and styles, which glide in; what is not given stays as it is."""
    form = await forms.read(JamUpdate)
    steer(_sessions().get(form.session_id), form, backend().models)
    return {"ok": True}


@jam.post("/reseed")
@described(form=OfSession, files={"loop_audio": False}, reply=replies.Done, errors=(404, 409, 413, 415, 429))
async def reseed() -> dict[str, Any]:
    """Lets the music go on from other audio (loop_audio), bar on bar; or, without it, from what was played."""
    form = await forms.read(OfSession)
    live = _sessions().get(form.session_id)
    upload = await forms.upload("loop_audio", required=False)
    await live.reseed(None if upload is None else await uploads.decode(backend(), upload))
    return {"ok": True}


@jam.post("/reseed_splice")
@described(form=Splice, files={"combined_audio": False}, reply=replies.Spliced, errors=(404, 409, 413, 415, 429))
async def reseed_splice() -> dict[str, Any]:
    """Lets the music go on from what was played, but with the last bars of other audio in the place of its own."""
    form = await forms.read(Splice)
    live = _sessions().get(form.session_id)
    upload = await forms.upload("combined_audio", required=False)
    audio = None if upload is None else await uploads.decode(backend(), upload)
    return {"ok": True, "anchor_bars": await live.splice(audio, form.anchor_bars)}


@jam.post("/stop")
@described(form=OfSession, json=OfSession, reply=replies.Stopped, errors=(404,))
async def stop() -> dict[str, Any]:
    """Ends a jam. Calls that wait for its next chunk are answered with 408 at once."""
    form = await forms.read(OfSession)
    _sessions().stop(form.session_id)
    return {"ok": True, "stopped": True}


@jam.post("/stop_all")
@described(reply=replies.StoppedAll)
async def stop_all() -> dict[str, Any]:
    """Ends all jams."""
    ended = await _sessions().stop_all()
    return {"ok": True, "stopped_sessions": ended, "count": len(ended)}


@jam.get("/status")
@described(query=OfSession, reply=replies.JamStatus, errors=(404,))
async def status() -> dict[str, Any]:
    """How a jam is going: what was made, what went, and the knobs in force."""
    wanted = forms.query(OfSession)
    return {"ok": True, **report(_sessions().get(wanted.session_id))}


def report(live: Live) -> dict[str, Any]:
    """A jam's state as JSON."""
    settings, delivery, dials, style = live.jam.settings, live.delivery, live.dials, live.style
    bar = settings.seconds_per_bar
    return {
        "session_id": live.id,
        "running": live.ending is None,
        "kind": live.kind,
        "model": live.jam.model.name,
        "last_generated_index": delivery.last_generated,
        "last_delivered_index": delivery.last_delivered,
        "last_consumed_index": delivery.consumed,
        "buffer_ahead": delivery.buffer_ahead,
        "queued_chunks": delivery.queued,
        "late_chunks": live.late,
        "bpm": beats_a_minute(settings),
        "beats_per_bar": settings.beats_per_bar,
        "bars_per_chunk": settings.bars_per_chunk,
        "seconds_per_bar": None if bar is None else float(bar),
        "chunk_duration_seconds": float(settings.chunk_duration),
        "target_sample_rate": settings.rate,
        "last_chunk_started_at": live.started_at,
        "last_chunk_completed_at": live.completed_at,
        "running_seconds": time.monotonic() - delivery.started,
        "guidance_weight": dials.guidance,
        "temperature": dials.temperature,
        "topk": dials.top_k,
        "styles": [entry.text for entry in style.texts],
        "style_weights": [entry.weight for entry in style.texts],
        "loop_weight": style.loop_weight,
        "mean": style.mean,
        "centroid_weights": list(style.centroids),
        "style_ramp_seconds": settings.style_ramp_seconds,
        "seed": live.jam.seed,
    }


def _sessions() -> Sessions:
    found = backend().sessions
    assert isinstance(found, Sessions)  # the app is built with it
    return found

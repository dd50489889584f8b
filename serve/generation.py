"""/generate*, /progress: one-shots of exactly N bars, played chunk by chunk between the live jams. Knows the wire.

A one-shot waits in line, shares the device's calls with everyone, and stops at the next chunk when its client leaves.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Annotated, Any

from pydantic import BaseModel, Field
from quart import Blueprint, Response

from darius import piece
from darius.audio.bars import bar_seconds
from darius.audio.tempo import TempoEstimate, find_tempo
from darius.audio.waveform import Waveform
from darius.context import whole_bars
from darius.continuation import RATES, ContinuationOptions
from darius.errors import InvalidOption
from darius.jam import Dials
from darius.style.mix import StyleRequest, pair
from serve import forms, request_id, takes, uploads
from serve.backend import Backend, backend
from serve.describe import described
from serve.forms import Fields, Whole
from serve.jam_fields import Seed, Steering, Tempo
from serve.loading import Loaded
from serve.progress import Report

blueprint = Blueprint("generation", __name__)

FADE_SECONDS = 0.005
LISTEN_SECONDS = 60.0
"""Of a longer loop without a stated tempo, the beginning decides."""
STYLE, WARMUP = "acid house", "warmup"
"""Words for which nothing is said: with a loop, and without."""


class OneShot(Steering):
    """Fields that both ways of generating have."""

    bars: Annotated[Whole, Field(ge=1, le=64, description="Bars to deliver.")] = 8
    beats_per_bar: Annotated[Whole, Field(ge=1, le=16)] = 4
    target_sample_rate: Annotated[Whole | None, Field(ge=RATES[0], le=RATES[1], description="Of the audio.")] = None
    intro_bars_to_drop: Annotated[Whole, Field(ge=0, le=64, description="Bars to play and throw away first.")] = 0
    request_id: Annotated[str | None, Field(max_length=200, description="To ask /progress with.")] = None
    seed: Annotated[Seed | None, Field(description="The same seed gives the same music.")] = None

    def base(self, words: str, guidance: float) -> dict[str, Any]:
        """What the options of a piece take over as it is."""
        dials = self.dials(Dials(guidance=guidance))
        style = self.style(StyleRequest())
        if not style.texts:
            style = StyleRequest(
                texts=pair([words], []), loop_weight=style.loop_weight, mean=style.mean, centroids=style.centroids
            )
        return {
            "bars": self.bars,
            "beats_per_bar": self.beats_per_bar,
            "style": style,
            "guidance": dials.guidance,
            "temperature": dials.temperature,
            "top_k": dials.top_k,
            "drums": dials.drums,
            "notes_guidance": dials.notes_guidance,
            "drums_guidance": dials.drums_guidance,
            "seed": secrets.randbits(32) if self.seed is None else self.seed,
            "intro_bars_to_drop": self.intro_bars_to_drop,
            "level_of": "first bar",
            "fade_seconds": FADE_SECONDS,
        }


class GenerateForm(OneShot):
    """Fields of /generate, besides the file loop_audio."""

    bpm: Annotated[Tempo | None, Field(description="Tempo of the loop; found by itself if left out.")] = None
    loudness_mode: Annotated[
        str, Field(pattern="^(auto|lufs|rms|none)$", description="How the first bar is levelled.")
    ] = "auto"
    loudness_headroom_db: Annotated[float, Field(ge=0, le=24)] = 1.0
    force_reset: Annotated[str | None, Field(description="Taken and ignored: nothing needs it.")] = None


class StyleForm(OneShot):
    """Fields of /generate_style."""

    bpm: Annotated[Tempo, Field(description="Tempo of the music.")]


class Generated(BaseModel):
    """Music as base64 of a float32 WAV, and what was asked for."""

    audio_base64: str
    request_id: str
    metadata: takes.Metadata


class Reset(BaseModel):
    reset: bool
    message: str
    counter_reset: bool


class ProgressQuery(Fields):
    request_id: Annotated[str | None, Field(max_length=200, description="As sent with the request.")] = None


class ProgressReply(BaseModel):
    """How far a request is; "pending" for an unknown one."""

    percent: float
    stage: str
    n: int
    total: int
    ts: float
    error: str | None = None


@blueprint.post("/generate")
@described(form=GenerateForm, files={"loop_audio": True}, reply=Generated, errors=(413, 415, 429))
async def generate() -> Response:
    """Continues a loop by exactly N bars, on the downbeat after it."""
    here, form = backend(), await forms.read(GenerateForm)
    number = form.request_id or request_id.current()
    with here.progress.of(number) as report:
        loaded = await _admitted(here, report)
        upload = await forms.upload("loop_audio")
        assert upload is not None  # it is required
        loop = await uploads.decode(here, upload)
        options = ContinuationOptions(
            **form.base(STYLE, 5.0),
            bpm=form.bpm,
            loudness=form.loudness_mode,  # type: ignore[arg-type]  # its pattern allows no other
            headroom_db=form.loudness_headroom_db,
            sample_rate=form.target_sample_rate or _natural(loop.rate, loaded),
        )
        loop, tempo = await here.in_thread(lambda: _bars(loop, options))
        return await _play(here, loaded, options, number, report, loop=loop, tempo=tempo)


@blueprint.post("/generate_style")
@described(form=StyleForm, reply=Generated, errors=(429,))
async def generate_style() -> Response:
    """Plays exactly N bars in the style of the words, out of silence (with tiny: on from a groove of that style)."""
    here, form = backend(), await forms.read(StyleForm)
    number = form.request_id or request_id.current()
    with here.progress.of(number) as report:
        loaded = await _admitted(here, report)
        options = ContinuationOptions(**form.base(WARMUP, 1.1), bpm=form.bpm, sample_rate=form.target_sample_rate)
        return await _play(here, loaded, options, number, report, loop=None, tempo=None)


@blueprint.post("/generate/reset")
@described(reply=Reset)
async def reset() -> dict[str, Any]:
    """Nothing: each request is played on its own."""
    return {"reset": True, "message": "Nothing is kept between requests, so nothing had to go.", "counter_reset": True}


@blueprint.get("/progress")
@described(query=ProgressQuery, reply=ProgressReply)
async def progress() -> dict[str, Any]:
    """How far a request is. Answers at once, also for a request that is not known (yet)."""
    return backend().progress.read(forms.query(ProgressQuery).request_id or "")


async def _admitted(here: Backend, report: Report) -> Loaded:
    """What will play. Who cannot be taken is told at once, before anything is done for him.

    The model may still be loading: clients take a server that initializes as one that can be asked.
    """
    here.refuse_when_closing()
    here.line.refuse_when_full()
    if not here.models.loaded:
        report.queue(lambda: 0)
    return await here.unless_hurried(here.models.ready())


def _natural(rate: int, loaded: Loaded) -> int:
    """The loop's own rate, where files of it are common."""
    return rate if RATES[0] <= rate <= RATES[1] else loaded.model.codec.sample_rate


def _bars(loop: Waveform, options: ContinuationOptions) -> tuple[Waveform, TempoEstimate]:
    """The loop's last whole bars (one shorter than a bar is repeated until it fills one), and its tempo."""
    tempo = None
    if options.bpm is None:
        heard = loop.cut(0, round(LISTEN_SECONDS * loop.rate))
        tempo = find_tempo(heard, beats_per_bar=options.beats_per_bar)
    bpm = options.bpm if tempo is None else tempo.bpm
    bars, _ = whole_bars(loop, bar_seconds(1, options.beats_per_bar, bpm or 0))
    return bars, find_tempo(bars, beats_per_bar=options.beats_per_bar, bpm=bpm)


async def _play(
    here: Backend,
    loaded: Loaded,
    options: ContinuationOptions,
    number: str,
    report: Report,
    *,
    loop: Waveform | None,
    tempo: TempoEstimate | None,
) -> Response:
    model, seed = loaded.model, options.seed or 0
    plan = piece.plan(model, options, loop=loop, tempo=tempo)
    _check_length(here, plan, options)
    async with here.line.turn(report.queue):
        report.enter("generating")
        style = await here.in_thread(lambda: piece.style_codes(model, plan, options, assets=loaded.assets))
        playing = await here.unless_hurried(
            here.on_device(lambda: piece.Piece.start(model, plan, options, style=style, seeds=[seed]))
        )
        while not playing.complete:
            report.enter("generating", playing.made, playing.chunks)
            streams, knobs = playing.call()
            made = here.conductor.advance(streams, knobs, key=number, engine=model)
            playing.feed(await here.unless_hurried(asyncio.wrap_future(made)))
    report.enter("postprocess")
    report.enter("resample_and_snap")
    take = await here.in_thread(lambda: playing.finish()[0])
    report.enter("encode")
    body = await here.in_thread(lambda: takes.body(take, plan, options, number, model.name, found=tempo))
    return Response(body, content_type="application/json")


def _check_length(here: Backend, plan: piece.Plan, options: ContinuationOptions) -> None:
    most = here.settings.max_music_seconds
    seconds = (options.bars + options.intro_bars_to_drop) * plan.bar / plan.rate
    if seconds > most:
        raise InvalidOption(
            f"{options.bars + options.intro_bars_to_drop} bars would last {seconds:.0f} s.",
            f"Ask for at most {most:g} s at a time.",
        )

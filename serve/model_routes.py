"""/model/*: what is loaded, what could be, and loading another. Knows the wire; `models` does the work."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, BeforeValidator, Field, WithJsonSchema
from quart import Blueprint

from serve import forms
from serve.backend import Backend, backend
from serve.choice import MAIN, Choice
from serve.describe import described
from serve.errors import Refused
from serve.forms import Fields, Flag, Whole

blueprint = Blueprint("model", __name__, url_prefix="/model")


def _step(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Step = Annotated[
    str,
    BeforeValidator(_step),
    Field(pattern=r"^([0-9]{1,12}|(?i:latest|none))$", description="A number, latest, or none for the stock model."),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": 999_999_999_999},
                {"type": "string", "pattern": "^([0-9]{1,12}|[Ll]atest|[Nn]one|)$"},
            ]
        }
    ),
]
Repo = Annotated[str, Field(max_length=300, description="user/repo on the hub, or a folder that the server allows.")]
Revision = Annotated[str, Field(max_length=200, description="Branch, tag or commit.")]


class Select(Fields):
    """Which model to load. Either spelling of repository and step is taken."""

    size: Annotated[str | None, Field(max_length=100, description="base, large or tiny.")] = None
    repo_id: Annotated[Repo | None, Field(validation_alias=AliasChoices("repo_id", "ckpt_repo"))] = None
    revision: Revision = MAIN
    step: Annotated[Step | None, Field(validation_alias=AliasChoices("step", "ckpt_step"))] = None
    assets_repo_id: Annotated[Repo | None, Field(description="Of mean and centroids; the repository if left out.")] = (
        None
    )
    sync_assets: Annotated[Flag, Field(description="Load mean and centroids too.")] = True
    prewarm: Annotated[Flag, Field(description="Answer only when the first chunk is made.")] = False
    stop_active: Annotated[Flag, Field(description="End running jams; otherwise they make this 409.")] = True
    dry_run: Annotated[Flag, Field(description="Say what would be loaded, and change nothing.")] = False


class AssetsProbe(BaseModel):
    ok: bool
    message: str


class Selected(BaseModel):
    """What is (or with dry_run: would be) loaded."""

    ok: bool
    target_size: str
    target_repo: str | None
    target_revision: str
    target_step: int | None
    assets_repo: str | None
    assets_probe: AssetsProbe
    active_jam: bool
    warmup_done: bool
    dry_run: bool


class Loading(BaseModel):
    stage: str
    done: float


class Config(BaseModel):
    """What is loaded."""

    size: str
    revision: str
    repo: str | None
    selected_step: str | None
    assets_repo: str | None
    loaded: bool
    active_jam: bool
    local_checkpoint_dir: str | None
    mean_loaded: bool
    centroids_loaded: bool
    centroid_count: int | None
    warmup_done: bool
    model: str
    loading: Loading | None


class Status(BaseModel):
    """How the loaded model works."""

    tag: str
    using_checkpoint_dir: bool
    codec_frame_rate: float
    decoder_rvq_depth: int
    supports: list[str]
    context_seconds: float
    chunk_seconds: float
    model_chunk_seconds: float
    crossfade_seconds: float
    selected_step: str | None
    repo: str | None
    device: str
    dtype: str
    parameters: int | None


class CheckpointsQuery(Fields):
    repo_id: Annotated[Repo | None, Field(description="The loaded model's if left out.")] = None
    revision: Revision = MAIN


class Checkpoints(BaseModel):
    """Training steps in a repository or folder."""

    repo: str
    revision: str
    steps: list[int]
    latest: int | None


class Swap(Fields):
    step: Annotated[Whole, Field(ge=0, le=999_999_999_999, description="Training step of the loaded repository.")]


class Swapped(BaseModel):
    reloaded: bool
    step: int


class AssetsLoad(Fields):
    repo_id: Annotated[Repo | None, Field(description="The loaded model's if left out.")] = None


class AssetsLoaded(BaseModel):
    """Steering assets in force."""

    ok: bool
    message: str
    repo_id: str
    mean: bool
    centroids: int | None


class AssetsStatus(BaseModel):
    """Steering assets in force."""

    repo_id: str | None
    mean_loaded: bool
    centroids_loaded: bool
    centroid_count: int | None
    embedding_dim: int | None


@blueprint.get("/config")
@described(reply=Config)
async def config() -> dict[str, Any]:
    """What is loaded. Answers at once, whatever the server is doing."""
    here = backend()
    return {**here.models.config(), "active_jam": here.active_jams > 0}


@blueprint.get("/status")
@described(reply=Status)
async def status() -> dict[str, Any]:
    """How the loaded model works, and on what."""
    return backend().models.status()


@blueprint.get("/checkpoints")
@described(query=CheckpointsQuery, reply=Checkpoints, errors=(403, 404, 409, 502))
async def checkpoints() -> dict[str, Any]:
    """Training steps that a repository offers: checkpoint_<step> folders and archives."""
    here, query = backend(), forms.query(CheckpointsQuery)
    name = query.repo_id or _present_place(here)
    steps = await here.models.steps(here.models.allowed.place(name), query.revision)
    return {"repo": name, "revision": query.revision, "steps": list(steps), "latest": max(steps, default=None)}


@blueprint.post("/select")
@described(json=Select, form=Select, reply=Selected, errors=(403, 404, 409, 501, 502, 507))
async def select() -> dict[str, Any]:
    """Loads another model beside the running one and puts it in its place; any failure leaves the old one playing."""
    here, wanted = backend(), await forms.read(Select)
    here.refuse_when_closing()
    choice = here.models.choose(
        size=wanted.size,
        repo=wanted.repo_id,
        step=wanted.step,
        revision=wanted.revision if "revision" in wanted.model_fields_set else None,
        assets_repo=wanted.assets_repo_id,
        sync_assets=wanted.sync_assets,
    )
    if here.active_jams and not wanted.stop_active:
        raise Refused("A jam is running.", "Stop it first, or select with stop_active.", status=409, code="jam_running")
    if wanted.dry_run:
        return await _would_load(here, choice)
    loaded = await here.unless_hurried(here.models.select(choice, prewarm=wanted.prewarm, before_swap=here.stop_jams))
    found = [
        name
        for name, there in (("mean", loaded.assets.mean), ("centroids", loaded.assets.centroids))
        if there is not None
    ]
    return {
        "ok": True,
        "target_size": loaded.size,
        "target_repo": choice.repo,
        "target_revision": choice.revision,
        "target_step": None if choice.place is None else loaded.model.step,
        "assets_repo": loaded.assets_from,
        "assets_probe": {"ok": bool(found), "message": f"loaded: {' and '.join(found)}" if found else "there are none"},
        "active_jam": here.active_jams > 0,
        "warmup_done": here.models.config()["warmup_done"],
        "dry_run": False,
    }


@blueprint.post("/swap")
@described(form=Swap, reply=Swapped, errors=(403, 404, 409, 501, 502, 507))
async def swap() -> dict[str, Any]:
    """Loads another training step of the loaded repository."""
    here, wanted = backend(), await forms.read(Swap)
    here.refuse_when_closing()
    _present_place(here)
    choice = here.models.choose(
        size=None, repo=None, step=wanted.step, revision=None, assets_repo=None, sync_assets=True
    )
    await here.unless_hurried(here.models.select(choice, prewarm=False, before_swap=here.stop_jams))
    return {"reloaded": True, "step": wanted.step}


@blueprint.post("/assets/load")
@described(form=AssetsLoad, json=AssetsLoad, reply=AssetsLoaded, errors=(403, 404, 409, 502))
async def load_assets() -> dict[str, Any]:
    """Loads mean_style_embed.npy [768] and cluster_centroids.npy [K, 768] of a repository or folder."""
    here, wanted = backend(), await forms.read(AssetsLoad)
    name = wanted.repo_id or _present_place(here)
    loaded = await here.models.load_assets(here.models.allowed.place(name))
    count = loaded.assets.centroid_count
    return {
        "ok": True,
        "message": f"Steering assets of {name} are in force.",
        "repo_id": name,
        "mean": loaded.assets.mean is not None,
        "centroids": count or None,
    }


@blueprint.get("/assets/status")
@described(reply=AssetsStatus)
async def assets_status() -> dict[str, Any]:
    """Which steering assets are in force. Answers at once."""
    return backend().models.assets_status()


def _present_place(here: Backend) -> str:
    place = here.models.current().choice.place
    if place is None:
        raise Refused("The loaded model has no repository.", "Give repo_id.", status=409, code="no_repository")
    return str(place)


async def _would_load(here: Backend, choice: Choice) -> dict[str, Any]:
    step = choice.step
    if choice.place is not None:
        steps = await here.models.steps(choice.place, choice.revision)
        if step is None:
            step = max(steps, default=None)
        if step not in steps:
            there = ", ".join(map(str, steps)) or "none"
            raise Refused(
                f"There is no such checkpoint in {choice.place}.",
                f"The steps there are: {there}.",
                status=404,
                code="model_not_found",
            )
    return {
        "ok": True,
        "target_size": choice.size or here.models.config()["size"],
        "target_repo": choice.repo,
        "target_revision": choice.revision,
        "target_step": step,
        "assets_repo": None if choice.assets is None else str(choice.assets),
        "assets_probe": {"ok": True, "message": "not looked for: a dry run"},
        "active_jam": here.active_jams > 0,
        "warmup_done": here.models.config()["warmup_done"],
        "dry_run": True,
    }

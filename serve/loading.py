"""Bringing a model into memory and getting it ready: reading, steering assets, compiling, measuring. Runs in a thread.

Knows files, the device and the conductor; knows neither what else is loaded nor who asked.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darius import memory
from darius.batching import Conductor
from darius.batching.stats import capacity
from darius.errors import DariusError
from serve.choice import Choice
from serve.compiling import Compiling
from serve.maker import rehearse
from serve.settings import Settings

if TYPE_CHECKING:
    from darius.model import Model
    from darius.style.steering import Assets

log = logging.getLogger("darius.serve")

LOAD = 0.8
"""Part of the time that jams may keep the device busy; the rest is for one-shots and for what comes between."""

OnProgress = Callable[[str, float], None]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Loaded:
    """A model in memory, and the steering assets in force for it.

    Attributes:
      model: what plays.
      assets: mean and centroids; they may come from elsewhere than the model.
      assets_from: the repository or folder they came from; None without any.
      choice: what was asked for.
      size: tiny, base, large, or the model's own name where it is none of them.
      parameters: of the language model; None where it does not tell.
      seconds: that loading took.
    """

    model: Model
    assets: Assets
    assets_from: str | None
    choice: Choice
    size: str
    parameters: int | None
    seconds: float


def load(choice: Choice, settings: Settings, report: OnProgress) -> Loaded:
    """Reads a model and its assets into memory.

    Raises:
      DariusError: as `darius.load`, and for assets that cannot be used.
    """
    from darius.model import load as load_model
    from darius.style.steering import Assets

    began = time.perf_counter()
    model = load_model(
        choice.name,
        device=settings.device,
        dtype=settings.dtype,
        offline=settings.offline,
        memory_limit=settings.memory_bytes,
        on_progress=report,
    )
    own = model.assets.mean is not None or model.assets.centroids is not None
    assets, source = model.assets, choice.place if own else None
    if choice.assets is None:
        assets, source = (model.assets, source) if choice.place is None else (Assets(), None)
    elif choice.assets != choice.place:
        assets, source = read_assets(choice.assets, settings), choice.assets
    return Loaded(
        model=model,
        assets=assets,
        assets_from=None if source is None else str(source),
        choice=choice,
        size=_size(model),
        parameters=_parameters(model),
        seconds=time.perf_counter() - began,
    )


def read_assets(place: str | Path, settings: Settings, *, revision: str | None = None) -> Assets:
    """Mean and centroids of a repository or folder; fetched if need be, never unpickled.

    Raises:
      BadCheckpoint: a file has the wrong shape or type.
      ModelNotFound, DownloadFailed: there is no such place, or it cannot be reached.
    """
    from darius.hub import finetunes
    from darius.style import steering

    files = finetunes.assets(place, revision=revision, offline=settings.offline)
    return steering.Assets(
        mean=steering.load_mean(files.mean) if files.mean else None,
        centroids=steering.load_centroids(files.centroids) if files.centroids else None,
    )


def warm(model: Model, conductor: Conductor, compiling: Compiling) -> None:
    """Makes the first chunk: afterwards a stream begins, and is steered, without waiting for a compiler."""
    compiling.wait(1)
    compiling.begin()
    conductor.warm([1], engine=model).result()
    rehearse(model, compiling.on_device)


def most(model: Model, conductor: Conductor, settings: Settings) -> int | None:
    """How many streams may be wanted together, by `--max-sessions` and `--memory-limit`; None for any number."""
    wanted, limit = settings.max_sessions or None, settings.memory_bytes
    fits = None if limit is None else memory.most_together(model, limit, conductor.sizes(None))
    return min((number for number in (wanted, fits) if number is not None), default=None)


def measure(
    model: Model, conductor: Conductor, compiling: Compiling, most: int | None, found: Callable[[int], None]
) -> None:
    """Finds out how many streams the device carries, and compiles what they may come to need.

    Args:
      most: that are wanted.
      found: called with what is known so far, from 1 up.
    """
    chunk = model.chunk_frames / model.frame_rate

    def prepare(size: int) -> bool:
        known = conductor.stats().chunk_seconds if conductor.engine is model else {}
        found(max(1, capacity(known, chunk, LOAD).streams))
        return compiling.wait(size)

    measured = conductor.measure_capacity(engine=model, load=LOAD, most=most, prepare=prepare)
    found(max(1, measured.streams))
    log.info("capacity measured: %d streams (%s)", measured.streams, _table(measured.seconds))
    usable = [size for size, seconds in measured.seconds.items() if seconds <= LOAD * chunk]
    compiling.rest(usable)
    if conductor.engine is not model:
        return
    for frames in compiling.lengths:
        conductor.warm(usable, engine=model, frames=frames).result()
    log.info("ready for all that jams may ask for")


def probe(device: str) -> dict[str, Any]:
    """What this machine can compute on: backend, devices, has_gpu, error."""
    from darius.devices import find_device, list_devices

    try:
        found = list_devices()
        chosen = find_device(device).platform
    except (DariusError, RuntimeError) as error:
        return {"backend": None, "devices": [], "has_gpu": False, "error": str(error)}
    return {
        "backend": chosen,
        "devices": [f"{d.kind}:{d.index} {d.name}" for d in found],
        "has_gpu": any(d.kind in ("gpu", "cuda", "rocm") for d in found),
        "error": None,
    }


def _table(seconds: Any) -> str:
    return ", ".join(f"{size}: {taken:.3f} s" for size, taken in seconds.items())


def _size(model: Model) -> str:
    from darius.depthformer.config import DepthformerConfig

    config = getattr(getattr(model, "decoder", None), "config", None)
    if isinstance(config, DepthformerConfig):
        for name in ("tiny", "base", "large"):
            known: DepthformerConfig = getattr(DepthformerConfig, name)()
            if (config.embed_dim, config.num_encoder_layers) == (known.embed_dim, known.num_encoder_layers):
                return name
    return model.name


def _parameters(model: Model) -> int | None:
    import jax

    packed = getattr(getattr(model, "decoder", None), "packed", None)
    with contextlib.suppress(TypeError):
        return sum(int(leaf.size) for leaf in jax.tree.leaves(packed)) or None
    return None

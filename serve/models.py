"""Which model plays: loaded in the background at the start, swapped in one step, never left without the old one.

`current()` is what a request or a new jam plays with; it holds on to it for as long as it lives, so a swap never
changes what already plays. Knows no route.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from darius.batching import Conductor
from darius.errors import DariusError, NoDevice, OutOfMemory
from serve import loading
from serve.choice import Allowed, Choice, at_start, choose
from serve.compiling import Compiling
from serve.daemon import in_daemon
from serve.errors import Refused, sentence
from serve.loading import Loaded
from serve.settings import Settings

log = logging.getLogger("darius.serve")

LOADING_SECONDS = 150.0
"""Who asks for music while the model is being loaded waits so long; the plugin itself gives up after 180 s."""


class Models:
    """The loaded model, and the loading of another.

    Attributes:
      warmed: the loaded model has generated a chunk.
      measured_capacity: streams that the device carries with it; 1 until it is measured.
      stage: what is being loaded, and how much of it is done; None when nothing is.
      probe: what this machine can compute on; None until it is known.
    """

    def __init__(self, settings: Settings, conductor: Conductor) -> None:
        self._settings, self._conductor = settings, conductor
        self.allowed = Allowed.by(settings)
        self.warmed = False
        self.measured_capacity = 1
        self.stage: tuple[str, float] | None = None
        self.probe: dict[str, Any] | None = None
        self._loaded: Loaded | None = None
        self._decided = asyncio.Event()  # a model is loaded, or it is known that none will be
        self._hopeful = 0
        self._failed: DariusError | None = None
        self._selecting = 0
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    # What is loaded.

    def current(self) -> Loaded:
        """What plays now: `.model`, and `.assets` in force.

        Raises:
          Refused: 503 with Retry-After while nothing is loaded; or, if loading failed, why.
        """
        if self._loaded is not None:
            return self._loaded
        if self._settings.template:
            raise Refused("This is a template: it plays nothing.", "Run a copy.", status=503, code="template_mode")
        if self._failed is not None:
            raise Refused(
                f"No model is loaded: {sentence(self._failed)}", status=503, code="model_failed", retry_after=30
            )
        raise Refused("The model is still being loaded.", "Try again in a moment.", status=503, code="model_loading")

    async def ready(self) -> Loaded:
        """As `current`, but waits for a model that is being loaded; of those who would wait, only so many may.

        Raises:
          Refused: as `current`.
        """
        if self._loaded is None and not self._settings.template and self._hopeful < self._settings.max_queue:
            self._hopeful += 1
            try:
                async with asyncio.timeout(LOADING_SECONDS):
                    await self._decided.wait()
            except TimeoutError:
                pass  # `current` says what is the matter
            finally:
                self._hopeful -= 1
        return self.current()

    @property
    def loaded(self) -> bool:
        """A model is in memory."""
        return self._loaded is not None

    @property
    def loading_seconds(self) -> float:
        """That the loaded model took to load; 0 without one."""
        return self._loaded.seconds if self._loaded else 0.0

    @property
    def gpu_missing(self) -> bool:
        """A GPU was demanded and is not there."""
        return isinstance(self._failed, NoDevice)

    @property
    def trouble(self) -> str:
        """Why no model is loaded, in a sentence; "" if there is no trouble."""
        return sentence(self._failed) if self._failed is not None and self._loaded is None else ""

    def config(self) -> dict[str, Any]:
        """The reply of GET /model/config, but for `active_jam`."""
        loaded = self._loaded
        choice = loaded.choice if loaded else self._wish()
        step = None if loaded is None or choice.place is None else loaded.model.step
        return {
            "size": loaded.size if loaded else choice.size,
            "revision": choice.revision,
            "repo": choice.repo,
            "selected_step": None if step is None else str(step),
            "assets_repo": loaded.assets_from if loaded else None,
            "loaded": loaded is not None,
            "local_checkpoint_dir": str(choice.folder) if choice.folder else None,
            "mean_loaded": loaded is not None and loaded.assets.mean is not None,
            "centroids_loaded": loaded is not None and loaded.assets.centroids is not None,
            "centroid_count": (loaded.assets.centroid_count or None) if loaded else None,
            "warmup_done": self.warmed and not self._selecting,
            "model": loaded.model.name if loaded else choice.name,
            "loading": None if self.stage is None else {"stage": self.stage[0], "done": round(self.stage[1], 3)},
        }

    def status(self) -> dict[str, Any]:
        """The reply of GET /model/status. Raises as `current`."""
        loaded = self.current()
        model, choice = loaded.model, loaded.choice
        return {
            "tag": loaded.size,
            "using_checkpoint_dir": choice.place is not None,
            "codec_frame_rate": float(model.frame_rate),
            "decoder_rvq_depth": model.levels,
            "supports": sorted(model.supports),
            "context_seconds": model.context_frames / model.frame_rate,
            "chunk_seconds": 2.0,
            "model_chunk_seconds": model.chunk_frames / model.frame_rate,
            "crossfade_seconds": 0.04,
            "selected_step": self.config()["selected_step"],
            "repo": choice.repo,
            "device": f"{model.device.platform}:{model.device.id} {model.device.device_kind}",
            "dtype": model.dtype,
            "parameters": loaded.parameters,
        }

    def assets_status(self) -> dict[str, Any]:
        """The reply of GET /model/assets/status."""
        config, loaded = self.config(), self._loaded
        return {
            "repo_id": config["assets_repo"],
            "mean_loaded": config["mean_loaded"],
            "centroids_loaded": config["centroids_loaded"],
            "centroid_count": config["centroid_count"],
            "embedding_dim": loaded.model.style.dim if loaded else None,
        }

    # Changing it.

    def start(self) -> None:
        """Begins to load the model of the settings; does not wait for it."""
        if not self._settings.template:
            self._spawn(self._first())

    def close(self) -> None:
        """Nothing new will be loaded; threads that still load end with the process."""
        for task in self._tasks:
            task.cancel()

    def choose(self, **fields: Any) -> Choice:
        """What a select's fields mean now; see `serve.choice.choose`."""
        return choose(**fields, now=self._loaded.choice if self._loaded else None, allowed=self.allowed)

    async def select(self, choice: Choice, *, prewarm: bool, before_swap: Callable[[], Awaitable[Any]]) -> Loaded:
        """Loads a model beside the present one and puts it in its place. Whoever goes away does not stop it.

        Args:
          prewarm: make its first chunk before it takes over, not afterwards.
          before_swap: ends what plays the old one.

        Raises:
          DariusError: it cannot be loaded; the old one goes on.
        """
        return await asyncio.shield(self._spawn(self._select(choice, prewarm, before_swap)))

    async def steps(self, place: str | Path, revision: str | None) -> tuple[int, ...]:
        """Training steps in a repository or folder, ascending. Raises ModelNotFound, DownloadFailed."""
        from darius.hub import finetunes

        return await in_daemon(lambda: finetunes.steps(place, revision=revision, offline=self._settings.offline))

    async def load_assets(self, place: str | Path) -> Loaded:
        """Puts other mean and centroids in force for the loaded model.

        Raises:
          DariusError: they cannot be loaded; the old ones stay.
        """
        async with self._lock:
            loaded = self.current()
            assets = await in_daemon(lambda: loading.read_assets(place, self._settings))
            if assets.mean is None and assets.centroids is None:
                raise Refused(
                    f"There are no steering assets in {place}.",
                    "They are mean_style_embed.npy and cluster_centroids.npy.",
                    status=404,
                    code="no_assets",
                )
            self._loaded = Loaded(**{**vars(loaded), "assets": assets, "assets_from": str(place)})
            return self._loaded

    def _wish(self) -> Choice:
        """What the settings ask for, while nothing is loaded."""
        try:
            return at_start(self._settings)
        except DariusError:
            return Choice(name=self._settings.model, size=self._settings.size or self._settings.model)

    async def _first(self) -> None:
        self.probe = await in_daemon(lambda: loading.probe(self._settings.device))
        try:
            async with self._changing():
                loaded = await self._load(at_start(self._settings))
                self._install(loaded)
                compiling = self._compiling(loaded)
                await self._warm(loaded, compiling)
        except DariusError as error:
            self._failed = error
            self._decided.set()
            log.error("the model could not be loaded: %s", error)
        else:
            self._spawn(self._measure(loaded, compiling))

    async def _select(self, choice: Choice, prewarm: bool, before_swap: Callable[[], Awaitable[Any]]) -> Loaded:
        async with self._changing():
            try:
                fresh = await self._load(choice)
            except OutOfMemory:
                fresh = await self._load_instead(choice, before_swap)
            if prewarm:
                first = Compiling(fresh.model, [1], self._conductor)
                await in_daemon(lambda: loading.warm(fresh.model, self._conductor, first))
            await before_swap()
            self._install(fresh, warmed=prewarm)
        self._spawn(self._get_ready(fresh))
        return fresh

    async def _load_instead(self, choice: Choice, before_swap: Callable[[], Awaitable[Any]]) -> Loaded:
        """Where two models do not fit at once: the old one goes first, and comes back if the new one fails."""
        old = self._loaded
        if old is None:
            raise OutOfMemory("The model does not fit into the device's memory.", "Select a smaller one.")
        again = old.choice
        await before_swap()
        self._loaded = self._conductor.engine = None
        self._decided.clear()
        del old
        try:
            return await self._load(choice)
        except DariusError:
            self._install(await self._load(again))
            raise

    async def _load(self, choice: Choice) -> Loaded:
        log.info("loading model=%s", choice.name)

        def report(stage: str, done: float) -> None:
            self.stage = (stage, done)

        report("reading", 0.0)
        loaded = await in_daemon(lambda: loading.load(choice, self._settings, report))
        log.info("loaded model=%s seconds=%.1f", choice.name, loaded.seconds)
        return loaded

    def _install(self, loaded: Loaded, *, warmed: bool = False) -> None:
        self._loaded, self._conductor.engine = loaded, loaded.model
        self.warmed, self.measured_capacity, self._failed = warmed, 1, None
        self._decided.set()

    async def _get_ready(self, loaded: Loaded) -> None:
        compiling = self._compiling(loaded)
        if not self.warmed:
            await self._warm(loaded, compiling)
        await self._measure(loaded, compiling)

    def _compiling(self, loaded: Loaded) -> Compiling:
        most = loading.most(loaded.model, self._conductor, self._settings)
        return Compiling(loaded.model, self._conductor.sizes(most), self._conductor)

    async def _warm(self, loaded: Loaded, compiling: Compiling) -> None:
        self.stage = ("compiling", 0.0)
        try:
            await in_daemon(lambda: loading.warm(loaded.model, self._conductor, compiling))
        finally:
            self.stage = None
        if self._loaded is not None and self._loaded.model is loaded.model:
            self.warmed = True
            log.info("warmed model=%s", loaded.choice.name)

    async def _measure(self, loaded: Loaded, compiling: Compiling) -> None:
        def found(streams: int) -> None:
            if self._loaded is not None and self._loaded.model is loaded.model:
                self.measured_capacity = streams

        most = loading.most(loaded.model, self._conductor, self._settings)
        await in_daemon(lambda: loading.measure(loaded.model, self._conductor, compiling, most, found))

    @contextlib.asynccontextmanager
    async def _changing(self) -> AsyncIterator[None]:
        """One change at a time; `warmup_done` is false from here on until it is over."""
        self._selecting += 1
        try:
            async with self._lock:
                yield
        finally:
            self._selecting -= 1
            if not self._selecting:
                self.stage = None

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.warning("loading ended with: %s", task.exception())

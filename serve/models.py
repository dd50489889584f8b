"""Which model plays: loading in the background, and what is loaded now. Knows names and files; knows no route.

`current()` is what a request or a new jam plays with; it holds on to it for as long as it lives, so a swap never
changes what already plays.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from typing import TYPE_CHECKING

from darius.batching import Conductor
from darius.errors import DariusError
from serve.errors import Refused, sentence
from serve.settings import Settings

if TYPE_CHECKING:
    from darius.model import Model
    from darius.style.steering import Assets

log = logging.getLogger("darius.serve")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Loaded:
    """A model in memory, and the steering assets in force for it.

    Attributes:
      model: what plays.
      assets: mean and centroids; they may be other than the model's own.
    """

    model: Model
    assets: Assets


class Models:
    """The loaded model, and the thread that loads another."""

    def __init__(self, settings: Settings, conductor: Conductor) -> None:
        self._settings, self._conductor = settings, conductor
        self._loaded: Loaded | None = None
        self._failed: DariusError | None = None
        self.warmed = False
        self.measured_capacity = 1

    def current(self) -> Loaded:
        """What plays now.

        Raises:
          Refused: 503 with Retry-After while nothing is loaded; or, if loading failed, why.
        """
        if self._loaded is not None:
            return self._loaded
        if self._failed is not None:
            raise Refused(
                f"No model is loaded: {sentence(self._failed)}", status=503, code="model_failed", retry_after=30
            )
        raise Refused("The model is still being loaded.", "Try again in a moment.", status=503, code="model_loading")

    @property
    def loaded(self) -> bool:
        """A model is in memory."""
        return self._loaded is not None

    def start(self) -> None:
        """Begins to load the model of the settings in a thread."""
        threading.Thread(target=self._load, name="darius-load", daemon=True).start()

    def close(self) -> None:
        """Nothing new will be loaded."""

    def _load(self) -> None:
        from darius.model import load

        try:
            model = load(self._settings.model, device=self._settings.device, dtype=self._settings.dtype)
            self._conductor.engine = model
            self._loaded = Loaded(model=model, assets=model.assets)
            self._conductor.warm([1]).result()
            self.warmed = True
        except DariusError as error:
            self._failed = error
            log.error("the model could not be loaded: %s", error)

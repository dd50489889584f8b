"""What plays: the one protocol that every generation of Magenta RealTime fulfils. Knows no network and no request.

An engine turns streams (values, see `darius.session`) under knobs into codes and sound. Whoever plays music asks an
engine for nothing but this, so another model is another implementation and no caller's business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from darius.errors import InvalidOption
from darius.tokens import Codes

if TYPE_CHECKING:
    from pathlib import Path

    from darius.audio.waveform import Waveform
    from darius.codec.codec import Codec
    from darius.continuation import Continuation, Progress
    from darius.openings import Opening
    from darius.session import Knobs, Streams
    from darius.style.interface import StyleModel
    from darius.style.mix import StyleRequest
    from darius.style.steering import Assets

STYLE_CONTROLS = frozenset({"style", "guidance", "temperature", "top_k"})
"""What every engine can be told: names of `darius.session.Knobs`."""


def refuse_unsupported(engine: Engine, **given: object) -> None:
    """Raises InvalidOption for the first control that is given (not None) and that the engine does not support."""
    for name, value in given.items():
        if value is not None and name not in engine.supports:
            raise InvalidOption(f"This model cannot be told {name.replace('_', ' ')}.", "Use mrt2-small or mrt2-base.")


class Engine(Protocol):
    """Plays streams. Holds parameters and compiled functions; calls do not influence each other."""

    @property
    def codec(self) -> Codec:
        """Codes to sound and back."""
        ...

    @property
    def device(self) -> Any:
        """The JAX device that it plays on."""
        ...

    @property
    def dtype(self) -> str:
        """Number type of its weights and most of its arithmetic."""
        ...

    @property
    def frame_rate(self) -> int:
        """Codec frames a second."""
        ...

    @property
    def levels(self) -> int:
        """RVQ levels of a frame's codes."""
        ...

    @property
    def codebook_size(self) -> int:
        """Codes of each level."""
        ...

    @property
    def style_levels(self) -> int:
        """Style codes that it listens to, at most."""
        ...

    @property
    def chunk_frames(self) -> int:
        """New frames in one call: what it is best at, and the most that it makes."""
        ...

    @property
    def call_frames(self) -> tuple[int, ...]:
        """Numbers of frames worth a compiled program, ascending: short ones for quick answers; the last is
        chunk_frames."""
        ...

    @property
    def context_frames(self) -> int:
        """Frames of sound that it hears of its past; a splice replaces as many at most."""
        ...

    @property
    def memory_frames(self) -> int:
        """Frames of the past that the next call can depend on: the length of a context."""
        ...

    @property
    def supports(self) -> frozenset[str]:
        """Names of the knobs that change its music."""
        ...

    def nothing(self) -> Codes:
        """The context of music that begins without a loop, int32 [up to memory_frames, levels]."""
        ...

    def programs(self, streams: int, knobs: Knobs, frames: int) -> list[Callable[[], None]]:
        """What `advance` needs compiled for so many streams (and `begin`, for one), a call each.

        The calls execute nothing on the device and may be made at any time, at the same time, in any thread. None:
        it is compiled when it is first played.
        """
        ...

    def begin(self, context: Codes, seed: int, knobs: Knobs) -> Streams:
        """One stream that will continue `context`, heard under `knobs`; see `darius.session.start`."""
        ...

    def hear(self, streams: Streams, context: Codes, knobs: Knobs) -> Streams:
        """The one stream that goes on from another context; what sounds already goes on sounding."""
        ...

    def advance(
        self, streams: Streams, knobs: Sequence[Knobs], frames: int
    ) -> tuple[NDArray[np.float32], Codes, Streams]:
        """The next frames of every stream; see `darius.session.advance`."""
        ...


class Model(Engine, Protocol):
    """A whole model: an engine, and the style model whose codes it listens to."""

    @property
    def name(self) -> str:
        """As it was asked for."""
        ...

    @property
    def style(self) -> StyleModel:
        """Words and sounds -> style codes."""
        ...

    @property
    def assets(self) -> Assets:
        """A finetune's own styles."""
        ...

    @property
    def guidance(self) -> float:
        """The guidance weight that it plays best with, where none is asked for."""
        ...

    @property
    def prefers_frame_grid(self) -> bool:
        """Plays better in time when loops are whole frames (see `ContinuationOptions.timing`)."""
        ...

    @property
    def openings(self) -> tuple[Opening, ...]:
        """Grooves that music without a loop goes on from; none for silence."""
        ...

    @property
    def step(self) -> int | None:
        """Training step of the language model, where known."""
        ...

    def continue_loop(
        self,
        loop: str | Path | Waveform,
        *,
        style: str | list[str] | StyleRequest | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> Continuation:
        """Continues a loop by exact bars; see `darius.model.Company.continue_loop`."""
        ...

"""What a jam is asked to be, its clock in exact fractions, and what it hands out. Values only."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from darius.audio.bars import Bpm, bar_seconds, exact_bpm
from darius.audio.loudness import Mode, check_mode
from darius.audio.waveform import Samples
from darius.engine import refuse_unsupported
from darius.errors import InvalidOption
from darius.notes import PITCHES
from darius.session import Knobs

if TYPE_CHECKING:
    from darius.engine import Engine
    from darius.notes import Roll

RATES = (8000, 192000)
MOST_CHUNK_SECONDS = 240


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dials:
    """What a musician may turn while a jam plays; it acts from the next call. See `darius.session.Knobs`.

    The last three are for models that support them; None leaves them as the model has them.
    """

    guidance: float = 1.1
    temperature: float = 1.1
    top_k: int = 40
    drums: bool | None = None
    notes_guidance: float | None = None
    drums_guidance: float | None = None

    def check(self, engine: Engine) -> None:
        """Raises InvalidOption if the engine cannot be told one of them."""
        given = {name: getattr(self, name) for name in ("drums", "notes_guidance", "drums_guidance")}
        refuse_unsupported(engine, **given)

    def knobs(self, style: NDArray[np.int32] | None, notes: Roll | None = None) -> Knobs:
        """The dials as an engine takes them, with a style's codes and the coming frames' notes."""
        return Knobs(
            style=style,
            guidance=self.guidance,
            temperature=self.temperature,
            top_k=self.top_k,
            notes=notes,
            drums=self.drums,
            notes_guidance=self.notes_guidance,
            drums_guidance=self.drums_guidance,
        )


class KeyStroke(NamedTuple):
    """A key that goes down or up.

    Attributes:
      pitch: MIDI note, 0 to 127.
      after: seconds of music from the next call on; 0 for as soon as possible.
    """

    pitch: int
    down: bool
    after: float = 0.0

    def check(self) -> None:
        """Raises InvalidOption for what is out of range."""
        _within("pitch", self.pitch, 0, PITCHES - 1)
        _within("after", self.after, 0, 60)


@dataclasses.dataclass(frozen=True, kw_only=True)
class JamSettings:
    """How a jam is cut and levelled.

    Attributes:
      bpm: the tempo; given as text it is exact ("97.531"). None for a stream without bars, in chunks of
        `chunk_seconds`.
      rate: of the audio handed out, samples a second.
      loudness: how the first bar's level is matched to the loop's; "none" changes nothing at all.
      headroom_db: peaks stay this far below full scale, unless loudness is "none".
      style_ramp_seconds: music over which a new style takes over.
      timing: as in `darius.continuation.ContinuationOptions`.
      chunk_seconds: length of a chunk without bars.
      overlap_seconds: how much of the chunk before each chunk repeats at its front, for clients that overlap and add.
      since: the index of the first chunk of this length, and the second at which it begins; see `recut`.

    Raises:
      InvalidOption: something is out of range.
    """

    bpm: Bpm | None
    bars_per_chunk: int = 4
    beats_per_bar: int = 4
    rate: int = 48_000
    loudness: Mode = "auto"
    headroom_db: float = 1.0
    style_ramp_seconds: float = 8.0
    timing: Literal["auto", "grid", "free"] = "auto"
    chunk_seconds: Fraction = Fraction(2)
    overlap_seconds: Fraction = Fraction(0)
    since: tuple[int, Fraction] = (0, Fraction(0))

    def __post_init__(self) -> None:
        if self.bpm is not None:
            object.__setattr__(self, "bpm", exact_bpm(self.bpm))
        check_mode(self.loudness)
        _within("bars_per_chunk", self.bars_per_chunk, 1, 64)
        _within("beats_per_bar", self.beats_per_bar, 1, 16)
        _within("rate", self.rate, *RATES)
        _within("headroom_db", self.headroom_db, 0, 24)
        _within("style_ramp_seconds", self.style_ramp_seconds, 0, 600)
        _within("chunk_seconds", float(self.chunk_seconds), 0.04, 60)
        _within("overlap_seconds", float(self.overlap_seconds), 0, 1)
        if self.timing not in ("auto", "grid", "free"):
            raise InvalidOption(f"timing cannot be '{self.timing}'.", "Choose one of: auto, grid, free.")
        if self.chunk_duration > MOST_CHUNK_SECONDS:
            raise InvalidOption(
                f"A chunk of {self.bars_per_chunk} bars would last {float(self.chunk_duration):.0f} seconds.",
                f"Ask for fewer bars a chunk: at most {MOST_CHUNK_SECONDS} seconds.",
            )

    @property
    def seconds_per_bar(self) -> Fraction | None:
        """Exact; None without bars."""
        return None if self.bpm is None else bar_seconds(1, self.beats_per_bar, self.bpm)

    @property
    def chunk_duration(self) -> Fraction:
        """Seconds of a chunk, exactly."""
        bar = self.seconds_per_bar
        return Fraction(self.chunk_seconds) if bar is None else bar * self.bars_per_chunk

    @property
    def overlap(self) -> int:
        """Samples repeated at a chunk's front."""
        return round(Fraction(self.overlap_seconds) * self.rate)

    def chunk_start(self, index: int) -> int:
        """The sample at which chunk `index` begins: the exact product, rounded once, so that nothing drifts."""
        return round(self._chunk_place(index) * self.rate)

    def recut(self, index: int, chunk_seconds: Fraction) -> JamSettings:
        """The same stream without bars, whose chunks have another length from chunk `index` on."""
        place = self._chunk_place(index)
        return dataclasses.replace(self, chunk_seconds=Fraction(chunk_seconds), since=(index, place))

    def _chunk_place(self, index: int) -> Fraction:
        first, place = self.since
        return place + self.chunk_duration * (index - first)

    @property
    def ceiling(self) -> float:
        """The largest amplitude that headroom leaves."""
        return float(10.0 ** (-max(self.headroom_db, 0.3) / 20))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Chunk:
    """A chunk of a jam.

    Attributes:
      index: from 0.
      samples: float32 [overlap + n, 2], n = chunk_start(index + 1) - chunk_start(index).
      start: place of the first new sample, samples[overlap], in the whole jam.
      overlap: samples at the front that the chunk before ended with.
      dials: in force when its last music was made.
      seed: of the jam.
    """

    index: int
    samples: Samples
    start: int
    overlap: int
    rate: int
    dials: Dials
    seed: int


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:  # also refuses NaN
        shown = f"{float(value):g}" if math.isfinite(value) else str(value)
        raise InvalidOption(f"{name} cannot be {shown}.", f"Choose a value from {least:g} to {most:g}.")

"""What waits for the device: chunks of streams, and other work. Each has a deadline and a future for its result."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from darius.session import Knobs, Streams
from darius.tokens import Codes

if TYPE_CHECKING:
    from darius.engine import Engine


class Advance(NamedTuple):
    """The next chunk of one stream.

    Attributes:
      samples: float32 [frames * frame_samples, 2], lagging the codes by the codec's lookahead.
      codes: int32 [frames, levels].
      streams: the stream after it, one row.
    """

    samples: NDArray[np.float32]
    codes: Codes
    streams: Streams


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Call:
    """One stream's wish for its next chunk.

    Attributes:
      deadline: when it is wanted, in seconds of the conductor's clock; infinite for who only waits.
      dry: when its player has nothing left to play; infinite where nothing plays yet.
      key: whose turn it is, among equals.
      number: order of arrival.
      then: the key that asks again as soon as this is there, and for which the device waits a moment; None for none.
      asked: when it came, in seconds of the conductor's clock.
    """

    engine: Engine
    streams: Streams
    knobs: Knobs
    frames: int
    deadline: float
    key: Hashable
    number: int
    future: Future[Advance]
    then: Hashable = None
    asked: float = 0.0
    dry: float = math.inf


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """Any other work for the device; runs alone. `then`, `asked` and `dry` as in `Call`."""

    work: Callable[[], Any]
    deadline: float
    number: int
    future: Future[Any]
    then: Hashable = None
    asked: float = 0.0
    dry: float = math.inf

    @property
    def key(self) -> Hashable:
        return None


Request: TypeAlias = Call | Work


class Attempt:
    """A `with` block whose error is kept for whoever waits for the result, instead of ending the device's thread."""

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def __enter__(self) -> Attempt:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[True]:
        self.error = error
        return True

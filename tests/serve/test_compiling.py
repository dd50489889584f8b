"""What is compiled for batches on a CPU, or for rarer settings, waits until nobody plays; a model that has gone gets
none."""

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from batching.standin import StandIn
from jam.small_model import small_model

from darius import session
from darius.batching import Conductor
from serve import compiling
from serve.compiling import Compiling


class OnCard(StandIn):
    """A stand-in whose device is said to be an accelerator; `compiled` holds what it was asked to compile."""

    def __init__(self) -> None:
        super().__init__()
        self.compiled: list[tuple[int, float]] = []

    @property
    def device(self) -> SimpleNamespace:
        return SimpleNamespace(platform="cuda")

    def programs(self, streams: int, knobs: session.Knobs, frames: int) -> list[Callable[[], None]]:
        return [lambda: self.compiled.append((streams, knobs.guidance))]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> OnCard:
    monkeypatch.setattr(compiling, "QUIET_SECONDS", 0.05)
    return OnCard()


@pytest.fixture
def conductor(engine: OnCard) -> Iterator[Conductor]:
    one = Conductor(engine, buckets=[1, 4])
    yield one
    engine.gate.set()
    one.close()


def in_background(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_rarer_programs_wait_while_somebody_plays(engine: OnCard, conductor: Conductor) -> None:
    engine.hold()
    playing = conductor.advance(session.start(engine, np.zeros((0, 2), np.int32), 0), session.Knobs())
    assert engine.begun.wait(30)
    waiting = in_background(lambda: Compiling(engine, [1, 4], conductor).rest([1, 4]))
    time.sleep(0.3)
    assert waiting.is_alive() and engine.compiled == []
    engine.gate.set()
    playing.result(30)
    waiting.join(30)
    assert not waiting.is_alive() and {(1, 0.0), (4, 0.0)} <= set(engine.compiled)


def test_they_are_not_compiled_for_a_model_that_was_replaced_meanwhile(engine: OnCard, conductor: Conductor) -> None:
    engine.hold()
    conductor.advance(session.start(engine, np.zeros((0, 2), np.int32), 0), session.Knobs())
    assert engine.begun.wait(30)
    waiting = in_background(lambda: Compiling(engine, [1, 4], conductor).rest([1, 4]))
    conductor.engine = OnCard()
    waiting.join(30)
    assert not waiting.is_alive() and engine.compiled == []


def test_on_a_cpu_batches_wait_while_somebody_plays(monkeypatch: pytest.MonkeyPatch, conductor: Conductor) -> None:
    """They would be compiled on the cores that play: musicians heard a gap in the first half minute of a server."""
    model, gate, tried = small_model(), threading.Event(), list[int]()

    def advance(engine: Any, streams: session.Streams, *rest: Any, **more: Any) -> Any:
        tried.append(len(streams))
        return session.advance(engine, streams, *rest, **more)

    monkeypatch.setattr(compiling, "session", SimpleNamespace(**vars(session) | {"advance": advance}))
    conductor.engine = model
    playing, ready = conductor.run(gate.wait), list[bool]()
    waiting = in_background(lambda: ready.append(Compiling(model, [1, 4], conductor).wait(4)))
    time.sleep(0.3)
    assert waiting.is_alive() and tried == []
    gate.set()
    assert playing.result(30)
    waiting.join(60)
    assert ready == [True] and tried == [4]


def test_a_model_that_was_replaced_meanwhile_plays_in_no_batch(engine: OnCard, conductor: Conductor) -> None:
    assert not Compiling(small_model(), [1, 4], conductor).wait(4)

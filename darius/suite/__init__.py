"""What a machine can do with a model, stage by stage, as numbers to publish: speed, first sound, cold start, memory.

Stages hold their own budgets, and every measurement is told as soon as it is there: what ends early has said what it
found. Random weights of the right shape measure speed honestly.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darius.errors import DariusError, InvalidOption

if TYPE_CHECKING:
    from darius.engine import Model

Tell = Callable[[str, dict[str, Any]], None]
"""Gets a stage's name and one measurement of it."""
STAGES = ("cold", "streams", "sound", "crowd")
"""Cold start, chunk times by number of streams, first sound alone and beside others, many streams in real time."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Suite:
    """What is measured.

    Attributes:
      model: its name, or "random:" and a size.
      counts: of streams decoded together, ascending.
      chunks: timed for each of them.
      others: streams that play while a further one begins.
      crowd: streams in real time through the conductor, and for how many seconds.
      budget: seconds for each stage.
    """

    model: str
    counts: tuple[int, ...]
    chunks: int
    others: int
    crowd: tuple[int, float]
    budget: float


SUITES = {
    "h100": Suite(
        model="random:large", counts=(1, 16, 64, 128, 256), chunks=50, others=63, crowd=(256, 180.0), budget=300.0
    ),
    "cpu": Suite(model="random:tiny", counts=(1, 2, 4), chunks=8, others=1, crowd=(2, 12.0), budget=90.0),
}


def run(suite: Suite, stages: Sequence[str], *, device: str = "auto", dtype: str = "auto", tell: Tell) -> None:
    """Measures the stages in order; a stage that fails says why, and the next one follows.

    Raises:
      InvalidOption: there is no such stage.
      DariusError: the model cannot be loaded.
    """
    for stage in stages:
        if stage not in STAGES:
            raise InvalidOption(f"There is no stage '{stage}'.", f"Choose from: {', '.join(STAGES)}.")
    if "cold" in stages:  # first: its processes need the device for themselves
        _stage("cold", tell, lambda: _cold(suite, device, dtype, tell))
    rest = [stage for stage in STAGES if stage in stages and stage != "cold"]
    if not rest:
        return
    from darius.model import load

    began = time.perf_counter()
    model = load(suite.model, device=device, dtype=dtype)
    tell("load", {"seconds": time.perf_counter() - began})
    measures = {"streams": _streams, "sound": _sound, "crowd": _crowd}
    for stage in rest:
        _stage(stage, tell, lambda stage=stage: measures[stage](suite, model, tell))  # type: ignore[misc]


def _stage(stage: str, tell: Tell, work: Callable[[], None]) -> None:
    began = time.perf_counter()
    try:
        work()
    except DariusError as error:
        tell(stage, {"failed": str(error)})
    tell(stage, {"stage_seconds": time.perf_counter() - began})


def _cold(suite: Suite, device: str, dtype: str, tell: Tell) -> None:
    from darius.suite import cold

    for measured in cold.measure(suite.model, device, dtype, suite.budget):
        tell("cold", measured)


def _streams(suite: Suite, model: Model, tell: Tell) -> None:
    from darius import benchmark

    until = time.perf_counter() + suite.budget
    for place, count in enumerate(suite.counts):
        left = (until - time.perf_counter()) / (len(suite.counts) - place)
        if left <= 0:
            tell("streams", {"batch": count, "skipped": "no time left"})
            continue
        seconds = math.inf if count == 1 else left  # one stream takes little time, and is what most people ask for
        (speed,) = benchmark.measure(model, [count], chunks=suite.chunks, seconds=seconds, report=lambda *_: None)
        tell("streams", {**dataclasses.asdict(speed), "derived_bytes": derived_bytes(model, count)})


def derived_bytes(model: Model, streams: int) -> int | None:
    """What the shapes say that so many streams take; None for an engine that no account is kept of."""
    from darius import memory

    account = memory.of_engine(model, streams)
    return None if account is None else account.total


def _sound(suite: Suite, model: Model, tell: Tell) -> None:
    from darius.suite import crowd

    for measured in crowd.first_sounds(model, suite.others, suite.budget):
        tell("sound", measured)


def _crowd(suite: Suite, model: Model, tell: Tell) -> None:
    from darius.suite import crowd

    streams, seconds = suite.crowd
    crowd.measure(model, streams, streams, seconds, lambda measured: tell("crowd", measured), budget=suite.budget)


def write_checkpoint(path: Path, size: str) -> None:
    """A checkpoint of random weights as converted ones are: float32 safetensors."""
    from darius import random_weights
    from darius.checkpoints import safetensors_io

    config = random_weights.config_of(size)
    params = random_weights.language_model(config)
    safetensors_io.save(path, params, {"config": config.to_dict()}, overwrite=True)

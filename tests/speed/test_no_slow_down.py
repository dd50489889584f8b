"""A chunk does not get much slower unnoticed: what the compiler counts, exactly, and time against plain products.

The counts are the compiler's own and the same on every machine; loops count once. Where a change is wanted, measure
(`darius bench`), log it in docs/benchmarks.md, and set the baseline anew.
"""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import darius
from darius import session
from darius.engine import Model

BASELINE = json.loads((Path(__file__).parent / "baseline.json").read_text())
MORE = 1.25
"""A count may grow by this: compilers differ from version to version."""
SLOWER = 2.5
"""Times are a ratio to products made in between, the quickest of several; other work on the machine slows both."""


@pytest.fixture(scope="module")
def model() -> Model:
    return darius.load("random:tiny", device="cpu", keep_programs=False)


@pytest.fixture(scope="module")
def chunk(model: Model) -> jax.stages.Compiled:
    return model.decoder.lower(1).compile()  # type: ignore[attr-defined]


def test_a_chunk_computes_and_moves_no_more_than_before(chunk: jax.stages.Compiled) -> None:
    costs = chunk.cost_analysis()
    assert costs["flops"] < MORE * BASELINE["flops"]
    assert costs["bytes accessed"] < MORE * BASELINE["bytes"]


def test_a_chunk_needs_no_more_memory_than_before(chunk: jax.stages.Compiled) -> None:
    assert chunk.memory_analysis().temp_size_in_bytes < MORE * BASELINE["temporary_bytes"]


def test_a_chunk_is_no_more_products_than_before(chunk: jax.stages.Compiled) -> None:
    dots = len(re.findall(r" dot\(", chunk.as_text()))
    assert dots <= MORE * BASELINE["dots"]


def test_a_chunk_with_its_sound_takes_no_longer_than_before(model: Model) -> None:
    stream = session.start(model, model.nothing(), 1)
    square = np.random.default_rng(0).standard_normal((512, 512)).astype(np.float32)
    products = jax.jit(lambda x: jax.lax.fori_loop(0, 64, lambda _, y: jnp.tanh(y @ x), x))
    play = lambda: session.advance(model, stream, [session.Knobs()])  # noqa: E731
    work = lambda: products(square).block_until_ready()  # noqa: E731
    play(), work()
    ratio = min(_seconds(play) for _ in range(4)) / min(_seconds(work) for _ in range(4))
    assert ratio < SLOWER * BASELINE["chunk_to_products"]


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began

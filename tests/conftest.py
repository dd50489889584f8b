"""What every test may use: the loops, the model `tiny` loaded once, and three servers started once.

`server` plays `tiny` with every default. Tests that need other flags, or that stop or break it, start their own with
`serving.running_server` and the fixture `server_log` for its output.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from known_loops import LOOPS
from serving import Server, running_server

if TYPE_CHECKING:
    from darius.model import Model


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Downloads and compiled programs of the tests go to a folder of their own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DARIUS_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def tiny(own_cache: Path) -> Model:
    """The model that ships inside the package."""
    import darius

    return darius.load("tiny", device="cpu")


@pytest.fixture
def loop() -> Path:
    """A real loop: drums and synth, 4 bars at 120 bpm, 44.1 kHz stereo."""
    return LOOPS["loop_garzul"]


@pytest.fixture(scope="session")
def server(own_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server with `tiny`, warmed. Leave no jam behind."""
    with running_server(output=tmp_path_factory.mktemp("server") / "log.txt") as running:
        yield running


@pytest.fixture(scope="session")
def quick_server(own_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server with three places for jams and a small model, whose noise costs nothing. Leave no jam behind."""
    from light_package import write_small

    folder = tmp_path_factory.mktemp("quick")
    settings = {"DARIUS_MODEL": str(write_small(folder / "small")), "DARIUS_MAX_SESSIONS": "3"}
    with running_server(output=folder / "log.txt", env=settings) as running:
        yield running


@pytest.fixture(scope="session")
def mrt2_server(own_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server with three places for jams and a small Magenta RealTime 2: random weights, so noise. Leave no
    jam behind."""
    pytest.importorskip("magenta_rt", reason="magenta-rt has no release for this Python")
    settings = {"DARIUS_MODEL": "random:mrt2-tiny", "DARIUS_MAX_SESSIONS": "3"}
    with running_server(output=tmp_path_factory.mktemp("mrt2") / "log.txt", env=settings) as running:
        yield running


@pytest.fixture
def server_log(tmp_path: Path) -> Path:
    """Where a test's own server may print to."""
    return tmp_path / "log.txt"

"""The server that the tests of this folder share: one real process, started once, ready to play.

`server` plays `tiny` with every default. Tests that need other flags, or that stop or break it, start their own with
`serving.running_server` and the fixture `server_log` for its output.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from light_package import write_small
from serving import Server, running_server


@pytest.fixture(scope="session")
def server(own_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server with `tiny`, warmed. Leave no jam behind."""
    with running_server(output=tmp_path_factory.mktemp("server") / "log.txt") as running:
        yield running


@pytest.fixture(scope="session")
def quick_server(own_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server with three places for jams and a small model, whose noise costs nothing. Leave no jam behind."""
    folder = tmp_path_factory.mktemp("quick")
    settings = {"DARIUS_MODEL": str(write_small(folder / "small")), "DARIUS_MAX_SESSIONS": "3"}
    with running_server(output=folder / "log.txt", env=settings) as running:
        yield running


@pytest.fixture
def server_log(tmp_path: Path) -> Path:
    """Where a test's own server may print to."""
    return tmp_path / "log.txt"

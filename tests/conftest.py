"""What every test may use: the loops, and the model `tiny` loaded once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from known_loops import LOOPS

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

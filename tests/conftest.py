"""What every test may use: the loops, and the model `tiny` loaded once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from darius.model import Model

ROOT = Path(__file__).parent.parent
LOOP_FOLDERS = (ROOT / "examples" / "loops", ROOT / "tests" / "loops")
LOOPS = {path.stem: path for folder in LOOP_FOLDERS for path in folder.glob("*.flac")}
TEMPI = {
    "arovane_beat_c": 130.0,
    "loop_compus": 148.0,
    "loop_electric": 97.0,
    "loop_garzul": 120.0,
    "loop_mika": 120.0,
    "loop_tabla": 90.0,
}
"""As the loops' own page states them (examples/loops/README.md, tests/loops/README.md)."""


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

"""What the finetuning tests share: tiny's codec and style loaded once, and a dataset made of the real loops."""

from __future__ import annotations

from pathlib import Path

import pytest
from loop_folders import loop_folder

from finetune import listening
from finetune.listening import Listener
from finetune.prepare import PrepareOptions, prepare


@pytest.fixture(scope="session")
def listener(own_cache: Path) -> Listener:
    return listening.load("tiny", device="cpu", batch=2)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory, listener: Listener) -> Path:
    """A dataset of the six loops, one of them held out. Not to be changed."""
    place = tmp_path_factory.mktemp("dataset")
    audio = loop_folder(place / "audio")
    options = PrepareOptions(
        audio=audio, output=place / "out", task="loops", num_clusters=3, validation_split=0.05, licence="CC BY 4.0"
    )
    prepare(listener, options)
    return place / "out"

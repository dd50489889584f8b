"""One loader for every kind of model: what a finetune or a wrong checkpoint becomes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from known_loops import ROOT

import darius
from darius import session
from darius.checkpoints import compact, safetensors_io, t5x
from darius.depthformer.config import DepthformerConfig
from darius.errors import BadCheckpoint, InvalidOption, ModelNotFound
from darius.hub.resolving import embedded_folder

if TYPE_CHECKING:
    from darius.model import Model


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a finetune of `tiny` leaves: a T5X checkpoint, and the style of its training audio beside it."""
    folder = tmp_path_factory.mktemp("run")
    params = compact.unpack(
        DepthformerConfig.tiny(), safetensors_io.load(embedded_folder() / "depthformer.safetensors")
    )
    t5x.write(folder / "checkpoint_1861000", t5x.Checkpoint(step=1861000, params=params))
    np.save(folder / "mean_style_embed.npy", np.ones(768, np.float32))
    np.save(folder / "cluster_centroids.npy", np.ones((5, 768), np.float32))
    return folder


def test_a_finetune_of_tiny_plays_with_tinys_codec_and_its_own_styles(tiny: Model, run_folder: Path) -> None:
    finetune = darius.load(str(run_folder), device="cpu")
    assert finetune.step == 1861000 and finetune.prefix_frames == tiny.prefix_frames
    assert finetune.assets.mean is not None and finetune.assets.centroid_count == 5
    context = np.random.default_rng(0).integers(0, 1024, (258, 16), np.int32)
    knobs = [session.Knobs(style=np.arange(12, dtype=np.int32))]
    _, theirs, _ = session.advance(finetune, session.start(finetune, context, 1), knobs, frames=5)
    _, ours, _ = session.advance(tiny, session.start(tiny, context, 1), knobs, frames=5)
    assert np.array_equal(theirs, ours)


def test_a_checkpoint_of_no_known_size_is_refused(tmp_path: Path) -> None:
    archive = ROOT / "tests" / "golden" / "depthformer_test" / "checkpoint_1862001.tgz"
    with pytest.raises(BadCheckpoint, match=r"sizes|shape"):
        darius.load(str(archive), device="cpu")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [({"name": "tinny"}, ModelNotFound), ({"dtype": "float64"}, InvalidOption), ({"device": "abacus"}, InvalidOption)],
)
def test_what_cannot_be_loaded_is_a_sentence(arguments: dict[str, str], error: type[Exception]) -> None:
    with pytest.raises(error):
        darius.load(**arguments)


def test_an_option_that_does_not_exist_is_a_sentence(tiny: Model, loop: Path) -> None:
    with pytest.raises(InvalidOption, match="barz"):
        tiny.continue_loop(loop, barz=3)

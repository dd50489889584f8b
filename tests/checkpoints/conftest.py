"""The golden checkpoint, unpacked once, and a small seeded one."""

from pathlib import Path

import numpy as np
import pytest

from darius.checkpoints import archives
from darius.checkpoints.t5x import Checkpoint

GOLDEN = Path(__file__).parent.parent / "golden" / "depthformer_test" / "checkpoint_1862001.tgz"


@pytest.fixture(scope="session")
def golden_archive() -> Path:
    return GOLDEN


@pytest.fixture(scope="session")
def golden_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return archives.unpack(GOLDEN, tmp_path_factory.mktemp("golden"))


@pytest.fixture
def small() -> Checkpoint:
    """Two parameters, one with a factored and one with a full optimiser state, as Adafactor keeps them."""
    rng = np.random.default_rng(3)

    def values(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, np.float32)

    placeholder = np.zeros(1, np.float32)
    return Checkpoint(
        step=1863001,
        params={"encoder/layers_0/mlp/wi_0/kernel": values(6, 8), "encoder/encoder_norm/scale": values(6)},
        param_states={
            "encoder/layers_0/mlp/wi_0/kernel/m": placeholder,
            "encoder/layers_0/mlp/wi_0/kernel/v": placeholder,
            "encoder/layers_0/mlp/wi_0/kernel/v_row": values(6),
            "encoder/layers_0/mlp/wi_0/kernel/v_col": values(8),
            "encoder/encoder_norm/scale/m": placeholder,
            "encoder/encoder_norm/scale/v": values(6),
            "encoder/encoder_norm/scale/v_row": placeholder,
            "encoder/encoder_norm/scale/v_col": placeholder,
        },
    )

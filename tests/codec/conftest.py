"""One small codec, and what it decodes, for all tests here."""

from __future__ import annotations

import numpy as np
import pytest
from small_codec import random_params, short_config

from darius.codec.codec import Codec
from darius.codec.config import CodecConfig


@pytest.fixture(scope="session")
def config() -> CodecConfig:
    return short_config()


@pytest.fixture(scope="session")
def codec(config) -> Codec:
    return Codec(config, random_params(config))


@pytest.fixture(scope="session")
def codes(config) -> np.ndarray:
    """Codes of two streams, int32 [2, 20, 8]."""
    return np.random.default_rng(1).integers(0, config.codebook_size, (2, 20, config.num_levels), np.int32)


@pytest.fixture(scope="session")
def decoded(codec, codes) -> np.ndarray:
    return np.asarray(codec.decode(codes))

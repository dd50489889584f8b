"""The CUDA kernel that draws for many streams, run on the CPU: the codes are those of `sampling.choose`."""

import ctypes

import numpy as np
import pytest
from emulation import build, needs_compiler

from darius.depthformer import drawing
from darius.depthformer.config import DepthformerConfig
from darius.depthformer.sampling import choose, guide, gumbel

CODES = 1024
CONFIG = DepthformerConfig.large()

pytestmark = needs_compiler


@pytest.fixture(scope="module", params=[False, True], ids=["without guidance", "with guidance"])
def kernel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[ctypes.CDLL, bool]:
    flags = ["-DGUIDED"] * request.param
    folder = tmp_path_factory.mktemp("draw")
    return build(folder, "emulate_draw_many.cpp", drawing.constants(CONFIG), *flags), request.param


def drawn(
    kernel: ctypes.CDLL, logits: np.ndarray, noise: np.ndarray, temperature: float, top_k: int, known: int
) -> int:
    out = np.full(1, -7, np.int32)
    dials = [np.float32([3.0]), np.float32([temperature]), np.int32([top_k]), np.int32([known])]
    arrays = [logits, noise, *dials, out]
    kernel.run((ctypes.c_void_p * 7)(*[array.ctypes.data for array in arrays]))
    return int(out[0])


@pytest.mark.parametrize("temperature, top_k", [(0.0, 0), (1.1, 40), (2.0, 1), (1.3, 0), (1.0, 5000), (1.0, 7)])
def test_a_code_is_the_one_that_is_chosen(kernel: tuple[ctypes.CDLL, bool], temperature: float, top_k: int) -> None:
    library, guided = kernel
    for seed in range(3):
        rng = np.random.default_rng(seed)
        logits = np.round(rng.normal(0, 3, (2, CODES)), 1).astype(np.float32)  # with equals, and zeros of both signs
        noise = np.asarray(gumbel(seed, 1, 2, CODES), np.float32)
        together = guide(logits[:1], logits[1:], np.float32([3.0])) if guided else logits[:1]
        expected = choose(together, noise[None], np.float32([temperature]), np.int32([top_k]))
        assert drawn(library, logits, noise, temperature, top_k, -1) == int(expected[0])


def test_a_known_code_is_not_drawn(kernel: tuple[ctypes.CDLL, bool]) -> None:
    logits, noise = np.zeros((2, CODES), np.float32), np.zeros(CODES, np.float32)
    assert drawn(kernel[0], logits, noise, 1.0, 40, 17) == 17

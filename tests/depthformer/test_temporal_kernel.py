"""The CUDA kernel of the temporal stack: its own source, run thread by thread on the CPU, against the network."""

import ctypes

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from emulation import build, needs_compiler

from darius import random_weights
from darius.depthformer import fused, fused_temporal
from darius.depthformer.config import DepthformerConfig
from darius.depthformer.layers import Context, cross_key_value, padding_bias
from darius.depthformer.packing import Packed, pack
from darius.depthformer.steps import FrameState, temporal_step
from darius.tokens import TokenLayout

BLOCKS, SLOTS, FRAMES = 3, 48, 2
LAYOUT = TokenLayout(codec_levels=4, codebook_size=256, context_frames=70, chunk_frames=FRAMES)
CONFIG = DepthformerConfig(
    layout=LAYOUT,
    embed_dim=256,
    num_heads=4,
    head_dim=64,
    mlp_dim=512,
    num_encoder_layers=1,
    num_temporal_layers=2,
    num_depth_layers=1,
)

pytestmark = needs_compiler


@pytest.fixture(scope="module")
def packed() -> Packed:
    params = random_weights.language_model(CONFIG)
    return pack(CONFIG, params, jnp.bfloat16, projection_dtype=jnp.bfloat16)


@pytest.fixture(scope="module", params=[(1, 16), (2, 8)], ids=["without guidance", "with guidance, 8 bits"])
def kernel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[ctypes.CDLL, int, int]:
    rows, bits = request.param  # those of guidance with 16 bits: see test_one_stream
    constants = {**fused_temporal.sizes(CONFIG, rows, BLOCKS, bits), "SLOTS": SLOTS}
    return build(tmp_path_factory.mktemp("kernel"), "emulate_temporal_frame.cpp", constants), rows, bits


def test_frames_are_the_networks_own(kernel, packed: Packed) -> None:
    library, rows, bits = kernel
    matrices = fused_temporal.prepare(CONFIG, packed, bits)
    packed = packed if bits == 16 else fused.rounded(packed)
    length = LAYOUT.encoder_length
    assert fused_temporal.slices(CONFIG) == 2
    tokens = jnp.ones((rows, length), jnp.int32).at[-1, :30].set(0)
    encoded = jax.random.normal(jax.random.key(1), (rows, length, 256), jnp.bfloat16)
    bias = padding_bias(tokens, jnp.bfloat16)
    contexts = tuple(Context(*cross_key_value(CONFIG, block.cross, encoded), bias) for block in packed.temporal)
    seen = fused_temporal.see(CONFIG, contexts)
    empty = jnp.zeros((rows, 4, FRAMES, 64), jnp.bfloat16)
    state = tuple((empty, empty) for _ in packed.temporal)
    memory = np.array(fused_temporal.empty_memory(CONFIG, rows))
    for frame in range(FRAMES):
        inputs = jax.random.normal(jax.random.key(2 + frame), (rows, 256), jnp.float32)
        expected, state = temporal_step(
            CONFIG, packed, contexts, FrameState(state, inputs[:, None]), jnp.asarray(frame)
        )
        operands = [*matrices, packed.temporal_bias, seen.keys, seen.values, seen.bias]
        board = np.zeros(fused_temporal.board_words(CONFIG, rows), np.uint32)
        output = np.full((rows, 256), np.nan, np.float32)
        operands += [inputs, np.array([frame], np.int32), memory, board]
        arrays = [np.ascontiguousarray(np.asarray(a)) for a in operands] + [output, memory, board]
        library.run((ctypes.c_void_p * len(arrays))(*[a.ctypes.data for a in arrays]))
        assert np.std(expected) > 0.5
        np.testing.assert_allclose(output, np.asarray(expected[:, 0]), atol=0.1)
        for layer, (keys, values) in enumerate(state):
            for mine, theirs in zip(memory[layer], (keys, values), strict=True):
                np.testing.assert_allclose(mine.astype(np.float32), np.asarray(theirs, np.float32), atol=0.1)


def test_the_shared_memory_that_is_asked_for_is_enough(kernel) -> None:
    library, rows, bits = kernel
    library.shared_size.restype = ctypes.c_long
    needed = library.shared_size()
    assert needed <= fused_temporal.shared_bytes(CONFIG, rows, BLOCKS, SLOTS, bits) <= needed + 1024

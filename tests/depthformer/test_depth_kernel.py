"""The CUDA kernel of the depth stack: its own source, run thread by thread on the CPU, against the network."""

import ctypes

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from emulation import build, needs_compiler

from darius import random_weights
from darius.depthformer import fused
from darius.depthformer.config import DepthformerConfig
from darius.depthformer.layers import rms_norm, run_block
from darius.depthformer.packing import Packed, pack
from darius.depthformer.sampling import choose, guide, gumbel
from darius.tokens import TokenLayout

BLOCKS, SLOTS, LEVELS, CODES = 3, 48, 3, 256
LAYOUT = TokenLayout(codec_levels=LEVELS, codebook_size=CODES, context_frames=2, chunk_frames=2)
CONFIG = DepthformerConfig(
    layout=LAYOUT,
    embed_dim=256,
    num_heads=4,
    head_dim=64,
    mlp_dim=512,
    num_encoder_layers=1,
    num_temporal_layers=1,
    num_depth_layers=2,
)

pytestmark = needs_compiler


@pytest.fixture(scope="module")
def packed() -> Packed:
    params = random_weights.language_model(CONFIG)
    return pack(CONFIG, params, jnp.bfloat16, projection_dtype=jnp.bfloat16)


@pytest.fixture(scope="module", params=[1, 2], ids=["without guidance", "with guidance"])
def kernel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[ctypes.CDLL, int]:
    rows = request.param
    constants = {**fused.sizes(CONFIG, rows, BLOCKS), "SLOTS": SLOTS}
    return build(tmp_path_factory.mktemp("kernel"), "emulate_depth_frame.cpp", constants), rows


def emulate(library: ctypes.CDLL, packed: Packed, context, noise, known, dials, bits: int = 16):
    rows = len(context)
    weights = fused.prepare(CONFIG, packed, bits)
    inputs = [*weights[:6], packed.decoder_norm, weights.projection, packed.embedding, packed.depth_bias]
    board = fused.board_words(CONFIG, rows)
    inputs += [context, noise, known, dials, np.zeros(board, np.uint32)]
    boards = np.zeros(board, np.uint32)
    results = [np.full(LEVELS, -7, np.int32), np.full(context.shape, np.nan, np.float32), boards]
    arrays = [np.ascontiguousarray(np.asarray(a)) for a in inputs] + results
    pointers = (ctypes.c_void_p * len(arrays))(*[a.ctypes.data for a in arrays])
    library.run(pointers)
    return results[0], results[1], boards[-rows * CODES :].view(np.float32).reshape(rows, CODES)


def network(packed: Packed, context, codes, noise, dials):
    """The network's own layers, given the codes: the last logits, the mean, and how far each code is from the best."""
    ids = LAYOUT.codec_offset + jnp.arange(LEVELS) * CODES + codes
    vectors = packed.embedding[ids].astype(jnp.float32)
    later = jnp.broadcast_to(vectors[None, :-1], (len(context), LEVELS - 1, CONFIG.embed_dim))
    x = jnp.concatenate([jnp.asarray(context)[:, None], later], axis=1)
    for block in packed.depth:
        x, _ = run_block(CONFIG, block, x, packed.depth_bias)
    hidden = rms_norm(CONFIG, packed.decoder_norm, x)
    logits = jnp.einsum("rqd,qdk->rqk", *(x.astype(jnp.float32) for x in (hidden, packed.projection)))
    together = guide(logits[0], logits[1], dials[0]) if len(context) == 2 else logits[0]
    temperature, top_k = np.full(LEVELS, dials[1]), np.full(LEVELS, int(dials[2]))
    best = choose(together, jnp.asarray(noise), temperature, top_k)
    score = together / max(dials[1], 1e-4) + (noise if dials[1] > 1e-4 else 0)
    each = jnp.arange(LEVELS)
    short = (score[each, best] - score[each, codes]) * max(dials[1], 1e-4)
    return np.asarray(logits[:, -1]), np.asarray(vectors.mean(0)), np.asarray(short)


@pytest.mark.parametrize("temperature, top_k", [(0.0, 0), (1.1, 40), (2.0, 1), (1.3, 0)])
def test_a_frame_is_the_networks_own(kernel, packed: Packed, temperature: float, top_k: int) -> None:
    library, rows = kernel
    context = np.asarray(jax.random.normal(jax.random.key(3), (rows, 256)), np.float32)
    noise = np.asarray(gumbel(5, 6, jnp.arange(LEVELS), CODES), np.float32)
    dials = np.array([2.0, temperature, top_k, LAYOUT.codec_offset], np.float32)
    codes, mean, logits = emulate(library, packed, context, noise, np.full(LEVELS, -1, np.int32), dials)
    expected_logits, expected_mean, short = network(packed, context, codes, noise, dials)
    np.testing.assert_allclose(logits, expected_logits, atol=0.1)
    np.testing.assert_allclose(mean, np.broadcast_to(expected_mean, mean.shape), atol=1e-6)
    # Rounding may tip a draw between codes as good as equal (of five times the difference, with guidance), no other.
    assert short.max() < 0.2 and (short == 0).any()


def test_known_codes_are_not_drawn(kernel, packed: Packed) -> None:
    library, rows = kernel
    context = np.asarray(jax.random.normal(jax.random.key(3), (rows, 256)), np.float32)
    noise = np.zeros((LEVELS, CODES), np.float32)
    known = np.array([7, -1, 200], np.int32)
    dials = np.array([2.0, 0.0, 0, LAYOUT.codec_offset], np.float32)
    codes, _, _ = emulate(library, packed, context, noise, known, dials)
    assert codes[0] == 7 and codes[2] == 200 and 0 <= codes[1] < CODES


def test_the_shared_memory_that_is_asked_for_is_enough(kernel) -> None:
    library, rows = kernel
    library.shared_size.restype = ctypes.c_long
    needed = library.shared_size()
    assert needed <= fused.shared_bytes(CONFIG, rows, BLOCKS, SLOTS) <= needed + 1024


def test_a_frame_of_8_bits_is_that_of_the_rounded_weights(
    packed: Packed, tmp_path_factory: pytest.TempPathFactory
) -> None:
    constants = {**fused.sizes(CONFIG, 2, BLOCKS, 8), "SLOTS": SLOTS}
    library = build(tmp_path_factory.mktemp("kernel"), "emulate_depth_frame.cpp", constants)
    context = np.asarray(jax.random.normal(jax.random.key(3), (2, 256)), np.float32)
    noise = np.zeros((LEVELS, CODES), np.float32)
    dials = np.array([2.0, 0.0, 0, LAYOUT.codec_offset], np.float32)
    codes, _, logits = emulate(library, packed, context, noise, np.full(LEVELS, -1, np.int32), dials, 8)
    expected, _, short = network(fused.rounded(packed), context, codes, noise, dials)
    np.testing.assert_allclose(logits, expected, atol=0.1)
    assert short.max() < 0.2 and (short == 0).any()
    # The weights as they are give others: rounding them costs something, and the kernel did it.
    as_they_are, _, _ = network(packed, context, codes, noise, dials)
    assert np.abs(logits - expected).mean() < np.abs(logits - as_they_are).mean()
    library.shared_size.restype = ctypes.c_long
    assert library.shared_size() <= fused.shared_bytes(CONFIG, 2, BLOCKS, SLOTS, 8) <= library.shared_size() + 1024

"""Cross-attention on the encoder's output itself: as keys and values have it; and its CUDA kernel, run on the CPU."""

import ctypes
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from emulation import build, needs_compiler

from darius.depthformer import heard
from darius.depthformer.config import DepthformerConfig
from darius.depthformer.heard import Heard
from darius.depthformer.layers import attend, split_heads
from darius.tokens import TokenLayout

LAYOUT = TokenLayout(context_frames=6, context_levels=6, context_style_levels=4)  # 40 vectors: two tiles, one not full
CONFIG = DepthformerConfig(
    layout=LAYOUT,
    embed_dim=256,
    num_heads=5,
    head_dim=64,
    mlp_dim=64,
    num_encoder_layers=1,
    num_temporal_layers=1,
    num_depth_layers=1,
)
ROWS = 3


def drawn(dtype) -> tuple[Heard, jax.Array, jax.Array]:
    """What a layer hears, a query a row, and the same attention through keys and values; some vectors are hidden."""
    keys = jax.random.split(jax.random.key(1), 4)
    joined, width, length = CONFIG.joined_dim, CONFIG.embed_dim, LAYOUT.encoder_length
    key_value = (jax.random.normal(keys[0], (width, 2 * joined)) / width**0.5).astype(dtype)
    encoded = jax.random.normal(keys[1], (ROWS, length, width)).astype(dtype)
    query = jax.random.normal(keys[2], (ROWS, 1, joined)).astype(dtype)
    bias = jnp.where(jax.random.bernoulli(keys[3], 0.8, (ROWS, length)), 0.0, -1e10)
    key, value = heard.matrices(CONFIG, key_value)
    present = Heard(encoded=encoded, bias=bias, key=key, value=value, kernel=None)
    wide = [x.astype(jnp.float32) for x in (encoded, key_value, query)]
    both = [split_heads(CONFIG, part) for part in jnp.split(wide[0] @ wide[1], 2, axis=-1)]
    return present, query, attend(split_heads(CONFIG, wide[2]), *both, bias[:, None, None], None, 0)


def test_it_is_the_attention_to_keys_and_values() -> None:
    present, query, expected = drawn(jnp.float32)
    np.testing.assert_allclose(heard.hear(CONFIG, present, query), expected, atol=1e-5)


def test_in_bfloat16_it_is_so_within_rounding() -> None:
    present, query, expected = drawn(jnp.bfloat16)
    np.testing.assert_allclose(heard.hear(CONFIG, present, query).astype(jnp.float32), expected, atol=0.05)


@needs_compiler
@pytest.mark.parametrize("tile, stages", [(32, 2), (16, 3)])
def test_the_kernel_hears_the_same(tmp_path: Path, tile: int, stages: int) -> None:
    library = build(tmp_path, "emulate_cross_attention.cpp", heard.sizes(CONFIG, tile, stages))
    present, query, _ = drawn(jnp.bfloat16)
    queries = jnp.einsum("rhk,hkd->hrd", query.reshape(ROWS, 5, 64), present.key)
    out = np.full(queries.shape, np.nan, jnp.bfloat16)
    arrays = [np.ascontiguousarray(np.asarray(a)) for a in (queries, present.encoded, present.bias)] + [out]
    library.run((ctypes.c_void_p * 4)(*[array.ctypes.data for array in arrays]), ROWS)
    expected = heard._plain(present, queries)
    np.testing.assert_allclose(out.astype(np.float32), np.asarray(expected, np.float32), atol=0.02)
    library.shared_size.restype = ctypes.c_long
    assert library.shared_size() == heard.shared_bytes(CONFIG, tile, stages)

"""Guidance, top-k, temperature and the generator, as functions of arrays."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from darius.depthformer import sampling

CODES = 32
logit = st.integers(-40, 40).map(lambda n: n / 8)  # coarse, so that ties are common
rows = arrays.arrays(np.float32, (2, CODES), elements=logit)
ks = arrays.arrays(np.int32, 2, elements=st.integers(0, CODES))

keep_by_list = jax.jit(lambda x, k: sampling.keep_top_k(x, k, listed=CODES))
keep_by_counting = jax.jit(sampling.keep_top_k)
gumbel = jax.jit(sampling.gumbel, static_argnums=3)
threefry = jax.jit(sampling.threefry)
choose = jax.jit(lambda x, noise, t, k: sampling.choose(x, noise, t, k, listed=CODES))


def reference_top_k(row: np.ndarray, k: int) -> np.ndarray:
    kept = row >= np.sort(row)[-k] if k else np.ones(len(row), bool)
    return np.where(kept, row, -np.inf)


@settings(deadline=None, max_examples=50)
@given(rows, ks)
def test_top_k_keeps_the_largest_with_all_their_ties_and_zero_keeps_all(logits, k):
    expected = np.stack([reference_top_k(row, n) for row, n in zip(logits, k, strict=True)])
    np.testing.assert_array_equal(keep_by_list(logits, k), expected)
    np.testing.assert_array_equal(keep_by_counting(logits, k), expected)


def test_the_short_list_serves_usual_values_and_the_long_one_the_rest():
    assert sampling.list_length([0, 40, 64], 1024) == 64
    assert sampling.list_length([0, 65], 1024) == 1024
    assert sampling.list_length([40], 32) == 32


@settings(deadline=None, max_examples=50)
@given(rows, rows, ks)
def test_cold_draws_and_top_1_draws_are_the_arg_max_whatever_the_noise(logits, noise, k):
    logits = logits + np.arange(CODES, dtype=np.float32) * 1e-3  # no ties
    best = logits.argmax(-1)
    cold = np.array([0.0, sampling.COLDEST], np.float32)
    np.testing.assert_array_equal(choose(logits, noise, cold, k), best)
    np.testing.assert_array_equal(choose(logits, noise, np.full(2, 1.1, np.float32), np.ones(2, np.int32)), best)


@settings(deadline=None, max_examples=50)
@given(rows, rows, ks, st.sampled_from([0.25, 1.0, 3.0]))
def test_a_draw_is_one_of_the_top_k(logits, noise, k, temperature):
    drawn = np.asarray(choose(logits, noise, np.full(2, temperature, np.float32), k))
    kept = np.asarray(keep_by_list(logits, k))
    assert np.isfinite(kept[np.arange(2), drawn]).all()


def test_guidance_moves_away_from_the_unconditioned_row_and_zero_leaves_the_conditioned_one():
    conditioned, unconditioned = jnp.array([[1.0, 2.0]] * 2), jnp.array([[3.0, 1.0]] * 2)
    guided = sampling.guide(conditioned, unconditioned, jnp.array([0.0, 4.0]))
    np.testing.assert_allclose(guided, [[1.0, 2.0], [5 - 12, 10 - 4]])


def test_threefry_gives_the_published_test_vectors():
    """Known answers of Random123 for threefry2x32 with 20 rounds."""
    vectors = [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ]
    for key, counter, expected in vectors:
        words = threefry(*(jnp.uint32(word) for word in (*key, *counter)))
        assert tuple(int(word) for word in words) == expected


def test_noise_is_gumbel_and_finite_and_differs_by_seed_chunk_and_step():
    noise = np.asarray(gumbel(jnp.arange(8), 0, 0, 4096))
    assert np.isfinite(noise).all()
    assert abs(noise.mean() - np.euler_gamma) < 0.03
    assert abs(noise.var() - np.pi**2 / 6) < 0.06
    base = np.asarray(gumbel(1, 2, 3, 16))
    for other in ((2, 2, 3), (1, 3, 3), (1, 2, 4)):
        assert not np.allclose(base, gumbel(*other, 16))
    np.testing.assert_array_equal(noise[1], gumbel(1, 0, 0, 4096))


def test_draws_follow_the_distribution():
    logits = jnp.log(jnp.array([0.5, 0.3, 0.15, 0.05]))
    count = 20_000
    noise = gumbel(7, 0, jnp.arange(count), 4)
    wide = jnp.broadcast_to(logits, (count, 4))
    drawn = jax.jit(sampling.choose)(wide, noise, np.ones(count), np.zeros(count, np.int32))
    shares = np.bincount(np.asarray(drawn), minlength=4) / count
    np.testing.assert_allclose(shares, np.exp(logits), atol=0.015)

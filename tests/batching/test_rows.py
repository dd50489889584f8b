"""Joining streams into a bucket and parting them: every bit of every array comes back, whatever its type."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darius.batching.rows import Rows, apart
from darius.session import Streams

TYPES = ("float32", "bfloat16", "int32", "uint32", "uint8", "bool", "float16")


def stream(seed: int) -> Streams:
    """Arrays of every type, some of an odd number of values, one of none, with every bit pattern."""
    rng = np.random.default_rng(seed)

    def drawn(dtype: str, *shape: int) -> jax.Array:
        if dtype == "bool":
            return jnp.asarray(rng.integers(0, 2, (1, *shape)).astype(bool))
        stored = rng.integers(0, 256, (1, *shape, np.dtype(jnp.dtype(dtype)).itemsize)).astype(np.uint8)
        return jnp.asarray(stored.view(jnp.dtype(dtype))[..., 0])

    codec = {dtype: drawn(dtype, 3, 5) for dtype in TYPES} | {"one": drawn("bfloat16", 1), "position": drawn("int32")}
    memory = (drawn("bfloat16", 2, 0), [drawn("float32", 7)])
    context = rng.integers(0, 9, (1, 4, 2)).astype(np.int32)
    return Streams(
        context=context, codec=codec, memory=memory, chunk=np.array([seed], np.int32), seed=np.array([seed], np.uint32)
    )


def same_bits(one: Streams, other: Streams) -> None:
    for x, y in zip(
        jax.tree.leaves(dataclasses.asdict(one) | {"codec": one.codec, "memory": one.memory}),
        jax.tree.leaves(dataclasses.asdict(other) | {"codec": other.codec, "memory": other.memory}),
        strict=True,
    ):
        assert x.dtype == y.dtype and x.shape == y.shape
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


@pytest.mark.parametrize("count, size", [(2, 2), (3, 4), (1, 4)])
def test_what_was_joined_and_parted_is_as_it_was(count: int, size: int) -> None:
    before = [stream(seed) for seed in range(count)]
    rows = Rows()
    joined = rows.join(before, size)
    assert len(joined) == size
    after = rows.part(joined, count)
    again = rows.part(rows.join(after, size), count)
    for one, other, third in zip(before, after, again, strict=True):
        same_bits(one, other)
        same_bits(one, third)


def test_a_bucket_holds_every_stream_in_its_row_and_the_last_one_in_those_left_over() -> None:
    before = [stream(0), stream(1)]
    joined = Rows().join(before, 3)
    for row, expected in enumerate((before[0], before[1], before[1])):
        found = jax.tree.map(lambda leaf: leaf[row : row + 1], (joined.codec, joined.memory))  # noqa: B023
        for x, y in zip(jax.tree.leaves(found), jax.tree.leaves((expected.codec, expected.memory)), strict=True):
            assert np.asarray(x).tobytes() == np.asarray(y).tobytes()
        assert joined.seed[row] == expected.seed[0]


def test_a_parted_stream_can_be_changed_as_any_other() -> None:
    rows = Rows()
    parted = rows.part(rows.join([stream(0), stream(1)], 2), 2)[1]
    changed = dataclasses.replace(parted, chunk=np.array([9], np.int32))
    same_bits(dataclasses.replace(changed, chunk=parted.chunk), stream(1))
    same_bits(rows.part(rows.join([changed, stream(0)], 2), 1)[0], changed)


@pytest.mark.parametrize("count", [3, 40])
def test_rows_apart_are_the_batchs_own_and_keep_nothing_of_it(count: int) -> None:
    batch = np.random.default_rng(0).normal(size=(count + 1, 5, 2)).astype(np.float32)
    rows = apart(batch, count)
    assert len(rows) == count
    for row, expected in zip(rows, batch, strict=False):
        np.testing.assert_array_equal(row, expected)
        assert row.base is None

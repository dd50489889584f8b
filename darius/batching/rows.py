"""Streams of one row joined into a bucket and parted again. Knows no scheduling.

What a device holds of a stream is dozens of arrays. A program that takes those of all rows apart would take minutes to
compile for a large bucket, and a call of it, longer than the music; so a stream is kept as one array of words, and
only a bucket's words are ever taken apart, all rows at once. Bits do not change.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from darius.session import Streams

MANY, COPYING = 32, 4
"""From so many rows on, so many threads copy them."""


class Kind(NamedTuple):
    """Of what the words of a stream are made.

    Attributes:
      tree: of codec state and memory.
      leaves: each array's shape without the streams, and dtype.
    """

    tree: Any
    leaves: tuple[tuple[tuple[int, ...], str], ...]


class Row(Streams):
    """One stream of a bucket, taken apart when somebody looks at it. With other fields it is plain `Streams`."""

    words: Any
    kind: Kind

    def __new__(cls, **fields: Any) -> Streams:  # type: ignore[misc]
        return Streams(**fields)

    @classmethod
    def of(cls, words: Any, kind: Kind, **fields: Any) -> Row:
        """A stream of words [1, n] and the fields that are on the host."""
        row: Row = object.__new__(cls)
        row.__dict__.update(fields, words=words, kind=kind)
        return row

    @functools.cached_property
    def state(self) -> tuple[Any, Any]:
        return _unpack()(self.words, self.kind)  # type: ignore[no-any-return]

    @functools.cached_property
    def codec(self) -> Any:
        return self.state[0]

    @functools.cached_property
    def memory(self) -> Any:
        return self.state[1]


class Rows:
    """Joins and parts."""

    def join(self, streams: Sequence[Streams], size: int) -> Streams:
        """Some streams of one row as one value of `size` rows; the last stream fills up the rest."""
        rows = [*streams, *[streams[-1]] * (size - len(streams))]
        if size == 1:
            return rows[0]
        packed = [self._packed(row) for row in streams]
        (first, kind), place = packed[0], _place()
        words = _room()(first, size)
        for i in range(size):
            words = place(words, packed[min(i, len(packed) - 1)][0], np.int32(i))
        codec, memory = _unpack()(words, kind)
        return Streams(
            context=np.concatenate([row.context for row in rows]),
            codec=codec,
            memory=memory,
            chunk=np.concatenate([row.chunk for row in rows]),
            seed=np.concatenate([row.seed for row in rows]),
        )

    def part(self, streams: Streams, count: int) -> list[Streams]:
        """The first `count` rows, each as a value of one row."""
        if len(streams) == 1:
            return [streams]
        words, kind = self._packed(streams)
        one = _row()
        return [
            Row.of(
                # Copies: a view would keep the whole bucket alive for as long as any of its streams.
                one(words, np.int32(i)),
                kind,
                context=streams.context[i : i + 1].copy(),
                chunk=streams.chunk[i : i + 1],
                seed=streams.seed[i : i + 1],
            )
            for i in range(count)
        ]

    def _packed(self, streams: Streams) -> tuple[Any, Kind]:
        if isinstance(streams, Row):
            return streams.words, streams.kind
        import jax

        leaves, tree = jax.tree.flatten((streams.codec, streams.memory))
        kind = Kind(tree, tuple((tuple(leaf.shape[1:]), str(leaf.dtype)) for leaf in leaves))
        return _pack()(leaves), kind


def apart(batch: NDArray[Any], count: int) -> list[NDArray[Any]]:
    """The first `count` rows as arrays of their own: a view would keep the whole bucket's for as long as any row."""
    if count < MANY:
        return [row.copy() for row in batch[:count]]
    # A chunk of 256 streams is 200 MB of sound: one core would hold up the device for a twentieth of the music.
    with ThreadPoolExecutor(COPYING) as pool:
        return list(pool.map(np.copy, batch[:count]))


@functools.cache
def _pack() -> Any:
    import jax
    import jax.numpy as jnp

    return jax.jit(lambda leaves: jnp.concatenate([_words(leaf) for leaf in leaves], axis=1))


@functools.cache
def _unpack() -> Any:
    import jax

    def unpack(words: Any, kind: Kind) -> Any:
        leaves, at = [], 0
        for shape, dtype in kind.leaves:
            length = -(-math.prod(shape) * np.dtype(_stored(dtype)).itemsize // 4)
            leaves.append(_leaf(words[:, at : at + length], shape, dtype))
            at += length
        return jax.tree.unflatten(kind.tree, leaves)

    return jax.jit(unpack, static_argnames="kind")


@functools.cache
def _room() -> Any:
    import jax
    import jax.numpy as jnp

    return jax.jit(lambda row, size: jnp.zeros((size, row.shape[1]), row.dtype), static_argnames="size")


@functools.cache
def _place() -> Any:
    import jax

    update = lambda words, row, i: jax.lax.dynamic_update_slice_in_dim(words, row, i, axis=0)  # noqa: E731
    return jax.jit(update, donate_argnames="words")


@functools.cache
def _row() -> Any:
    import jax

    return jax.jit(lambda words, i: jax.lax.dynamic_slice_in_dim(words, i, 1, axis=0))


def _stored(dtype: str) -> str:
    """The unsigned type as wide as another, in which its bits are kept."""
    import jax.numpy as jnp

    return f"uint{8 * jnp.dtype(dtype).itemsize}"


def _words(leaf: Any) -> Any:
    """[B, ...] -> its bits as uint32 [B, n]; zeros fill up the last word."""
    import jax
    import jax.numpy as jnp

    bits = leaf.astype(jnp.uint8) if leaf.dtype == bool else jax.lax.bitcast_convert_type(leaf, _stored(leaf.dtype))
    bits = bits.reshape(len(leaf), -1)
    each = 4 // bits.dtype.itemsize
    if each == 1:
        return bits
    bits = jnp.pad(bits, ((0, 0), (0, -bits.shape[1] % each)))
    return jax.lax.bitcast_convert_type(bits.reshape(len(leaf), -1, each), jnp.uint32)


def _leaf(words: Any, shape: tuple[int, ...], dtype: str) -> Any:
    """The inverse of `_words`."""
    import jax

    stored = _stored(dtype)
    bits = jax.lax.bitcast_convert_type(words, stored).reshape(len(words), -1)[:, : math.prod(shape)]
    bits = bits.reshape(len(words), *shape)
    return bits.astype(dtype) if dtype == "bool" else jax.lax.bitcast_convert_type(bits, dtype)

"""Streams of one row joined into a bucket and parted again, one compiled call each way. Knows no scheduling."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from darius.session import Streams


class Rows:
    """Joins and parts; holds the two compiled functions, a program for each bucket size."""

    @functools.cached_property
    def _join(self) -> Any:
        import jax
        import jax.numpy as jnp

        return jax.jit(lambda states: jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *states))

    @functools.cached_property
    def _part(self) -> Any:
        import jax

        def row(state: Any, i: int) -> Any:
            return jax.tree.map(lambda leaf: leaf[i : i + 1], state)

        return jax.jit(lambda state: [row(state, i) for i in range(len(jax.tree.leaves(state)[0]))])

    def join(self, streams: Sequence[Streams], size: int) -> Streams:
        """Some streams of one row as one value of `size` rows; the last stream fills up the rest."""
        rows = [*streams, *[streams[-1]] * (size - len(streams))]
        if size == 1:
            return rows[0]
        codec, memory = self._join(tuple((row.codec, row.memory) for row in rows))
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
        states = self._part((streams.codec, streams.memory))
        return [
            dataclasses.replace(
                streams,
                # A copy: a view would keep the whole bucket's context alive for as long as any of its streams.
                context=streams.context[i : i + 1].copy(),
                codec=states[i][0],
                memory=states[i][1],
                chunk=streams.chunk[i : i + 1],
                seed=streams.seed[i : i + 1],
            )
            for i in range(count)
        ]

"""Jitted functions whose programs can be compiled before they are called. Knows no music.

An accelerator may execute for one thread at a time only: XLA records CUDA graphs while it executes, and fails where
another thread does. Compiling may go on beside that, in any number of threads.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Hashable
from typing import Any

import jax


class Ahead:
    """A jitted function, and the programs of it that were compiled ahead, by the shapes and dtypes of all arguments.

    Called like the function. A program serves arguments from anywhere (host or device), where `jax.jit` by itself
    compiles for each; calls that none was compiled for go to `jax.jit`.

    Args:
      static: names of the jitted function's static arguments, which are given by name.
    """

    def __init__(self, jitted: Any, static: Collection[str] = ()) -> None:
        self._jitted, self._static = jitted, frozenset(static)
        self._programs: dict[Hashable, jax.stages.Compiled] = {}
        self._turns: dict[Hashable, threading.Lock] = {}  # held while it is compiled
        self._lock = threading.Lock()

    def __call__(self, *args: Any, **named: Any) -> Any:
        """The function's result; waits where just this program is being compiled."""
        key = self._key(args, named) if self._turns else None
        turn = self._turns.get(key)
        if turn is None:
            return self._jitted(*args, **named)
        with turn:
            program = self._programs.get(key)
        if program is None:
            return self._jitted(*args, **named)
        dynamic = {name: value for name, value in named.items() if name not in self._static}
        return program(*args, **dynamic)

    def compile(self, *args: Any, **named: Any) -> None:
        """Compiles, once, what such a call needs; executes nothing. A `jax.ShapeDtypeStruct` may stand for an array.

        Raises what the compiler raises; a later call tries again.
        """
        key = self._key(args, named)
        with self._lock:
            turn = self._turns.setdefault(key, threading.Lock())
        with turn:
            if key not in self._programs:
                self._programs[key] = self._jitted.lower(*args, **named).compile()

    def lower(self, *args: Any, **named: Any) -> jax.stages.Lowered:
        """As of the jitted function."""
        lowered: jax.stages.Lowered = self._jitted.lower(*args, **named)
        return lowered

    def _key(self, args: Any, named: dict[str, Any]) -> Hashable:
        static = tuple(sorted((name, value) for name, value in named.items() if name in self._static))
        leaves, tree = jax.tree.flatten((args, {n: v for n, v in named.items() if n not in self._static}))
        return static, tree, tuple(_kind(leaf) for leaf in leaves)


def _kind(leaf: Any) -> tuple[Any, ...] | None:
    """What programs tell arguments apart by. Within a function that is being traced no program can be called."""
    if isinstance(leaf, jax.core.Tracer):
        return None
    return (tuple(leaf.shape), leaf.dtype) if hasattr(leaf, "dtype") else (type(leaf),)

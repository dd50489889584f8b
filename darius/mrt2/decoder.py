"""The language model of Magenta RealTime 2 on a device: compiled once, for any batch of streams. Knows no audio.

A call's result is a new state; the old one stays valid (nothing is donated), so a stream can be kept, copied, or go on
twice from one place. Inside a call of several frames the state is updated in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from darius.devices import memory_errors
from darius.mrt2 import weights
from darius.mrt2.network import Network, State
from darius.mrt2.package import Architecture
from darius.mrt2.sampling import Draws, first_key


class FrameDecoder:
    """Plays and hears frames. Holds parameters and compiled functions: calls do not influence each other.

    Args:
      flat: float parameters by name (`weights.language_model`), converted on the host.
      device: None is JAX's default device.
      least_rows: smaller batches are filled up to so many rows; None for the platform's best.
      unroll_levels: see `Network`.
      short_frames: calls of at most so many frames share one program, which stops where they end: compiling one takes
        half a minute for a GPU.

    Raises:
      BadCheckpoint: the parameters do not fit the architecture.
    """

    def __init__(
        self,
        architecture: Architecture,
        flat: Mapping[str, Any],
        *,
        device: jax.Device | None = None,
        least_rows: int | None = None,
        unroll_levels: int = 1,
        short_frames: int = 10,
    ) -> None:
        self.short_frames = short_frames
        self.architecture = architecture
        self.device = device or jax.devices()[0]
        cpu = self.device.platform == "cpu"
        # A GPU multiplies one row more slowly than sixteen: 7.3 and 2.3 ms a frame of mrt2-small on an H100.
        self._rows = (1 if cpu else 16) if least_rows is None else least_rows
        network = Network(architecture, unroll=unroll_levels)
        weights.check(network, flat)
        self.packed = weights.pack(network, flat, device=self.device)
        self._begin = jax.jit(network.begin)
        self._play = jax.jit(network.play, static_argnames="sorts")
        self._hear = jax.jit(network.hear)
        self._pad = jax.jit(_pad_rows, static_argnames="rows")
        self._first = jax.jit(_first_rows, static_argnames="rows")
        self._made = jax.jit(_first_frames, static_argnames="frames")

    @property
    def dtype(self) -> str:
        """Of most arithmetic."""
        return str(np.dtype(self.architecture.model.compute_dtype))

    def begin(self, seed: ArrayLike) -> State:
        """Streams that have heard nothing, one for each seed, uint32 [B]."""
        return self.begin_with(first_key(seed))

    def begin_with(self, keys: jax.Array) -> State:
        """Streams that have heard nothing, one for each key, uint32 [B, 2]."""
        state: State = self._begin(self.packed, jax.device_put(keys, self.device))
        return state

    def play(
        self, state: State, conditioning: ArrayLike, draws: Draws, *, forced: ArrayLike | None = None
    ) -> tuple[jax.Array, State]:
        """The next frames of every stream; compiled for each number of frames and batch, all small ones as one.

        Args:
          conditioning: tokens int32 [B, frames, channels].
          draws: a value a stream.
          forced: codes int32 [B, frames, levels] that are not drawn; -1 where they are.

        Returns:
          codes int32 [B, frames, levels] on the device, possibly still being computed, and the new state.

        Raises:
          OutOfMemory: the batch does not fit on the device.
        """
        sorts = self.device.platform == "cpu"  # on a GPU sorting is many small kernels
        batch, frames = np.shape(conditioning)[:2]
        count = None
        if frames <= self.short_frames and forced is None:
            count = np.int32(frames)
            conditioning = np.pad(conditioning, ((0, 0), (0, self.short_frames - frames), (0, 0)), mode="edge")
        inputs = (state, conditioning, draws, forced)
        with memory_errors(f"playing {batch} streams"):
            if batch < self._rows:
                inputs = self._pad(inputs, rows=self._rows)
            played: tuple[jax.Array, State] = self._play(self.packed, *inputs, count, sorts=sorts)
            codes, after = self._first(played, rows=batch) if batch < self._rows else played
            return codes if count is None else self._made(codes, frames=frames), after

    def hear(self, state: State, codes: ArrayLike, conditioning: ArrayLike) -> State:
        """The state after known frames, int32 [B, frames, levels]; frames of -1 at the front are skipped."""
        with memory_errors("listening"):
            heard: State = self._hear(self.packed, state, codes, conditioning)
        return heard


def _pad_rows(tree: Any, *, rows: int) -> Any:
    """Every leaf with its last row repeated until there are so many."""

    def pad(leaf: jax.Array) -> jax.Array:
        return jnp.concatenate([leaf, jnp.repeat(leaf[-1:], rows - leaf.shape[0], axis=0)])

    return jax.tree.map(lambda leaf: pad(jnp.asarray(leaf)), tree)


def _first_rows(tree: Any, *, rows: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[:rows], tree)


def _first_frames(codes: jax.Array, *, frames: int) -> jax.Array:
    return codes[:, :frames]

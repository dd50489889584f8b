"""Clips on the device, and random windows of them: training never waits for the host.

The first rows are special: lone notes and hits, then the allowed recordings; generated clips follow, as they arrive,
and replace older ones once all rows are full.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from recipes.tiny.codec import data

LONE, RECORDED = 64, 64
SHARES = (0.10, 0.20)
"""How many of the windows are of lone sounds and of recordings."""


class Pool(NamedTuple):
    """int16 [rows, samples, 2], and how many rows are filled: int32."""

    sound: jax.Array
    filled: jax.Array


def start(rows: int, samples: int, one_shots: Path | None, seed: int = 0) -> Pool:
    """A pool with its special rows; without recordings those rows hold lone sounds too."""
    source = data.Special(data.load_recordings(one_shots) if one_shots else [], data.load_sounds(), seed)
    special = [source.lone_sounds(samples) for _ in range(LONE)]
    special += [source.recording(samples) for _ in range(RECORDED)]
    empty = np.zeros((rows, samples, 2), np.int16)
    empty[: len(special)] = np.stack(special)
    return Pool(jax.device_put(empty), jnp.int32(len(special)))


@partial(jax.jit, donate_argnums=0)
def _put(sound: jax.Array, block: jax.Array, at: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_slice(sound, block, (at, jnp.int32(0), jnp.int32(0)))


def add(pool: Pool, block: NDArray[np.int16], rng: np.random.Generator) -> Pool:
    """Puts clips [n, samples, 2] behind the others or, where there is no room, over some of them."""
    rows, first = len(pool.sound), LONE + RECORDED
    at = int(pool.filled)
    if at + len(block) > rows:
        at = int(rng.integers(first, rows - len(block) + 1))
    sound = _put(pool.sound, jnp.asarray(block), jnp.int32(at))
    return Pool(sound, jnp.maximum(pool.filled, jnp.int32(at + len(block))))


def windows(pool: Pool, key: jax.Array, rows: int, length: int) -> jax.Array:
    """float32 [rows, length, 2] of any clips from any sample, each at its own level (-20 to +3 dB of the source).

    Half of them are tilted towards the bass or the treble, and half go through a random equaliser.
    """
    kinds, places, starts, gains, tilts, bands = jax.random.split(key, 6)
    kind, place = jax.random.uniform(kinds, (rows,)), jax.random.uniform(places, (rows,))
    lone = (place * LONE).astype(jnp.int32)
    recorded = LONE + (place * RECORDED).astype(jnp.int32)
    first = LONE + RECORDED
    clip = first + (place * (pool.filled - first)).astype(jnp.int32)
    index = jnp.where(kind < SHARES[0], lone, jnp.where(kind < sum(SHARES), recorded, clip))
    start = jax.random.randint(starts, (rows,), 0, pool.sound.shape[1] - length + 1)

    def window(row: jax.Array, at: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(pool.sound, (row, at, jnp.int32(0)), (1, length, 2))[0]

    sound = jnp.stack([window(index[n], start[n]) for n in range(rows)]).astype(jnp.float32) / 32768
    tilt = jnp.maximum(jax.random.uniform(tilts, (rows, 1, 1), minval=-1.0, maxval=1.0), 0.0) * 1.4 - 0.7
    tilted = sound + tilt * jnp.pad(sound, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    sound = jnp.where(tilt > -0.7, tilted, sound)
    sound = equalised(sound, bands)
    gain = 10 ** (jax.random.uniform(gains, (rows, 1, 1), minval=-20.0, maxval=3.0) / 20)
    loudest = jnp.abs(sound).max((1, 2), keepdims=True)
    return sound * jnp.minimum(gain, 1 / jnp.maximum(loudest, 1e-3))


def equalised(sound: jax.Array, key: jax.Array) -> jax.Array:
    """Half of the rows [rows, n, 2] through smooth random gains (4 dB off as a rule), some of them with an end cut off.

    Real loops are duller, brighter and boomier than what the generator makes; some have nothing above a few kHz.
    """
    curves, choices, lows, highs = jax.random.split(key, 4)
    rows, length, _ = sound.shape
    octave = jnp.log2(jnp.arange(length // 2 + 1) * (48_000 / length) + 20) - jnp.log2(20.0)
    points = 4 * jax.random.normal(curves, (rows, 12))
    curve = jax.vmap(lambda values: jnp.interp(octave, jnp.arange(12.0), values))(points)
    choice = jax.random.uniform(choices, (rows, 3))
    high = jax.random.uniform(highs, (rows, 1), minval=5.5, maxval=10.0)  # 0.9 to 20 kHz
    low = jax.random.uniform(lows, (rows, 1), minval=1.0, maxval=4.0)  # 40 to 320 Hz
    curve -= jnp.where(choice[:, 1:2] < 0.3, 48 * jnp.maximum(octave - high, 0), 0)
    curve -= jnp.where(choice[:, 2:] < 0.15, 24 * jnp.maximum(low - octave, 0), 0)
    spectrum = jnp.fft.rfft(sound, axis=1) * (10 ** (jnp.maximum(curve, -90) / 20))[:, :, None]
    return jnp.where(choice[:, :1, None] < 0.5, jnp.fft.irfft(spectrum, length, axis=1), sound)

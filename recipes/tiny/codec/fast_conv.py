"""The codec's two convolutions in a form whose gradients are quick on a CPU. Same results as `darius.codec.conv`.

XLA's CPU back end is quick at plain convolutions and slow at strided, dilated and kernel-gradient ones. So strides
become blocks of channels (space to depth), transposed convolutions become plain ones with overlap-add, and the
gradient of a kernel is one matrix product per tap.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from darius.codec import network
from darius.codec.conv import transposed_past

Pair = tuple[int, int]


def _valid(x: jax.Array, kernel: jax.Array, padding: tuple[Pair, Pair] = ((0, 0), (0, 0))) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


@jax.custom_vjp
def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution with stride 1 and no padding."""
    return _valid(x, kernel)


def _plain_forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _valid(x, kernel), (x, kernel)


def _plain_backward(saved: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    kt, kf, inputs, outputs = kernel.shape
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)
    dx = _valid(g, flipped, ((kt - 1, kt - 1), (kf - 1, kf - 1)))
    _, time, freq, _ = g.shape
    flat = g.reshape(-1, outputs)
    taps = [x[:, i : i + time, j : j + freq].reshape(-1, inputs).T @ flat for i in range(kt) for j in range(kf)]
    return dx, jnp.stack(taps).reshape(kernel.shape)


plain.defvjp(_plain_forward, _plain_backward)


def conv2d(x: jax.Array, kernel: jax.Array, stride: Pair = (1, 1)) -> jax.Array:
    """As `darius.codec.conv.conv2d`; a stride other than 1 needs a kernel of twice its size."""
    kt, kf, inputs, outputs = kernel.shape
    st, sf = stride
    total = max(kf - sf, 0)
    if total:
        x = jnp.pad(x, ((0, 0), (0, 0), (total // 2, total - total // 2), (0, 0)))
    if stride == (1, 1):
        if (kt, kf) == (1, 1):
            return x @ kernel[0, 0]
        return plain(x, kernel)
    batch, time, freq, _ = x.shape
    x = x.reshape(batch, time // st, st, freq // sf, sf, inputs).transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(batch, time // st, freq // sf, st * sf * inputs)
    blocks = kernel.reshape(kt // st, st, kf // sf, sf, inputs, outputs).transpose(0, 2, 1, 3, 4, 5)
    return plain(x, blocks.reshape(kt // st, kf // sf, st * sf * inputs, outputs))


def conv2d_transpose(x: jax.Array, kernel: jax.Array, stride: Pair) -> jax.Array:
    """As `darius.codec.conv.conv2d_transpose`."""
    kt, kf, inputs, outputs = kernel.shape
    st, sf = stride
    flipped = kernel[::-1, ::-1]
    past = transposed_past(kt, st)
    if st == 1:
        taps = flipped[::-1].transpose(0, 2, 1, 3).reshape(kt, 1, inputs, kf * outputs)
        y = plain(x, taps)
        return _overlap_freq(y.reshape(*y.shape[:3], kf, outputs), sf)
    y = x @ flipped.transpose(2, 0, 1, 3).reshape(inputs, kt * kf * outputs)
    y = y.reshape(*y.shape[:3], kt // st, st, kf, outputs)
    steps = y.shape[1] - past
    parts = [y[:, past - i : past - i + steps, :, i] for i in range(kt // st)]
    y = sum(parts[1:], parts[0])
    y = y.transpose(0, 1, 3, 2, 4, 5).reshape(y.shape[0], steps * st, y.shape[2], kf, outputs)
    return _overlap_freq(y, sf)


def _overlap_freq(y: jax.Array, stride: int) -> jax.Array:
    """[batch, time, bins, kernel, channels] -> [batch, time, bins * stride, channels] by overlap-add, cropped."""
    batch, time, bins, size, channels = y.shape
    full = jnp.zeros((batch, time, bins * stride + max(size - stride, 0), channels), y.dtype)
    if stride == 1:
        for j in range(size):
            full = full.at[:, :, j : j + bins].add(y[:, :, :, j])
        lead = (size - 1) // 2
    else:
        low, high = y[:, :, :, :stride], y[:, :, :, stride:]
        flat = (batch, time, bins * stride, channels)
        full = jnp.pad(low.reshape(flat), ((0, 0), (0, 0), (0, stride), (0, 0)))
        full = full + jnp.pad(high.reshape(flat), ((0, 0), (0, 0), (stride, 0), (0, 0)))
        lead = stride // 2
    return full[:, :, lead : lead + bins * stride]


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """Within it, the codec's network is traced with these convolutions."""
    quick = {"conv2d": conv2d, "conv2d_transpose": conv2d_transpose}
    before = {name: getattr(network, name) for name in quick}
    try:
        for name, function in quick.items():
            setattr(network, name, function)
        yield
    finally:
        for name, function in before.items():
            setattr(network, name, function)

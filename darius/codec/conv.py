"""The two convolutions that the codec is made of, and the past rows they need. Knows no layer names, no configuration.

Arrays are [batch, time, frequency, channels], kernels [time, frequency, in, out]. Time is causal everywhere: the rows
before the first come from a `Past`, zeros at the start of a stream.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

Rows = dict[str, jax.Array]
"""Past input rows of every convolution that looks back: name -> [batch, branches, rows, frequency, channels]."""


class Past:
    """Hands each convolution the rows before its input, and collects the rows the next call will need.

    The same network code so decodes a whole sequence (no rows given: zeros) and a block of a stream.

    Args:
      batch: streams; an array may have a multiple of it as its first axis (branches folded into the batch).
      rows: the `next` of the call before, or None at the start.
    """

    def __init__(self, batch: int, rows: Rows | None = None) -> None:
        self.batch = batch
        self.rows = rows
        self.next: Rows = {}

    def extend(self, name: str, x: jax.Array, count: int) -> jax.Array:
        """`x` [batch * branches, time, ...] with the `count` rows before it put in front."""
        if count == 0:
            return x
        if self.rows is None:
            joined = jnp.pad(x, [(0, 0), (count, 0)] + [(0, 0)] * (x.ndim - 2))
        else:
            before = self.rows[name].reshape(x.shape[0], count, *x.shape[2:])
            joined = jnp.concatenate([before.astype(x.dtype), x], axis=1)
        self.next[name] = joined[:, -count:].reshape(self.batch, -1, count, *x.shape[2:])
        return joined


def conv2d(x: jax.Array, kernel: jax.Array, stride: tuple[int, int] = (1, 1)) -> jax.Array:
    """Convolution, valid in time, zero-padded in frequency so that bins / stride remain.

    Padding of an odd total is heavier at the high end.
    """
    total = max(kernel.shape[1] - stride[1], 0)
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=stride,
        padding=((0, 0), (total // 2, total - total // 2)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def transposed_past(kernel_time: int, stride_time: int) -> int:
    """Input rows before its own that a transposed convolution needs."""
    return (kernel_time - 1) // stride_time


def conv2d_transpose(x: jax.Array, kernel: jax.Array, stride: tuple[int, int]) -> jax.Array:
    """Transposed convolution: a convolution of the input with `stride - 1` zeros between its elements.

    Args:
      x: with `transposed_past` rows before the first in front; every later row gives `stride[0]` rows.
      kernel: not flipped (as JAX stores it; Keras stores it flipped in both axes, [time, frequency, out, in]).
    """
    time, freq = kernel.shape[:2]
    lead = time - 1 - transposed_past(time, stride[0]) * stride[0]
    total = freq + stride[1] - 2
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(1, 1),
        padding=((lead, stride[0] - 1), (total - total // 2, total // 2)),
        lhs_dilation=stride,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )

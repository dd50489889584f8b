"""Decoding and encoding a stream block by block, its past as a value. Knows no codes' meaning and no devices.

Any split into blocks gives what one call over the whole would give. Every leaf of a state has the batch as its first
axis, so states of several streams can be joined, parted and reordered.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from darius.codec import network, stft
from darius.codec.config import CodecConfig
from darius.codec.conv import Past, Rows
from darius.codec.network import Params


class CodecState(NamedTuple):
    """What a decoding stream still needs of its past.

    Attributes:
      rows: past input rows of each convolution.
      frames: windowed STFT frames that still sound, float32 [batch, overlap_frames, stft_frame, channels].
      position: codec frames taken in so far, int32 [batch].
    """

    rows: Rows
    frames: jax.Array
    position: jax.Array


def start_decoding(config: CodecConfig, params: Params, batch: int) -> CodecState:
    """The state before the first frame."""

    def rows(params: Params, embeddings: jax.Array) -> Rows:
        past = Past(batch)
        network.decode_spectrogram(config, params, embeddings, past)
        return past.next

    frames = jnp.zeros((batch, stft.overlap_frames(config), config.stft_frame, config.channels))
    return CodecState(_zeros(rows, params, (batch, 1, config.num_features)), frames, jnp.zeros(batch, jnp.int32))


def decode_block(
    config: CodecConfig, params: Params, state: CodecState, embeddings: jax.Array
) -> tuple[jax.Array, CodecState]:
    """The next k frames of every stream.

    Args:
      embeddings: [batch, k, num_features]; after the last frame, `lookahead_frames` of zeros bring out the rest.

    Returns:
      float32 [batch, k * frame_samples, channels], `lookahead_frames` late (zeros before the first), and the new state.
    """
    batch, count, _ = embeddings.shape
    past = Past(batch, state.rows)
    frames = stft.windowed_frames(config, network.decode_spectrogram(config, params, embeddings, past))
    # What the network makes before the first frame must not sound, nor ring on into the first.
    heard = state.position[:, None] + jnp.arange(count) >= config.lookahead_frames
    frames = jnp.where(jnp.repeat(heard, config.steps_per_frame, axis=1)[:, :, None, None], frames, 0)
    sounding = jnp.concatenate([state.frames, frames], axis=1)
    keep = sounding[:, sounding.shape[1] - stft.overlap_frames(config) :]
    return stft.waveform(config, sounding), CodecState(past.next, keep, state.position + count)


def start_encoding(config: CodecConfig, params: Params, batch: int) -> Rows:
    """The encoder's state before the first sample."""

    def rows(params: Params, spectrum: jax.Array) -> Rows:
        past = Past(batch)
        network.encode_spectrogram(config, params, spectrum, past)
        return past.next

    return _zeros(rows, params, (batch, config.steps_per_frame, config.bins, 2 * config.channels))


def encode_block(config: CodecConfig, params: Params, rows: Rows, waveform: jax.Array) -> tuple[jax.Array, Rows]:
    """The next embeddings of every stream.

    Args:
      waveform: float32 [batch, k * frame_samples + ahead_samples, channels]: the block, and what follows it
        (the next block begins with it again).

    Returns:
      embeddings [batch, k, num_features] and the new state.
    """
    batch = waveform.shape[0]
    steps = (waveform.shape[1] - ahead_samples(config)) // config.stft_step
    past = Past(batch, rows)
    spectrum = stft.spectrogram(config, waveform)[:, :steps]
    return network.encode_spectrogram(config, params, spectrum, past), past.next


def ahead_samples(config: CodecConfig) -> int:
    """Samples after a block that its last STFT frames reach into."""
    return config.stft_frame - config.stft_step


def history_frames(config: CodecConfig) -> int:
    """Frames of the past that the next block of a stream, encoded or decoded, can depend on.

    Priming a decoding stream with that many (or more) makes it go on as if it had heard all.
    """
    return max(decoder_history(config), _encoder_history(config))


def decoder_history(config: CodecConfig) -> int:
    """Frames of the past that the next decoded block depends on."""
    # Follows the first step that the block makes back through the layers, in rows before the block's own.
    row = -stft.overlap_frames(config) // config.fold[0] - (config.decoder_conv_size[0] - 1)
    for block in config.decoder_blocks()[::-1]:
        kernel, stride = block.resample_kernel[0], block.stride[0]
        row -= 2
        row = -((kernel - 1 - row) // stride)
    return -row


def _encoder_history(config: CodecConfig) -> int:
    rows, scale = config.encoder_conv_size[0] - 1, 1
    for block in config.encoder_blocks():
        rows += scale * (2 + block.resample_kernel[0] - block.stride[0])
        scale *= block.stride[0]
    return math.ceil(rows / scale)


def _zeros(rows: Callable[[Params, jax.Array], Rows], params: Params, shape: tuple[int, ...]) -> Rows:
    """Zeros in the shapes that `rows(params, array of that shape)` would return."""
    shapes = jax.eval_shape(rows, params, jnp.zeros(shape))
    return {name: jnp.asarray(np.zeros(leaf.shape, leaf.dtype)) for name, leaf in shapes.items()}

"""SpectroStream's conv stacks: waveform -> embeddings -> waveform. Differentiable; knows no codes and no devices.

Plain functions over the nested parameter tree of `darius.codec.weights`. They compute in the dtype of the parameters,
except the transforms, which are float32. The same functions serve training, batch decoding and streaming: see `Past`.

Source: SpectroStream as built in Magenta RealTime (pre-activated residual units, ELU, causal in time).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from darius.codec import stft
from darius.codec.config import Block, CodecConfig, Pair
from darius.codec.conv import Past, conv2d, conv2d_transpose, transposed_past

Params = dict[str, Any]
"""Nested dict of arrays: {"encoder": {...}, "decoder": {...}, "quantizer": {"embedding": ...}}."""


def encode(config: CodecConfig, params: Params, waveform: jax.Array, past: Past | None = None) -> jax.Array:
    """float32 [batch, n, channels], n a multiple of `frame_samples` -> embeddings [batch, frames, num_features]."""
    return encode_spectrogram(config, params, stft.spectrogram(config, waveform), past)


def encode_spectrogram(config: CodecConfig, params: Params, spectrum: jax.Array, past: Past | None = None) -> jax.Array:
    """[batch, steps, bins, 2 * channels] -> embeddings [batch, steps / steps_per_frame, num_features]."""
    tree = params["encoder"]
    past = past or Past(spectrum.shape[0])
    first = tree["base_conv_first"]["conv"]
    x = _split(config, stft.fold(config, spectrum).astype(first["kernel"].dtype))
    x = _conv(first, x, past, "base_conv_first")
    branched = config.channel_splits > 1
    for block in config.encoder_blocks():
        if branched and not block.split:
            x, branched = _join(config, x), False
        x = _down(block, tree[block.name], x, past)
    x = x.reshape(*x.shape[:2], -1)
    shortcut = tree["output_convs"]["shortcut_layer"]
    hidden = _dense(shortcut["conv1x1_b1"], jax.nn.elu(x))
    return _dense(tree["output_convs"]["conv1x1_last"], x) + _dense(shortcut["conv1x1_b2"], jax.nn.elu(hidden))


def decode(config: CodecConfig, params: Params, embeddings: jax.Array) -> jax.Array:
    """Embeddings [batch, frames, num_features] -> float32 [batch, frames * frame_samples, channels].

    All-zero frames follow the last as its lookahead, as in Magenta RealTime v1.
    """
    ahead = config.lookahead_frames
    spectrum = decode_spectrogram(config, params, jnp.pad(embeddings, ((0, 0), (0, ahead), (0, 0))))
    frames = stft.windowed_frames(config, spectrum[:, ahead * config.steps_per_frame :])
    return stft.waveform(config, jnp.pad(frames, ((0, 0), (stft.overlap_frames(config), 0), (0, 0), (0, 0))))


def decode_spectrogram(
    config: CodecConfig, params: Params, embeddings: jax.Array, past: Past | None = None
) -> jax.Array:
    """Embeddings [batch, frames, num_features] -> [batch, frames * steps_per_frame, bins, 2 * channels].

    Lags by the lookahead: its first `lookahead_frames * steps_per_frame` steps come before the first frame.
    """
    tree = params["decoder"]
    past = past or Past(embeddings.shape[0])
    x = embeddings.astype(tree["input_layer"]["conv1x1_first"]["conv"]["kernel"].dtype)
    shortcut = tree["input_layer"]["shortcut_layer"]
    hidden = jax.nn.elu(_dense(shortcut["conv1x1_b1"], x))
    x = _dense(tree["input_layer"]["conv1x1_first"], x) + _dense(shortcut["conv1x1_b2"], hidden)
    x = x.reshape(*x.shape[:2], config.bottleneck_bins, config.decoder_width)
    branched = False
    for block in config.decoder_blocks():
        if block.split and not branched:
            x, branched = _split(config, x), True
        x = _up(block, tree[block.name], x, past)
    if config.channel_splits > 1 and not branched:
        x = _split(config, x)
    x = _conv(tree["output_layer"]["base_conv_last"]["conv"], jax.nn.elu(x), past, "base_conv_last")
    return stft.unfold(config, _join(config, x))


def _down(block: Block, tree: Params, x: jax.Array, past: Past) -> jax.Array:
    """Residual unit of the encoder: 3x3 at full resolution, then the strided convolution."""
    last = "conv2d_{}x{}_a".format(*block.resample_kernel)
    body = _conv(tree["conv2d_3x3"]["conv"], jax.nn.elu(x), past, f"{block.name}/conv2d_3x3")
    body = _conv(tree[last]["conv"], jax.nn.elu(body), past, f"{block.name}/{last}", block.stride)
    shortcut = _mean_pool(x, block.stride)
    return body + (_dense(tree["shortcut_layer"]["conv1x1"], shortcut) if block.projected else shortcut)


def _up(block: Block, tree: Params, x: jax.Array, past: Past) -> jax.Array:
    """Residual unit of the decoder: the transposed convolution, then 3x3 at the new resolution."""
    body = jax.nn.elu(x)
    if block.stride == (1, 1):
        body = _conv(tree["conv2d_3x3_a"]["conv"], body, past, f"{block.name}/conv2d_3x3_a")
    else:
        name = "conv2dtranspose_{}x{}".format(*block.resample_kernel)
        body = past.extend(f"{block.name}/{name}", body, transposed_past(block.resample_kernel[0], block.stride[0]))
        body = conv2d_transpose(body, tree[name]["conv"]["kernel"], block.stride) + tree[name]["conv"]["bias"]
    body = _conv(tree["conv2d_3x3"]["conv"], jax.nn.elu(body), past, f"{block.name}/conv2d_3x3")
    shortcut = _dense(tree["shortcut_layer"]["conv1x1"], x) if block.projected else x
    return body + _repeat(shortcut, block.stride)


def _conv(leaf: Params, x: jax.Array, past: Past, name: str, stride: Pair = (1, 1)) -> jax.Array:
    kernel: jax.Array = leaf["kernel"]
    bias: jax.Array = leaf["bias"]
    return conv2d(past.extend(name, x, kernel.shape[0] - stride[0]), kernel, stride) + bias


def _dense(layer: Params, x: jax.Array) -> jax.Array:
    """A 1x1 convolution."""
    kernel: jax.Array = layer["conv"]["kernel"]
    bias: jax.Array = layer["conv"]["bias"]
    return x @ kernel[0, 0] + bias


def _mean_pool(x: jax.Array, stride: Pair) -> jax.Array:
    batch, time, freq, channels = x.shape
    return x.reshape(batch, time // stride[0], stride[0], freq // stride[1], stride[1], channels).mean((2, 4))


def _repeat(x: jax.Array, stride: Pair) -> jax.Array:
    batch, time, freq, channels = x.shape
    spread = jnp.broadcast_to(x[:, :, None, :, None], (batch, time, stride[0], freq, stride[1], channels))
    return spread.reshape(batch, time * stride[0], freq * stride[1], channels)


def _split(config: CodecConfig, x: jax.Array) -> jax.Array:
    """Deals channels to branches: [batch, t, f, splits * c] -> [batch * splits, t, f, c]."""
    batch, time, freq, channels = x.shape
    parts = x.reshape(batch, time, freq, config.channel_splits, channels // config.channel_splits)
    return jnp.moveaxis(parts, 3, 1).reshape(batch * config.channel_splits, time, freq, -1)


def _join(config: CodecConfig, x: jax.Array) -> jax.Array:
    """The inverse of `_split`."""
    total, time, freq, channels = x.shape
    parts = x.reshape(total // config.channel_splits, config.channel_splits, time, freq, channels)
    return jnp.moveaxis(parts, 1, 3).reshape(total // config.channel_splits, time, freq, -1)

"""Waveform <-> complex spectrogram as the codec sees it. Knows windows and bins, no network.

A spectrogram is [batch, steps, bins, 2 * channels]: real and imaginary part of each audio channel side by side, DC
kept, Nyquist dropped. The window is a periodic Hann window; its inverse is the one that reconstructs exactly
(Griffin and Lim 1984, equation 7).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from darius.codec.config import CodecConfig


def window(config: CodecConfig) -> NDArray[np.float32]:
    """The analysis window, float32 [stft_frame]."""
    phase = np.arange(config.stft_frame) / (config.stft_frame - config.stft_frame % 2)
    hann: NDArray[np.float64] = 0.5 - 0.5 * np.cos(2 * np.pi * phase)
    return hann.astype(np.float32)


def synthesis_window(config: CodecConfig) -> NDArray[np.float32]:
    """The window that turns overlapping analysis windows back into the signal, float32 [stft_frame]."""
    forward = window(config).astype(np.float64)
    energy = np.tile(np.square(forward).reshape(-1, config.stft_step).sum(0), config.stft_frame // config.stft_step)
    backward: NDArray[np.float64] = forward / energy
    return backward.astype(np.float32)


def spectrogram(config: CodecConfig, waveform: jax.Array) -> jax.Array:
    """float32 [batch, n, channels] -> [batch, n / stft_step, bins, 2 * channels]; n a multiple of `stft_step`.

    Step i sees samples i * stft_step .. + stft_frame; zeros follow the end.
    """
    batch, samples, channels = waveform.shape
    overlaps = config.stft_frame // config.stft_step
    steps = samples // config.stft_step
    padded = jnp.pad(waveform, ((0, 0), (0, config.stft_frame - config.stft_step), (0, 0)))
    hops = padded.reshape(batch, steps + overlaps - 1, config.stft_step, channels)
    frames = jnp.concatenate([hops[:, i : i + steps] for i in range(overlaps)], axis=2)
    spectrum = jnp.fft.rfft(frames * window(config)[:, None], config.stft_fft, axis=2)[:, :, :-1]
    parts = _power(jnp.stack([spectrum.real, spectrum.imag], axis=-1), config.compression)
    return parts.reshape(batch, steps, config.bins, 2 * channels)


def overlap_frames(config: CodecConfig) -> int:
    """Windowed frames before the current one that still sound in it."""
    return config.stft_frame // config.stft_step - 1


def waveform(config: CodecConfig, frames: jax.Array) -> jax.Array:
    """Overlap-add: [batch, overlap_frames + steps, stft_frame, channels] -> [batch, steps * stft_step, channels].

    The frames in front are those before the first step (zeros at a start); what sounds past the last step is cut.
    """
    batch, total, _, channels = frames.shape
    overlaps = overlap_frames(config) + 1
    steps = total - overlaps + 1
    hops = frames.reshape(batch, total, overlaps, config.stft_step, channels)
    parts = [hops[:, overlaps - 1 - i : overlaps - 1 - i + steps, i] for i in range(overlaps)]
    return sum(parts[1:], parts[0]).reshape(batch, steps * config.stft_step, channels)


def windowed_frames(config: CodecConfig, spectrum: jax.Array) -> jax.Array:
    """Spectrogram [batch, steps, bins, 2 * channels] -> windowed float32 [batch, steps, stft_frame, channels]."""
    batch, steps, bins, _ = spectrum.shape
    parts = spectrum.astype(jnp.float32).reshape(batch, steps, bins, config.channels, 2)
    parts = jnp.pad(_power(parts, 1 / config.compression), ((0, 0), (0, 0), (0, 1), (0, 0), (0, 0)))
    frames = jnp.fft.irfft(jax.lax.complex(parts[..., 0], parts[..., 1]), config.stft_fft, axis=2)
    return frames[:, :, : config.stft_frame] * synthesis_window(config)[:, None]


def fold(config: CodecConfig, spectrum: jax.Array) -> jax.Array:
    """Neighbouring steps and bins to channels: [batch, steps, bins, c] -> [batch, steps / a, bins / b, a * b * c]."""
    (a, b), (batch, steps, bins, channels) = config.fold, spectrum.shape
    parts = spectrum.reshape(batch, steps // a, a, bins // b, b * channels).swapaxes(2, 3)
    return parts.reshape(batch, steps // a, bins // b, a * b * channels)


def unfold(config: CodecConfig, folded: jax.Array) -> jax.Array:
    """The inverse of `fold`."""
    (a, b), (batch, steps, bins, channels) = config.fold, folded.shape
    parts = folded.reshape(batch, steps, bins, a, channels // a).swapaxes(2, 3)
    return parts.reshape(batch, steps * a, bins * b, channels // (a * b))


def _power(parts: jax.Array, exponent: float) -> jax.Array:
    """Complex numbers [..., 2] with their magnitudes raised to a power, their phases kept."""
    if exponent == 1:
        return parts
    energy = jnp.sum(jnp.square(parts), axis=-1, keepdims=True)
    if exponent == 3:
        return parts * energy
    return parts * jnp.power(energy + 1e-12, (exponent - 1) / 2)

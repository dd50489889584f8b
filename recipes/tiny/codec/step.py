"""One training step of the codec as a function of values: state in, state and measures out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from darius.codec import network, stft
from darius.codec.config import CodecConfig
from recipes.tiny.codec import losses, quantiser

Params = dict[str, Any]
COMMITMENT = 0.5


class State(NamedTuple):
    """All that a run needs to go on: parameters with codebooks, the optimiser's and the codebooks' averages."""

    params: Params
    optimiser: Any
    averages: quantiser.Averages


class Batch(NamedTuple):
    waveform: jax.Array
    key: jax.Array
    rate: jax.Array


ADAM = optax.chain(optax.clip_by_global_norm(2.0), optax.scale_by_adam(b1=0.9, b2=0.98, eps=1e-8))


def start(params: Params, frames_per_step: int) -> State:
    """A fresh optimiser for these parameters."""
    codebooks = params["quantizer"]["embedding"]
    trained = {name: params[name] for name in ("encoder", "decoder")}
    return State(params, ADAM.init(trained), quantiser.start_averages(codebooks, frames_per_step))


def make(config: CodecConfig, *, quantise: bool, encoder: bool) -> Callable[[State, Batch], tuple[State, dict]]:
    """The compiled step. Without `quantise` embeddings pass as they are; without `encoder` tokens stay as they are."""
    return jax.jit(partial(_step, config, quantise, encoder), donate_argnums=0)


def _step(config: CodecConfig, quantise: bool, encoder: bool, state: State, batch: Batch) -> tuple[State, dict]:
    deal, revive, hear = jax.random.split(batch.key, 3)
    codebooks = state.params["quantizer"]["embedding"]
    spectrum = stft.spectrogram(config, batch.waveform)
    rows = batch.waveform.shape[0]
    depths = quantiser.draw_depths(deal, rows, config.num_levels)
    if not encoder:
        depths = jnp.full((rows,), config.num_levels)

    def loss(trained: Params) -> tuple[jax.Array, tuple[dict, quantiser.Pass | None]]:
        embeddings = network.encode_spectrogram(config, trained, spectrum)
        if not encoder:
            embeddings = jax.lax.stop_gradient(embeddings)
        done = quantiser.train_pass(codebooks, embeddings, depths) if quantise else None
        seen = done.quantised if done is not None else embeddings
        made = decode_spectrum(config, trained, seen)
        parts = losses.spectral(config, made, spectrum) | losses.mel(
            config, stft_waveform(config, made), batch.waveform, hear
        )
        commitment = done.commitment if done is not None and encoder else jnp.float32(0)
        aim = losses.total(parts) + COMMITMENT * commitment
        return aim, (parts | {"commitment": commitment, "loss": aim}, done)

    trained = {name: state.params[name] for name in ("encoder", "decoder")}
    gradients, (parts, done) = jax.grad(loss, has_aux=True)(trained)
    updates, optimiser = ADAM.update(gradients, state.optimiser)
    moved = jax.tree.map(lambda p, u: p - batch.rate * u, trained, updates)
    if not encoder:
        moved["encoder"] = trained["encoder"]
    averages = state.averages
    if done is not None and encoder:
        codebooks, averages = quantiser.update(averages, done, revive)
    params = moved | {"quantizer": {"embedding": codebooks}}
    return State(params, optimiser, averages), parts


def decode_spectrum(config: CodecConfig, params: Params, embeddings: jax.Array) -> jax.Array:
    """Embeddings [batch, frames, features] -> spectrum of the same time span (zeros as the last lookahead)."""
    ahead = config.lookahead_frames
    padded = jnp.pad(embeddings, ((0, 0), (0, ahead), (0, 0)))
    return network.decode_spectrogram(config, params, padded)[:, ahead * config.steps_per_frame :]


def stft_waveform(config: CodecConfig, spectrum: jax.Array) -> jax.Array:
    """Spectrum -> waveform float32 [batch, n, 2]."""
    frames = stft.windowed_frames(config, spectrum)
    return stft.waveform(config, jnp.pad(frames, ((0, 0), (stft.overlap_frames(config), 0), (0, 0), (0, 0))))

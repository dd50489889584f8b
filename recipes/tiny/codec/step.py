"""One training step of the codec as a function of values: state in, state and measures out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from darius.codec import network, stft
from darius.codec.config import CodecConfig
from recipes.tiny.codec import losses, quantiser

Params = dict[str, Any]
Parts = dict[str, jax.Array]
"""Losses by name."""
COMMITMENT = 0.5
ALL_LEVELS = 0.9
"""Share of the rows of a refinement that hear all levels, as the decoder does when music is made."""


class State(NamedTuple):
    """All that a run needs to go on: parameters with codebooks, the optimiser's and the codebooks' averages."""

    params: Params
    optimiser: Any
    averages: quantiser.Averages


class Batch(NamedTuple):
    """float32 [rows, n, 2], a key, the learning rate."""

    waveform: ArrayLike
    key: jax.Array
    rate: jax.Array


ADAM = optax.chain(optax.clip_by_global_norm(2.0), optax.scale_by_adam(b1=0.9, b2=0.99, eps=1e-8))
Step = Callable[[State, Batch], tuple[State, Parts]]


def start(params: Params, frames_per_step: int, trained: tuple[str, ...] = ("encoder", "decoder")) -> State:
    """A fresh optimiser for these parameters, or for some of them."""
    codebooks = params["quantizer"]["embedding"]
    optimiser = ADAM.init({name: params[name] for name in trained})
    return State(params, optimiser, quantiser.start_averages(codebooks, frames_per_step))


def advance(config: CodecConfig, quantise: bool, state: State, batch: Batch) -> tuple[State, Parts]:
    """A step of the whole codec. Without `quantise` embeddings pass as they are."""
    deal, revive, hear = jax.random.split(batch.key, 3)
    codebooks = state.params["quantizer"]["embedding"]
    waveform = jnp.asarray(batch.waveform)
    spectrum = stft.spectrogram(config, waveform)
    depths = quantiser.draw_depths(deal, len(waveform), config.num_levels)

    def loss(trained: Params) -> tuple[jax.Array, tuple[Parts, quantiser.Pass | None]]:
        embeddings = network.encode_spectrogram(config, trained, spectrum)
        done = quantiser.train_pass(codebooks, embeddings, depths) if quantise else None
        parts = distances(config, trained, done.quantised if done else embeddings, waveform, hear)
        commitment = done.commitment if done else jnp.float32(0)
        aim = losses.total(parts) + COMMITMENT * commitment
        return aim, (parts | {"commitment": commitment, "loss": aim}, done)

    trained, optimiser, (parts, done), norm = _move(loss, state, batch.rate, ("encoder", "decoder"))
    parts = parts | {"norm": norm}
    averages = state.averages
    if done is not None:
        moved = quantiser.update(averages, done, revive)
        codebooks, averages = _where(jnp.isfinite(norm), moved, (codebooks, averages))
    return State(trained | {"quantizer": {"embedding": codebooks}}, optimiser, averages), parts


def refine(config: CodecConfig, names: tuple[str, ...], state: State, batch: Batch) -> tuple[State, Parts]:
    """A step of some parts ("encoder", "decoder") with the codebooks as they are: codes go on meaning what they mean,
    to a language model too."""
    deal, hear = jax.random.split(batch.key)
    waveform = jnp.asarray(batch.waveform)
    spectrum = stft.spectrogram(config, waveform)
    depths = quantiser.draw_depths(deal, len(waveform), config.num_levels, ALL_LEVELS)

    def loss(trained: Params) -> tuple[jax.Array, Parts]:
        params = state.params | trained
        embeddings = network.encode_spectrogram(config, params, spectrum)
        done = quantiser.train_pass(params["quantizer"]["embedding"], embeddings, depths)
        parts = distances(config, params, done.quantised, waveform, hear)
        aim = losses.total(parts, losses.REFINING) + COMMITMENT * done.commitment
        return aim, parts | {"commitment": done.commitment, "loss": aim}

    trained, optimiser, parts, norm = _move(loss, state, batch.rate, names)
    return state._replace(params=state.params | trained, optimiser=optimiser), parts | {"norm": norm}


def _move(
    loss: Callable[[Params], Any], state: State, rate: jax.Array, names: tuple[str, ...]
) -> tuple[Params, Any, Any, jax.Array]:
    """One step of Adam on some parts of the parameters: they, the optimiser, what `loss` says, the gradient's norm."""
    trained = {name: state.params[name] for name in names}
    gradients, said = jax.grad(loss, has_aux=True)(trained)
    norm = optax.global_norm(gradients)
    updates, optimiser = ADAM.update(gradients, state.optimiser)
    moved = jax.tree.map(lambda p, u: p - rate * u, trained, updates)
    # One step that is not a number would end a run: it is left out.
    moved, optimiser = _where(jnp.isfinite(norm), (moved, optimiser), (trained, state.optimiser))
    return moved, optimiser, said, norm


def _where(sound: jax.Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda new, old: jnp.where(sound, new, old), new, old)


def distances(
    config: CodecConfig, params: Params, embeddings: jax.Array, waveform: jax.Array, key: jax.Array
) -> dict[str, jax.Array]:
    """Decodes embeddings and measures every loss against the waveform of the same time span."""
    made = decode_spectrum(config, params, embeddings)
    parts = losses.spectral(config, made, stft.spectrogram(config, waveform))
    return parts | losses.mel(config, stft_waveform(config, made), waveform, key)


def decode_spectrum(config: CodecConfig, params: Params, embeddings: jax.Array) -> jax.Array:
    """Embeddings [batch, frames, features] -> spectrum of the same time span (zeros as the last lookahead)."""
    ahead = config.lookahead_frames
    padded = jnp.pad(embeddings, ((0, 0), (0, ahead), (0, 0)))
    return network.decode_spectrogram(config, params, padded)[:, ahead * config.steps_per_frame :]


def stft_waveform(config: CodecConfig, spectrum: jax.Array) -> jax.Array:
    """Spectrum -> waveform float32 [batch, n, 2]."""
    frames = stft.windowed_frames(config, spectrum)
    return stft.waveform(config, jnp.pad(frames, ((0, 0), (stft.overlap_frames(config), 0), (0, 0), (0, 0))))

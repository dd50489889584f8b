"""What the codec is trained to keep: the compressed spectrum, with phase at low frequencies, and log-mel spectra.

Everything is differentiable JAX; waveforms are [batch, n, 2], spectra as `darius.codec.stft` makes them.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from darius.audio.mel import mel_filters
from darius.codec.config import CodecConfig

MELS = ((2048, 512, 128), (512, 128, 40), (8192, 2048, 320))
"""(window, hop, mels) of the log-mel losses; the first is what `evaluate` measures, the last one tells semitones."""

WINDOWS = ((4096, 1024), (1024, 256), (256, 64))
"""(window, hop) of the distances of compressed magnitudes; of the first also with phase, at low frequencies."""

FLOOR_DB = -80.0
WEIGHTS = {
    "complex": 0.5,
    "magnitude": 1.0,
    "spectra": 1.0,
    "phase_4096": 0.5,
    "mel_2048": 0.12,
    "mel_512": 0.04,
    "mel_8192": 0.03,
    "level": 0.05,
    "energy": 0.05,
    "loudness": 0.15,
    "peak": 0.02,
}

REFINING = WEIGHTS | {
    "complex": 0.0,
    "magnitude": 0.2,
    "phase_4096": 0.0,
    "mel_2048": 1.0,
    "mel_512": 0.08,
    "mel_8192": 0.01,
    "level": 0.03,
    "energy": 0.1,
    "loudness": 1.0,
}
"""Weights where only the decoder learns: what its codes do not tell (phase) is not asked for any longer."""


def spectral(config: CodecConfig, made: jax.Array, wanted: jax.Array) -> dict[str, jax.Array]:
    """Distances of two compressed spectra [batch, steps, bins, 4]: with phase (low bins only) and of magnitudes.

    Where phase cannot be told, the distance with phase is least at silence: magnitudes must weigh more than a quarter
    as much at every bin, or low notes fade.
    """
    hertz = np.arange(config.bins) * config.sample_rate / config.stft_fft
    of_size = 1 / (hertz + 300)
    of_size = of_size / of_size.mean()
    with_phase = of_size / (1 + np.square(hertz / 1500))
    pair = (*made.shape[:3], config.channels, 2)
    made, wanted = made.reshape(pair), wanted.reshape(pair)
    apart = jnp.abs(made - wanted).mean((0, 1, 3, 4))
    size = [jnp.sqrt(jnp.square(parts).sum(-1) + 1e-5) for parts in (made, wanted)]
    return {
        "complex": jnp.mean(apart * with_phase.astype(np.float32)),
        "magnitude": jnp.mean(jnp.abs(size[0] - size[1]).mean((0, 1, 3)) * of_size.astype(np.float32)),
    }


def mel(config: CodecConfig, made: jax.Array, wanted: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
    """Mean absolute distances in dB: log-mel spectra, level and peaks of 80 ms blocks, energy and loudness of rows.

    Each row is heard through a random one of: both, left, right, difference.
    """
    mixes = jnp.array([[0.5, 0.5], [1, 0], [0, 1], [0.5, -0.5]])
    chosen = mixes[jax.random.choice(key, 4, (made.shape[0],), p=jnp.array([0.6, 0.15, 0.15, 0.1]))]
    heard = [jnp.einsum("btc,bc->bt", waves, chosen) for waves in (made, wanted)]
    found = {}
    first, second = (_levels(mono, 3840) for mono in heard)
    found["level"] = jnp.mean(jnp.abs(first - second))
    # Energy that is asked for may come as a few spikes of thrice the height: they would clip.
    first, second = (_peaks(mono, 3840) for mono in heard)
    found["peak"] = jnp.mean(jnp.maximum(first - second - 1, 0))
    # Absolute distances settle at medians, which for noise are below the mean power: energy has to be asked for.
    bands = [_bands(mono, config.sample_rate) for mono in heard]
    whole = [_levels(mono, mono.shape[1]) for mono in heard]
    found["energy"] = jnp.mean(jnp.abs(bands[0] - bands[1])) + jnp.mean(jnp.abs(whole[0] - whole[1]))
    loud = [_loudness(mono, config.sample_rate) for mono in heard]
    found["loudness"] = jnp.mean(jnp.abs(loud[0] - loud[1]))
    found["spectra"] = jnp.float32(0)
    for window, hop in WINDOWS:
        first, second = (_spectra(mono, window, hop) for mono in heard)
        sizes = [jnp.power(jnp.square(x.real) + jnp.square(x.imag) + 1e-8, 1 / 6) for x in (first, second)]
        found["spectra"] += jnp.mean(jnp.abs(sizes[0] - sizes[1])) / len(WINDOWS)
        if window == 4096:
            low = 1 + int(1200 * window / config.sample_rate)
            apart = (first * sizes[0] ** -2 - second * sizes[1] ** -2)[..., :low]
            found["phase_4096"] = jnp.mean(jnp.abs(apart.real) + jnp.abs(apart.imag))
    for window, hop, count in MELS:
        first, second = (_log_mel(mono, config.sample_rate, window, hop, count) for mono in heard)
        found[f"mel_{window}"] = jnp.mean(jnp.abs(first - second))
    return found


def total(parts: dict[str, jax.Array], weights: dict[str, float] = WEIGHTS) -> jax.Array:
    return sum((weights[name] * value for name, value in parts.items()), jnp.float32(0))


def _levels(mono: jax.Array, block: int) -> jax.Array:
    """[batch, n] -> dB [batch, blocks]."""
    blocks = mono[:, : mono.shape[1] // block * block].reshape(mono.shape[0], -1, block)
    return _decibel(jnp.mean(jnp.square(blocks), -1) + 10 ** (FLOOR_DB / 10))


def _peaks(mono: jax.Array, block: int) -> jax.Array:
    """[batch, n] -> dB of the largest sample [batch, blocks]; what lies below -40 dB is all the same."""
    blocks = mono[:, : mono.shape[1] // block * block].reshape(mono.shape[0], -1, block)
    return 2 * _decibel(jnp.abs(blocks).max(-1) + 1e-2)


def _bands(mono: jax.Array, rate: int) -> jax.Array:
    """Power of a whole row in 32 mel bands: [batch, n] -> dB [batch, 32]."""
    power = jnp.mean(_mel_power(mono, rate, 2048, 512, 32), axis=1)
    return _decibel(power + 10 ** (FLOOR_DB / 10))


def _loudness(mono: jax.Array, rate: int) -> jax.Array:
    """K-weighted level of a whole row (ITU-R BS.1770, without its gate): [batch, n] -> dB [batch]."""
    spectrum = _spectra(mono, 2048, 512)
    power = jnp.mean(jnp.square(spectrum.real) + jnp.square(spectrum.imag), axis=1)
    return _decibel(power @ _k_weights(rate, 2048) + 10 ** (FLOOR_DB / 10))


def _k_weights(rate: int, window: int) -> np.ndarray:
    """Squared response of the two filters of BS.1770 (given there for 48 kHz) at the bins of a window."""
    z = np.exp(-2j * np.pi * np.fft.rfftfreq(window))
    assert rate == 48_000
    shelf = (1.53512485958697 - 2.69169618940638 * z + 1.19839281085285 * z**2) / (
        1 - 1.69065929318241 * z + 0.73248077421585 * z**2
    )
    high = (1 - 2 * z + z**2) / (1 - 1.99004745483398 * z + 0.99007225036621 * z**2)
    return np.square(np.abs(shelf * high)).astype(np.float32)


def _log_mel(mono: jax.Array, rate: int, window: int, hop: int, mels: int) -> jax.Array:
    """[batch, n] -> dB [batch, windows, mels]."""
    return _decibel(jnp.maximum(_mel_power(mono, rate, window, hop, mels), 10 ** (FLOOR_DB / 10)))


def _mel_power(mono: jax.Array, rate: int, window: int, hop: int, mels: int) -> jax.Array:
    """[batch, n] -> power [batch, windows, mels] of the windows that lie inside."""
    spectrum = _spectra(mono, window, hop)
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    return power @ mel_filters(rate, window, mels, 20.0, rate / 2)


def _spectra(mono: jax.Array, window: int, hop: int) -> jax.Array:
    """[batch, n] -> complex [batch, windows, bins] of the windows that lie inside; a sine of amplitude 1 is about 1."""
    overlaps = window // hop
    hops = mono[:, : mono.shape[1] // hop * hop].reshape(mono.shape[0], -1, hop)
    steps = hops.shape[1] - overlaps + 1
    frames = jnp.concatenate([hops[:, i : i + steps] for i in range(overlaps)], axis=2)
    shape = np.hanning(window + 1)[:-1]
    return jnp.fft.rfft(frames * (shape * 2 / shape.sum()).astype(np.float32))


def _decibel(power: jax.Array) -> jax.Array:
    return 10 * jnp.log10(power)

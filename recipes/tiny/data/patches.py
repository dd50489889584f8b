"""Pitched sounds: random synthesiser patches by family, sampled instruments, and how either plays a note.

Knows one note at a time; knows no harmony and no rhythm.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from recipes.tiny.data.sounds import Sounds
from recipes.tiny.data.synth import RATE, Signal, decay, oscillator, seconds_of, sine_sweep, swept_lowpass


@dataclasses.dataclass(frozen=True, kw_only=True)
class Patch:
    """One synthesiser setting, or one sampled instrument. Times in seconds, cutoffs in hertz, detune in semitones."""

    family: str
    sampled: bool = False
    wave: str = "saw"
    voices: int = 1
    detune: float = 0.0
    cutoff: float = 20_000.0
    cutoff_peak: float = 0.0
    sweep: float = 0.2
    resonance: float = 0.8
    attack: float = 0.003
    decay: float = 0.3
    sustain: float = 0.5
    release: float = 0.05
    drive: float = 0.0
    sub: float = 0.0
    fm_ratio: float = 0.0
    fm_index: float = 0.0
    fm_decay: float = 0.3
    drop: float = 0.0  # octaves above the note at its start, gone in 30 ms
    width: float = 0.0


def make_patch(family: str, rng: np.random.Generator, sounds: Sounds) -> Patch:
    """A random patch of a family, or the sampled instrument of that name."""
    if family in sounds.notes:
        return Patch(family=family, sampled=True)
    return _random_patch(family, rng)


def _random_patch(family: str, rng: np.random.Generator) -> Patch:
    """Random parameters within the taste of a family of synthesiser sounds."""
    u, patch = rng.uniform, functools.partial(Patch, family=family)

    def one(*choices: Any) -> Any:
        return choices[int(rng.integers(len(choices)))]

    match family:
        case "acid":
            return patch(
                wave=one("saw", "square"),
                cutoff=u(150, 400),
                cutoff_peak=u(1200, 4500),
                sweep=u(0.05, 0.16),
                resonance=u(4, 11),
                decay=0.2,
                sustain=0.6,
                drive=u(0.5, 2.5),
            )
        case "sub":
            return patch(
                wave=one("sine", "triangle", "soft"),
                cutoff=u(200, 700),
                decay=0.4,
                sustain=0.7,
                drive=u(0, 1.2),
                release=0.06,
            )
        case "808":
            return patch(
                wave="sine",
                fm_ratio=1.0,
                fm_index=u(0.0, 0.3),
                decay=u(0.5, 1.2),
                sustain=0.1,
                drive=u(0.3, 2),
                drop=u(0.3, 1.2),
                release=0.08,
            )
        case "bass":
            return patch(
                wave=one("saw", "square", "pulse"),
                cutoff=u(150, 450),
                cutoff_peak=u(700, 2500),
                sweep=u(0.06, 0.2),
                resonance=u(0.8, 2.5),
                decay=0.25,
                sub=u(0.2, 0.7),
                voices=one(1, 2),
                detune=0.16,
            )
        case "reese":
            return patch(
                voices=3,
                detune=u(0.3, 0.8),
                cutoff=u(300, 900),
                resonance=1.2,
                sustain=1.0,
                sub=0.4,
                drive=1.0,
                width=0.4,
            )
        case "fmbass":
            return patch(fm_ratio=one(1.0, 2.0, 0.5), fm_index=u(1, 4), fm_decay=u(0.06, 0.3), sustain=0.4)
        case "pluck":
            return patch(
                wave=one("saw", "pulse", "square"),
                voices=2,
                detune=0.2,
                cutoff=u(300, 700),
                cutoff_peak=u(2500, 8000),
                sweep=u(0.04, 0.15),
                resonance=u(0.8, 3),
                decay=u(0.12, 0.35),
                sustain=0.0,
                release=0.1,
                width=0.5,
            )
        case "super":
            return patch(
                voices=5, detune=u(0.24, 0.56), cutoff=u(2500, 9000), attack=0.01, sustain=0.9, release=0.15, width=1.0
            )
        case "pad":
            return patch(
                wave=one("saw", "soft", "voice", "pulse"),
                voices=3,
                detune=u(0.16, 0.4),
                cutoff=u(500, 2500),
                attack=u(0.1, 0.5),
                sustain=1.0,
                decay=0.5,
                release=u(0.3, 0.9),
                width=1.0,
            )
        case "rhodes":
            return patch(
                fm_ratio=one(1.0, 14.0, 1.0),
                fm_index=u(0.5, 1.6),
                fm_decay=u(0.15, 0.5),
                decay=u(0.7, 1.6),
                sustain=0.15,
                release=0.15,
                width=0.4,
            )
        case "organ":
            return patch(wave="organ", sustain=1.0, release=0.04, width=0.6, voices=2, detune=0.1)
        case "stab":
            return patch(
                wave=one("saw", "square", "organ"),
                voices=3,
                detune=0.24,
                cutoff=u(500, 1200),
                cutoff_peak=u(2500, 7000),
                sweep=0.08,
                resonance=1.5,
                decay=0.2,
                sustain=0.1,
                release=0.1,
                width=0.8,
            )
        case "bell":
            return patch(
                fm_ratio=one(3.5, 2.76, 7.0, 4.0),
                fm_index=u(1, 3),
                fm_decay=u(0.2, 0.6),
                decay=u(0.5, 1.2),
                sustain=0.0,
                release=0.4,
                width=0.5,
            )
        case "chip":
            return patch(wave=one("square", "pulse"), decay=0.2, sustain=0.5, release=0.02)
        case "lead":
            return patch(
                wave=one("saw", "square", "reed"),
                voices=2,
                detune=0.16,
                cutoff=u(1200, 5000),
                resonance=1.2,
                sustain=0.8,
                release=0.12,
                width=0.4,
            )
    raise ValueError(f"no patch family or sampled instrument named {family}")


def play(patch: Patch, sounds: Sounds, midi: int, seconds: float, velocity: float) -> Signal:
    """One note, float32 [n, 2], as long as `seconds` and its release."""
    length = int((seconds + patch.release) * RATE)
    if patch.sampled:
        return _play_sampled(patch, sounds, midi, length, velocity)
    hertz = 440 * 2 ** ((midi - 69) / 12)
    left = _voice(patch, midi, hertz, length, velocity, side=0)
    sides = [left, _voice(patch, midi, hertz, length, velocity, side=1) if patch.width else left]
    out = np.stack(sides, axis=1)
    if patch.cutoff < 15_000:
        rest, peak = patch.cutoff * (0.7 + 0.5 * velocity), patch.cutoff_peak * (0.6 + 0.6 * velocity)
        out = swept_lowpass(out, rest, peak, patch.sweep, patch.resonance)
    if patch.drive:
        out = np.tanh(out * (1 + patch.drive)) * 0.8
    return (out * _envelope(patch, length)[:, None] * velocity).astype(np.float32)


def _play_sampled(patch: Patch, sounds: Sounds, midi: int, length: int, velocity: float) -> Signal:
    recording = sounds.nearest_note(patch.family, midi)[:length].copy()
    fade = min(len(recording), int(patch.release * RATE))
    recording[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    pan = float(np.clip((midi - 58) / 60, -0.35, 0.35))  # low notes left, as on a keyboard
    return (recording * velocity)[:, None] * np.array([1 - pan, 1 + pan], np.float32)


def _envelope(patch: Patch, length: int) -> Signal:
    level = patch.sustain + (1 - patch.sustain) * decay(length, patch.decay)
    attack, release = max(int(patch.attack * RATE), 16), int(patch.release * RATE)
    level[:attack] *= np.linspace(0, 1, attack, dtype=np.float32)[:length]
    level[-release:] *= np.linspace(1, 0, release, dtype=np.float32)[-length:] ** 2
    return level


def _voice(patch: Patch, midi: int, hertz: float, length: int, velocity: float, *, side: int) -> Signal:
    """The oscillators of one channel; the right one is detuned a little further for width."""
    if patch.fm_ratio:
        out = _fm(patch, hertz, length, velocity, side)
    else:
        out = _unison(patch, hertz, length, side)
    if patch.sub:
        out = out + patch.sub * oscillator("sine", hertz / (2 if midi > 40 else 1), length)
    return out


def _fm(patch: Patch, hertz: float, length: int, velocity: float, side: int) -> Signal:
    index = patch.fm_index * (0.5 + 0.5 * velocity) * decay(length, patch.fm_decay)
    modulator = index * np.sin(2 * np.pi * hertz * patch.fm_ratio * (1 + 0.001 * side) * seconds_of(length))
    if patch.drop:
        return np.asarray(sine_sweep(hertz * 2 ** (patch.drop * decay(length, 0.03))) + 0.3 * modulator, np.float32)
    return np.asarray(np.sin(2 * np.pi * hertz * seconds_of(length) + modulator), np.float32)


def _unison(patch: Patch, hertz: float, length: int, side: int) -> Signal:
    total = np.zeros(length, np.float32)
    for voice in range(patch.voices):
        spread = (voice + 0.5) / patch.voices - 0.5
        semitones = patch.detune * spread * (1 + 0.35 * side * patch.width)
        phase = (0.37 * voice + 0.21 * side) % 1
        total += oscillator(patch.wave, hertz * 2 ** (semitones / 12), length, phase)
    return total / np.float32(np.sqrt(patch.voices))

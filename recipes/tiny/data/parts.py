"""The four parts of a loop: which drum hits and notes sound when, added onto a circle of samples.

Knows one genre and one grid at a time; knows no effects, levels or arrangement.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from recipes.tiny.data.drums import SOFT, hit
from recipes.tiny.data.genres import SCALES, STEP_CHANCE, Genre
from recipes.tiny.data.patches import Patch, make_patch, play
from recipes.tiny.data.sounds import Sounds
from recipes.tiny.data.synth import RATE, Signal, add_circular, band_filter, repitch
from recipes.tiny.data.timing import STEPS, Grid

_DRUM_LEVEL = {
    "kick": 1.0,
    "snare": 0.75,
    "clap": 0.7,
    "hat": 0.19,
    "open_hat": 0.19,
    "ride": 0.13,
    "shaker": 0.2,
    "rim": 0.4,
    "conga": 0.45,
    "tom": 0.5,
}
_THIN = {"hat", "open_hat", "ride", "clap"}  # recorded ones are brighter than their level suggests
_CENTRED = {"kick", "snare"}
_FILLS = {"snare", "tom", "hat"}
_GHOSTS = {"kick", "snare", "rim", "conga"}


@dataclasses.dataclass(frozen=True)
class DrumPart:
    """All drums and the kick alone, float32 [n, 2]; where kicks start, in samples; which roles play."""

    samples: Signal
    kick: Signal
    kick_positions: list[float]
    roles: list[str]


@dataclasses.dataclass(frozen=True)
class PitchedPart:
    samples: Signal
    instrument: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Harmony:
    """Key (0 = C), scale, and one chord degree (0 = tonic) a bar."""

    key: int
    scale: str
    degrees: list[int]

    def midi(self, degree: int, lowest: int) -> int:
        """The MIDI note of a scale degree, in the octave that starts at `lowest`."""
        steps = SCALES[self.scale]
        pitch_class = self.key + steps[degree % 7]
        return lowest + (pitch_class - lowest) % 12 + 12 * (degree // 7)


def draw_harmony(genre: Genre, bars: int, rng: np.random.Generator) -> Harmony:
    """Key and progression; a loop shorter than the progression takes every second (or only the first) chord."""
    progression = [int(d) - 1 for d in str(rng.choice(genre.progressions)).split()]
    stride = max(1, len(progression) // bars)
    return Harmony(key=int(rng.integers(12)), scale=genre.scale, degrees=progression[::stride][:bars])


# ---------------------------------------------------------------- drums


def drum_part(genre: Genre, grid: Grid, sounds: Sounds, rng: np.random.Generator, *, validation: bool) -> DrumPart:
    """All drums of the loop: each role with its own sound, pattern, level and place."""
    samples, kick = np.zeros((grid.length, 2), np.float32), np.zeros((grid.length, 2), np.float32)
    human = rng.uniform(0, 1.5) if genre.kit == SOFT else rng.uniform(0, 0.3)
    kicks: list[float] = []
    for role, patterns in genre.drums.items():
        takes, recorded = _drum_takes(role, genre.kit, sounds, rng, validation)
        level = _DRUM_LEVEL[role] * rng.uniform(0.75, 1.2) * (0.55 if recorded and role in _THIN else 1.0)
        pan = 0.0 if role in _CENTRED else float(rng.uniform(-0.4, 0.4))
        target = kick if role == "kick" else samples
        for bar, step, velocity in _drum_hits(role, str(rng.choice(patterns)), grid.bars, genre, rng):
            at = grid.position(bar, step) + human * rng.standard_normal() * 0.0015 * RATE
            add_circular(target, at, takes[int(step) % len(takes)], velocity * level, pan)
            if role == "kick":
                kicks.append(at)
    samples += kick
    if rng.random() < 0.6:
        samples = band_filter(samples, "low", rng.uniform(6000, 17_000))
    return DrumPart(samples, kick, kicks, list(genre.drums))


def _drum_takes(
    role: str, kit: int, sounds: Sounds, rng: np.random.Generator, validation: bool
) -> tuple[list[Signal], bool]:
    """The sounds of one drum (two takes in turn for synthetic hats and shakers), and whether they are recorded."""
    recordings = sounds.hits_for(role, validation=validation)
    if recordings and rng.random() < 0.5:
        chosen = recordings[int(rng.integers(len(recordings)))]
        return [repitch(chosen, 2 ** (rng.uniform(-3, 3) / 12))], True
    if role not in ("hat", "shaker"):
        return [hit(role, kit, rng)], False
    seed = int(rng.integers(2**31))
    # the same random settings, other noise would be another instrument: so two takes differ by level and pitch only
    take = hit(role, kit, np.random.default_rng(seed))
    return [take, repitch(take, 2 ** (rng.uniform(-0.5, 0.5) / 12)) * np.float32(rng.uniform(0.7, 1.0))], False


def _drum_hits(
    role: str, pattern: str, bars: int, genre: Genre, rng: np.random.Generator
) -> list[tuple[int, float, float]]:
    """(bar, step, velocity) of one drum: bar A, its variation B on odd bars, and perhaps a fill or a roll."""
    chances = [STEP_CHANCE[c] for c in pattern]
    first = [
        (float(i), float(rng.uniform(0.75, 1) if pattern[i] == "x" else rng.uniform(0.3, 0.6)))
        for i in range(STEPS)
        if rng.random() < chances[i]
    ]
    second = [(i, v) for i, v in first if rng.random() > 0.1]
    if role in _GHOSTS and rng.random() < 0.25:
        second += [(float(i), float(rng.uniform(0.2, 0.5))) for i in rng.integers(0, STEPS, 2)]
    hits = []
    for bar in range(bars):
        steps = list(second if bar % 2 else first)
        if bar == bars - 1 and bars > 1 and role in _FILLS and rng.random() < 0.4:
            steps += [(14.0, 0.6), (15.0, 0.8)]
        if role == "hat" and rng.random() < genre.hat_rolls:
            steps += _roll(rng)
        hits += [(bar, step, velocity) for step, velocity in steps]
    return hits


def _roll(rng: np.random.Generator) -> list[tuple[float, float]]:
    """A quick run of hats over one or two steps: thirty-seconds or sixteenth triplets, rising or falling."""
    start, per_step = float(rng.choice([3, 6, 7, 10, 11, 14])), int(rng.choice([2, 3, 4]))
    count = per_step * int(rng.choice([1, 2]))
    levels = np.linspace(0.4, 0.9, count)[:: int(rng.choice([-1, 1]))]
    return [(start + k / per_step, float(level)) for k, level in enumerate(levels) if start + k / per_step < STEPS]


# ---------------------------------------------------------------- pitched parts


class _Player:
    """One instrument that remembers the notes it has rendered (a loop repeats few of them often)."""

    def __init__(self, family: str, rng: np.random.Generator, sounds: Sounds) -> None:
        self.patch: Patch = make_patch(family, rng, sounds)
        self._sounds = sounds
        self._rendered: dict[tuple[int, float, float], Signal] = {}

    def note(self, midi: int, seconds: float, velocity: float) -> Signal:
        key = (midi, round(seconds, 3), round(velocity, 1))
        if key not in self._rendered:
            self._rendered[key] = play(self.patch, self._sounds, *key)
        return self._rendered[key]


def _player(families: str, rng: np.random.Generator, sounds: Sounds) -> _Player:
    return _Player(str(rng.choice(families.split())), rng, sounds)


def _runs(patterns: tuple[str, ...], rng: np.random.Generator) -> list[tuple[int, int]]:
    """(step, steps until the next) of one bar drawn from a pattern."""
    pattern = str(rng.choice(patterns))
    on = [i for i in range(STEPS) if rng.random() < STEP_CHANCE[pattern[i]]]
    return [(start, end - start) for start, end in zip(on, [*on[1:], STEPS], strict=False)]


def bass_part(genre: Genre, grid: Grid, harmony: Harmony, sounds: Sounds, rng: np.random.Generator) -> PitchedPart:
    """Roots of the chords, with octave jumps or a walk through the chord where the genre has them."""
    player, samples = _player(genre.bass, rng, sounds), np.zeros((grid.length, 2), np.float32)
    lowest = int(rng.choice([28, 31, 33]))
    events = [(step, span, rng.random(), rng.random()) for step, span in _runs(genre.bass_patterns, rng)]
    for bar in range(grid.bars):
        root = harmony.degrees[bar % len(harmony.degrees)]
        for j, (step, span, jump, accent) in enumerate(events):
            walked = root + 2 * (j % 4) if genre.walking_bass else root
            midi = harmony.midi(walked, lowest)
            if genre.octave_jumps and jump < 0.25:
                midi += int(rng.choice([12, 7, 10])) if accent > 0.5 else 12
            sound = player.note(midi, min(span * grid.step_seconds * 0.92, 1.5), 1.0 if accent > 0.6 else 0.7)
            add_circular(samples, grid.position(bar, step), sound, 0.5)
    return PitchedPart(samples, player.patch.family)


def chord_part(genre: Genre, grid: Grid, harmony: Harmony, sounds: Sounds, rng: np.random.Generator) -> PitchedPart:
    """Triads or sevenths on a rhythm, or the same notes one after another (arpeggio)."""
    player, samples = _player(genre.chords, rng, sounds), np.zeros((grid.length, 2), np.float32)
    events = _runs(genre.chord_patterns, rng)
    intervals = (0, 2, 4, 6) if rng.random() < 0.7 else (0, 2, 4)
    broken = rng.random() < genre.arpeggio
    for bar in range(grid.bars):
        root = harmony.degrees[bar % len(harmony.degrees)]
        chord = [harmony.midi(root + interval, 52 if interval else 50) for interval in intervals]
        for j, (step, span) in enumerate(events):
            notes = [chord[j % len(chord)] + 12 * (j % 2)] if broken else chord
            for midi in notes:
                at = grid.position(bar, step) + rng.integers(0, 300)  # fingers are never quite together
                sound = player.note(midi, min(span * grid.step_seconds * 0.95, 4.0), 0.7)
                add_circular(samples, at, sound, 0.2, float(rng.uniform(-0.2, 0.2)))
    return PitchedPart(samples, player.patch.family)


def lead_part(genre: Genre, grid: Grid, harmony: Harmony, sounds: Sounds, rng: np.random.Generator) -> PitchedPart:
    """A motif, a random walk on the scale, kept from bar to bar."""
    player, samples = _player(genre.lead, rng, sounds), np.zeros((grid.length, 2), np.float32)
    on = sorted(int(i) for i in rng.choice(STEPS, int(rng.uniform(3, 9)), replace=False))
    melody = np.cumsum(rng.choice([-2, -1, 0, 1, 1, 2], len(on)))
    for bar in range(grid.bars):
        if bar % 2 and rng.random() < 0.3:
            continue
        root = harmony.degrees[bar % len(harmony.degrees)]
        for k, (start, end) in enumerate(zip(on, [*on[1:], STEPS], strict=True)):
            midi = harmony.midi(int(melody[k]) % 7 + (root if k == 0 else 0), 64)
            sound = player.note(midi, (end - start) * grid.step_seconds * 0.9, 0.7)
            add_circular(samples, grid.position(bar, start), sound, 0.25, 0.15)
    return PitchedPart(samples, player.patch.family)

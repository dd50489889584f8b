"""A groove: four seamless stems (drums, bass, chords, lead) of 1, 2 or 4 bars, all from one seed.

Knows how parts get effects and levels; knows no arrangement, mastering or captions.
"""

from __future__ import annotations

import dataclasses
import zlib

import numpy as np

from recipes.tiny.data.genres import GENRES, Genre
from recipes.tiny.data.parts import DrumPart, bass_part, chord_part, draw_harmony, drum_part, lead_part
from recipes.tiny.data.sounds import Sounds
from recipes.tiny.data.synth import RATE, Signal, band_filter, convolve_circular, decay, noise, rms
from recipes.tiny.data.timing import Grid, draw_grid, grid_in_step

_LEVEL = {"drums": 0.15, "bass": 0.096, "chords": 0.06, "lead": 0.05}  # target rms of each stem
_REVERB_SEND = {"drums": 0.25, "bass": 0.05, "chords": 1.0, "lead": 1.0}
_LEAD_CHANCE = 0.75


@dataclasses.dataclass(frozen=True, kw_only=True)
class Groove:
    """Stems float32 [grid.length, 2] by name; `instruments` names what plays each pitched stem."""

    seed: int
    genre: str
    grid: Grid
    key: int
    stems: dict[str, Signal]
    instruments: dict[str, str]
    drum_roles: list[str]
    reverb_seconds: float


def is_validation(seed: int) -> bool:
    """Every tenth seed is kept away from training."""
    return seed % 10 == 0


def stream(seed: int, purpose: str) -> np.random.Generator:
    """Random numbers for one purpose, so that a change to one part leaves the others as they were."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])


def make_groove(
    seed: int,
    sounds: Sounds,
    *,
    genre: str | None = None,
    bars: int | None = None,
    in_step_with: Grid | None = None,
) -> Groove:
    """The groove of a seed. The same seed and sounds give the same samples; `in_step_with` gives its tempo and bars."""
    rng = stream(seed, "plan")
    drawn = str(rng.choice(sorted(GENRES)))
    name = genre or drawn
    table = GENRES[name]
    grid = draw_grid(rng, table.bpm, table.swing, bars=bars)
    if in_step_with is not None:
        grid = grid_in_step(in_step_with, table.bpm, grid.swing)
    harmony = draw_harmony(table, grid.bars, rng)
    drums = drum_part(table, grid, sounds, stream(seed, "drums"), validation=is_validation(seed))
    pitched = {
        "bass": bass_part(table, grid, harmony, sounds, stream(seed, "bass")),
        "chords": chord_part(table, grid, harmony, sounds, stream(seed, "chords")),
    }
    if table.lead and rng.random() < _LEAD_CHANCE:
        pitched["lead"] = lead_part(table, grid, harmony, sounds, stream(seed, "lead"))
    stems = {"drums": drums.samples} | {k: part.samples for k, part in pitched.items()}
    stems = {k: stem for k, stem in stems.items() if rms(stem) > 0}
    reverb_seconds = float(rng.uniform(0.6, 2.2))
    return Groove(
        seed=seed,
        genre=name,
        grid=grid,
        key=harmony.key,
        stems=_with_effects(stems, drums, table, grid, reverb_seconds, stream(seed, "effects")),
        instruments={k: part.instrument for k, part in pitched.items() if k in stems},
        drum_roles=drums.roles,
        reverb_seconds=reverb_seconds,
    )


def _with_effects(
    stems: dict[str, Signal], drums: DrumPart, genre: Genre, grid: Grid, room: float, rng: np.random.Generator
) -> dict[str, Signal]:
    """Echo, reverb, kick rumble, ducking under the kick, and levels."""
    impulse = _impulse(room, rng)
    out = {}
    for name, stem in stems.items():
        if name in ("chords", "lead") and genre.echo:
            stem = _ping_pong(stem, int(grid.step_seconds * RATE * rng.choice([3, 4, 6])), genre.echo)
        send = genre.reverb * rng.uniform(0.5, 1.3) * _REVERB_SEND[name]
        if send > 0.03:
            stem = stem + np.float32(send) * convolve_circular(stem, impulse)
        if name == "drums" and genre.rumble:
            stem = stem + _rumble(drums, impulse, genre.rumble * rng.uniform(0.3, 1.2), grid)
        elif name != "drums" and genre.ducking and drums.kick_positions:
            stem = stem * _ducking(drums.kick_positions, genre.ducking * rng.uniform(0.7, 1.2), grid)[:, None]
        target = _LEVEL[name] * rng.uniform(0.75, 1.15)
        out[name] = _levelled(stem, target, sparse=name == "drums")
    return out


def _impulse(seconds: float, rng: np.random.Generator) -> Signal:
    """A room: decaying stereo noise whose loudness does not grow with its length."""
    n = int(RATE * seconds)
    return noise(rng, n, 2) * decay(n, seconds / 5)[:, None] * np.float32(np.sqrt(30 / n) * 0.35)


def _ping_pong(x: Signal, delay: int, amount: float) -> Signal:
    """Four echoes that change sides, wrapped around the loop."""
    sides = (x, x[:, ::-1])
    echoes = sum(0.55**j * np.roll(sides[j % 2], delay * (j + 1), axis=0) for j in range(4))
    return (x + amount * echoes).astype(np.float32)


def _rumble(drums: DrumPart, impulse: Signal, amount: float, grid: Grid) -> Signal:
    """The low tail of the kick's room between the kicks, as techno has it."""
    tail = band_filter(convolve_circular(drums.kick, impulse), "low", 130)
    return np.float32(amount * 2) * tail * _ducking(drums.kick_positions, 0.9, grid)[:, None]


def _ducking(kicks: list[float], depth: float, grid: Grid) -> Signal:
    """Gain [length] that dips at each kick and recovers within a beat."""
    gain = np.ones(grid.length, np.float32)
    n = int(min(0.3, 3.6 * grid.step_seconds) * RATE)
    dip = 1 - np.float32(min(depth, 1.0)) * decay(n, 0.09)
    for kick in kicks:
        place = (int(kick) + np.arange(n)) % grid.length
        gain[place] = np.minimum(gain[place], dip)
    return gain


def _levelled(stem: Signal, target: float, *, sparse: bool) -> Signal:
    """Scaled to a target rms; sparse drums are left quieter, and no stem peaks over 0.8."""
    level = rms(stem) + 1e-4
    if sparse:
        target = min(target, 0.55 * level)
    return stem * np.float32(min(target / level, 0.8 / (np.abs(stem).max() + 1e-4)))

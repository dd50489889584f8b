"""A clip: the groove goes round for some seconds, with an arrangement and a master.

Knows stems and passes of a loop; knows nothing of how a stem was made.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from recipes.tiny.data.genres import GENRES
from recipes.tiny.data.groove import Groove, is_validation, make_groove, stream
from recipes.tiny.data.sounds import Sounds
from recipes.tiny.data.synth import RATE, Signal, band_filter, noise, rms
from recipes.tiny.data.timing import FRAME, STEPS, Grid

PEAK = 0.98
_LOUDNESS = (0.03, 0.35)  # rms of the clip
_PEAK_CHANCE = 0.4  # of one broad boost or cut more, besides the tilt
SWITCH_SHARE = 0.55
"""Of clips that turn into another groove."""
_SWITCH_AT = (0.52, 0.88)  # of the clip: after a whole context of the first groove
_AT_A_BAR = 0.75  # of the turns, as where a continuation begins; the others are at any beat
_FILL_EVERY, _FILL_CHANCE = 4, 0.75  # bars; of the clips that are not strict, how often
_OTHER = 1_000_000_000  # from a seed to that of the groove it turns into, of the same split
_MOST_DRIVE = 2.5  # peak before the soft clip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """samples float32 [n, 2] at 48 kHz; `passes` names the stems that sound in each round of the loop, `fills` the
    rounds that end in a drum fill.

    Of a clip that turns into another groove, `groove`, `stems` and the rest are those of what follows `switch_frame`;
    `past` is what it was, `before` the genre of that, `whole` what it turns into, all of that.
    """

    samples: Signal
    seed: int
    groove: Groove
    stems: list[str]
    passes: list[list[str]]
    fills: list[int]
    tilt_db: float
    tape: float
    switch_frame: int | None = None
    before: str | None = None
    past: Signal | None = None
    whole: Signal | None = None

    @property
    def sound(self) -> Signal:
        """What the words say: all of it, or what it turns into."""
        return self.samples if self.whole is None else self.whole

    @property
    def strict(self) -> bool:
        """Whether every round of the loop is the same."""
        return not self.fills and all(stems == self.passes[0] for stems in self.passes)

    def record(self) -> dict[str, Any]:
        """What the sidecar of a shard stores about this clip."""
        grid = self.groove.grid
        return {
            "seed": self.seed,
            "split": "validation" if is_validation(self.seed) else "train",
            "genre": self.groove.genre,
            "bpm": grid.bpm,
            "bars": grid.bars,
            "loop_samples": grid.length,
            "loop_frames": grid.frames,
            "strict": self.strict,
            "switch_frame": self.switch_frame,
            "before": self.before,
            "stems": self.stems,
            "passes": self.passes,
            "instruments": {k: v for k, v in self.groove.instruments.items() if k in self.stems},
            "tilt_db": round(self.tilt_db, 2),
            "tape": round(self.tape, 2),
        }


def draw_clip(seed: int, seconds: float, sounds: Sounds) -> Clip:
    """A clip of one groove, or in `SWITCH_SHARE` of all seeds one that turns into another groove."""
    if stream(seed, "kind").random() < SWITCH_SHARE:
        return make_switch(seed, seconds, sounds)
    return make_clip(seed, seconds, sounds)


def make_switch(seed: int, seconds: float, sounds: Sounds) -> Clip:
    """A clip that at a bar (or beat), moved to the nearest frame, turns into a groove of another genre in time with it.

    Here the past says less than the style does: this is what teaches a model to follow words.
    """
    first = make_clip(seed, seconds, sounds)
    rng = stream(seed, "switch")
    genre = str(rng.choice([name for name in sorted(GENRES) if name != first.groove.genre]))
    second = make_clip(seed + _OTHER, seconds, sounds, genre=genre, in_step_with=first.groove.grid)
    bar = first.groove.grid.step_seconds * STEPS
    unit = bar if rng.random() < _AT_A_BAR else bar / 4
    earliest, latest = (share * seconds for share in _SWITCH_AT)
    units = np.arange(np.ceil(earliest / unit), max(latest / unit, np.ceil(earliest / unit) + 0.5))
    frame = round(float(rng.choice(units)) * unit * RATE / FRAME)
    at = frame * FRAME
    level = rms(first.samples[:at]) / (rms(second.samples[at:]) + 1e-6)
    peak = np.abs(second.samples).max() + 1e-6
    after = second.samples[at:] * np.float32(min(level, PEAK / peak))
    samples = np.concatenate([first.samples[:at], after])
    return dataclasses.replace(
        second,
        samples=samples,
        seed=seed,
        switch_frame=frame,
        before=first.groove.genre,
        past=first.samples[:at],
        whole=second.samples,
    )


def make_clip(
    seed: int,
    seconds: float,
    sounds: Sounds,
    *,
    genre: str | None = None,
    bars: int | None = None,
    in_step_with: Grid | None = None,
) -> Clip:
    """The clip of a seed: half of all repeat strictly, the rest drop and add stems where the loop starts again."""
    groove = make_groove(seed, sounds, genre=genre, bars=bars, in_step_with=in_step_with)
    rng = stream(seed, "clip")
    stems = _choose_stems(groove, rng)
    length = round(seconds * RATE)
    passes = _arrange(stems, -(-length // groove.grid.length), rng)
    tilt_db = float(np.clip(rng.normal(0, 2.5), -6, 6))
    tape = GENRES[groove.genre].tape * float(rng.uniform(0.5, 1.2))
    filling = stream(seed, "fills")
    fills = _fill_rounds(groove.grid, passes, filling)
    rounds = _rounds(groove, passes)
    for n in fills:
        rounds[n] = rounds[n] + _fill(groove.stems["drums"], groove.grid, filling)
    samples = master(np.concatenate(rounds)[:length], tilt_db=tilt_db, tape=tape, rng=rng)
    return Clip(
        samples=samples, seed=seed, groove=groove, stems=stems, passes=passes, fills=fills, tilt_db=tilt_db, tape=tape
    )


def _choose_stems(groove: Groove, rng: np.random.Generator) -> list[str]:
    """20 % drums only, 15 % drums and bass, 10 % without drums, the rest everything."""
    present = list(groove.stems)
    pitched = [s for s in present if s != "drums"]
    draw = rng.random()
    beatless = "kick" not in groove.drum_roles
    if draw < 0.20 and not beatless:
        return ["drums"]
    if draw < 0.35 and not beatless:
        return [s for s in present if s in ("drums", "bass")]
    if (draw > 0.90 or (beatless and draw > 0.5)) and pitched:
        return pitched
    return present


def _arrange(stems: list[str], rounds: int, rng: np.random.Generator) -> list[list[str]]:
    """The stems of each round. Where they change, every third round plays all of them."""
    if len(stems) < 2 or rng.random() < 0.5:
        return [stems] * rounds
    return [stems if i % 3 == 0 else [s for s in stems if rng.random() < 0.75] or stems for i in range(rounds)]


def _rounds(groove: Groove, passes: list[list[str]]) -> list[Signal]:
    """One array a round; rounds with the same stems share theirs."""
    mixes: dict[tuple[str, ...], Signal] = {}
    for stems in passes:
        key = tuple(stems)
        if key not in mixes:
            mixes[key] = np.sum([groove.stems[s] for s in stems], axis=0, dtype=np.float32)
    return [mixes[tuple(stems)] for stems in passes]


def _fill_rounds(grid: Grid, passes: list[list[str]], rng: np.random.Generator) -> list[int]:
    """The rounds that end in a fill: in half of the clips, most that end a group of four bars and have drums."""
    if rng.random() < 0.5:
        return []
    last = [n for n in range(len(passes)) if (n + 1) * grid.bars % _FILL_EVERY == 0 and "drums" in passes[n]]
    return [n for n in last if rng.random() < _FILL_CHANCE]


def _fill(drums: Signal, grid: Grid, rng: np.random.Generator) -> Signal:
    """What a fill adds to the loop's drums: their last steps are repeated, shuffled, or left out, less themselves."""
    steps = grid.bars * STEPS
    span = int(rng.choice([4, 8]))
    kind = rng.choice(["repeat", "shuffle", "rest"], p=[0.45, 0.4, 0.15])
    heard = list(range(steps - span, steps))
    if kind == "repeat":
        length = int(rng.choice([1, 2]))
        heard = [heard[0] + n % length for n in range(span)]
    elif kind == "shuffle":
        heard = [int(n) for n in rng.integers(steps - STEPS, steps, span)]
    out, width = np.zeros_like(drums), grid.length // steps
    ramp = np.minimum(1, np.minimum(np.arange(width), np.arange(width)[::-1]) / 96).astype(np.float32)[:, None]
    for n, source in enumerate(heard):
        at, here = (int(place * grid.length / steps) for place in (steps - span + n, source))
        out[at : at + width] -= drums[at : at + width]
        if kind != "rest":
            out[at : at + width] += drums[here : here + width] * ramp
    return out


def master(x: Signal, *, tilt_db: float, tape: float, rng: np.random.Generator) -> Signal:
    """Tape colour, spectral tilt, a random loudness, a soft clip; peaks stay within 0.98."""
    if tape > 0.2:
        x = band_filter(band_filter(x, "low", 6500), "high", 90)
        crackle = (rng.random(x.shape, dtype=np.float32) < 6e-5) * np.float32(0.05)
        x = x + (band_filter(noise(rng, *x.shape), "band", (500, 7000)) * np.float32(0.004) + crackle) * np.float32(
            tape
        )
    x = band_filter(x, "high", 28)
    low = band_filter(x, "low", float(rng.uniform(500, 1500)), order=1)
    x = low * np.float32(10 ** (-tilt_db / 40)) + (x - low) * np.float32(10 ** (tilt_db / 40))
    if rng.random() < _PEAK_CHANCE:
        centre = float(np.exp(rng.uniform(*np.log((120.0, 6000.0)))))
        x = x + band_filter(x, "band", (centre / 1.5, centre * 1.5), order=1) * np.float32(rng.uniform(-0.6, 1.0))
    return _limited(x, float(np.exp(rng.uniform(*np.log(_LOUDNESS)))))


def _limited(x: Signal, target: float) -> Signal:
    """Soft-clipped to about `target` rms; very peaky clips stay quieter rather than turn into squares."""
    gain = target / (rms(x) + 1e-6)
    for _ in range(2):  # the clip takes some loudness away: give it back
        gain = min(gain, _MOST_DRIVE / (np.abs(x).max() + 1e-6))
        loud = rms(np.tanh(x[: 6 * RATE] * np.float32(gain / PEAK)) * PEAK)
        before = rms(x[: 6 * RATE] * np.float32(gain))
        gain *= min(before / (loud + 1e-6), 1.5)
    return np.asarray(PEAK * np.tanh(x * np.float32(gain / PEAK)), np.float32)

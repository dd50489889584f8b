"""Makes `tiny`'s openings: a short groove of each genre, which music from words alone goes on from.

    python -m recipes.tiny.openings --out darius/assets/tiny/openings

Each is two bars of our own generator that repeat strictly, in whole codec frames and with all of their stems: of the
first seeds that are so, the one whose sound the style model finds nearest to the genre's name, which names the file.
Run it again when the style model is another one.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from darius.audio import files
from darius.audio.resample import resample
from darius.audio.waveform import Waveform
from darius.style import tiny
from darius.style.interface import StyleModel
from recipes.tiny.data.clip import Clip, make_clip
from recipes.tiny.data.genres import GENRES
from recipes.tiny.data.sounds import Sounds, load_sounds
from recipes.tiny.data.synth import RATE, rms

BARS, SECONDS, CANDIDATES = 2, 16.0, 8
RATE_KEPT = 32_000
LEVEL = 0.12
"""rms; about the middle of what the model was trained on."""


def fit(genre: str, sounds: Sounds) -> Iterator[Clip]:
    """Clips of a genre that are fit to begin with."""
    for seed in itertools.count(1):
        clip = make_clip(seed, SECONDS, sounds, genre=genre, bars=BARS)
        whole = float(clip.groove.grid.frames).is_integer()
        if whole and clip.strict and len(clip.stems) == len(clip.groove.stems) >= 3:
            yield clip


def find(genre: str, sounds: Sounds, style: StyleModel) -> tuple[Clip, float]:
    """The one that sounds most like its name, and how near it is, -1 to 1."""
    (name,) = style.embed_text([genre])

    def nearness(clip: Clip) -> float:
        sound = style.embed_audio(loop_of(clip).stereo())
        return float(sound @ name / (np.linalg.norm(sound) * np.linalg.norm(name)))

    rated = [(nearness(clip), clip) for clip in itertools.islice(fit(genre, sounds), CANDIDATES)]
    near, clip = max(rated, key=lambda pair: pair[0])
    return clip, near


def loop_of(clip: Clip) -> Waveform:
    """One round, taken from the second, so that the end leads into the beginning."""
    length = clip.groove.grid.length
    mono = clip.samples[length : 2 * length].mean(axis=1, keepdims=True)
    kept = round(length * RATE_KEPT / RATE)
    samples = resample(mono, RATE, RATE_KEPT, length=kept)
    return Waveform(samples * (LEVEL / rms(samples)), RATE_KEPT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--style", type=Path, default=Path("darius/assets/tiny/style.safetensors"))
    given = parser.parse_args()
    out = given.out
    out.mkdir(parents=True, exist_ok=True)
    sounds, style = load_sounds(None), tiny.load(given.style)
    for genre in sorted(GENRES):
        clip, near = find(genre, sounds, style)
        tempo = clip.groove.grid.bpm
        files.save(out / f"{genre}.ogg", loop_of(clip), tempo=tempo, beats=4 * BARS, overwrite=True)
        print(f"{genre:>16}  seed {clip.seed:>3}  {tempo:.3f} bpm  {near:+.2f}  {', '.join(clip.stems)}")


if __name__ == "__main__":
    main()

"""What the codec hears beside generated clips: lone notes and hits, and a few recordings that may be trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recipes.tiny.data.shards import to_int16

RATE = 48_000
RECORDINGS = (
    "loop_3d_printer", "loop_drone_g_97", "loop_industrial", "loop_mehackit1", "loop_mehackit2", "loop_perc1",
    "loop_perc2", "loop_weirdo", "tbd_fxbed_loop",
)  # fmt: skip
"""The only real loops that may be trained on: none of them is a test loop or kin of one."""


class Special:
    """Draws clips int16 [n, 2] of recordings (float32 [n, 2]) and of lone sounds (mono float32)."""

    def __init__(self, recordings: list[np.ndarray], sounds: list[np.ndarray], seed: int) -> None:
        self.recordings, self.sounds, self.rng = recordings, sounds, np.random.default_rng(seed)

    def recording(self, length: int) -> NDArray[np.int16]:
        """Pieces of recordings played 0.8 to 1.25 times as fast, one after another; lone sounds if there are none."""
        if not self.recordings:
            return self.lone_sounds(length)
        pieces, have = [], 0
        while have < length:
            piece = self._faster(self.recordings[self.rng.integers(len(self.recordings))])
            pieces.append(piece * np.float32(0.98 / max(np.abs(piece).max(), 0.1)))
            have += len(piece)
        return to_int16(np.concatenate(pieces)[:length])

    def lone_sounds(self, length: int) -> NDArray[np.int16]:
        """Two to twelve notes or hits a second at random places, each at a random pan and level, some slowed down."""
        out = np.zeros((length, 2), np.float32)
        for _ in range(round(2 * 6 ** self.rng.random() * length / RATE)):
            sound = self.sounds[self.rng.integers(len(self.sounds))]
            if self.rng.random() < 0.3:
                sound = self._faster(sound[:, None])[:, 0]
            begin = int(self.rng.integers(-len(sound) // 2, length))
            part = sound[max(0, -begin) :][: length - max(0, begin)]
            pan = self.rng.uniform(0.2, 0.8)
            mono = part * 10 ** self.rng.uniform(-1, 0)
            out[max(0, begin) : max(0, begin) + len(part)] += mono[:, None] * np.array([1 - pan, pan], np.float32) * 2
        return to_int16(out * np.float32(0.9 / max(np.abs(out).max(), 0.9)))

    def _faster(self, sound: np.ndarray) -> np.ndarray:
        """Another speed by linear interpolation."""
        places = np.arange(0, len(sound) - 1.001, 0.8 * 1.5625 ** self.rng.random())
        low = places.astype(int)
        share = (places - low)[:, None].astype(np.float32)
        return np.asarray(sound[low] * (1 - share) + sound[low + 1] * share, np.float32)


def load_recordings(folder: Path) -> list[np.ndarray]:
    """The allowed recordings found in a folder of the sample package, float32 [n, 2] at 48 kHz."""
    from darius.audio import files
    from darius.audio.resample import resample

    found = []
    for name in RECORDINGS:
        for path in folder.glob(f"{name}.*"):
            sound = files.load(path).stereo()
            found.append(np.asarray(resample(sound.samples, sound.rate, RATE), np.float32))
    return found


def load_sounds() -> list[np.ndarray]:
    """Notes and hits of the generator's bank that may be trained on, mono float32."""
    from recipes.tiny.data.sounds import load_sounds as load

    bank = load()
    hits = [sound for role in bank.hits for sound in bank.hits_for(role, validation=False)]
    notes = [sound for sounds in bank.notes.values() for _, sound in sounds]
    return [np.asarray(sound, np.float32) for sound in hits + notes]

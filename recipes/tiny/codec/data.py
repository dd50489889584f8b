"""Batches for the codec: random windows of generated clips, of the allowed recordings and of lone notes and hits."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from recipes.tiny.data.shards import ClipSet

RATE = 48_000
RECORDINGS = (
    "loop_3d_printer", "loop_drone_g_97", "loop_industrial", "loop_mehackit1", "loop_mehackit2", "loop_perc1",
    "loop_perc2", "loop_weirdo", "tbd_fxbed_loop",
)  # fmt: skip
"""The only real loops that may be trained on: none of them is a test loop or kin of one."""

SHARES = (0.82, 0.08, 0.10)
"""Of clips, recordings, lone sounds."""


class Windows:
    """Draws windows [n, 2] float32; needs the clips' folder, takes recordings and sounds where they are given."""

    def __init__(self, clips: ClipSet, recordings: list[np.ndarray], sounds: list[np.ndarray], seed: int) -> None:
        self.clips, self.recordings, self.sounds = clips, recordings, sounds
        self.rng = np.random.default_rng(seed)

    def batch(self, rows: int, seconds: float) -> np.ndarray:
        """float32 [rows, n, 2], each at its own level (-20 to +3 dB of the source)."""
        length = round(seconds * RATE)
        return np.stack([self._levelled(self._window(length)) for _ in range(rows)])

    def _window(self, length: int) -> np.ndarray:
        kind = self.rng.choice(3, p=SHARES)
        if kind == 1 and self.recordings:
            sound = self.recordings[self.rng.integers(len(self.recordings))]
            return _resampled_window(sound, length, self.rng)
        if kind == 2 and self.sounds:
            return self._lone_sounds(length)
        return self.clips.random_window(self.rng, length / RATE)[1]

    def _lone_sounds(self, length: int) -> np.ndarray:
        """One to three notes or hits at random places, each at a random pan and level."""
        out = np.zeros((length, 2), np.float32)
        for _ in range(self.rng.integers(1, 4)):
            sound = self.sounds[self.rng.integers(len(self.sounds))]
            begin = int(self.rng.integers(-len(sound) // 2, length * 3 // 4))
            part = sound[max(0, -begin) :][: length - max(0, begin)]
            pan = self.rng.uniform(0.2, 0.8)
            mono = part * 10 ** self.rng.uniform(-1, 0)
            out[max(0, begin) : max(0, begin) + len(part)] += mono[:, None] * np.array([1 - pan, pan], np.float32) * 2
        return out

    def _levelled(self, window: np.ndarray) -> np.ndarray:
        gain = 10 ** (self.rng.uniform(-20, 3) / 20)
        peak = np.abs(window).max() * gain
        return (window * (gain if peak < 1 else gain / peak)).astype(np.float32)


def _resampled_window(sound: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
    """A window of a recording played 0.8 to 1.25 times as fast."""
    speed = 0.8 * 1.5625 ** rng.random()
    wanted = min(int(length * speed) + 2, len(sound))
    begin = rng.integers(0, len(sound) - wanted + 1)
    places = np.linspace(0, wanted - 1.001, length)
    low = places.astype(int)
    part = sound[begin : begin + wanted]
    share = (places - low)[:, None].astype(np.float32)
    return np.asarray(part[low] * (1 - share) + part[low + 1] * share, np.float32)


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


def prefetch(windows: Windows, rows: int, seconds: float, *, depth: int = 6) -> Iterator[np.ndarray]:
    """Endless batches, made in a thread ahead of their use."""
    ready: queue.Queue[np.ndarray] = queue.Queue(depth)

    def work() -> None:
        while True:
            ready.put(windows.batch(rows, seconds))

    threading.Thread(target=work, daemon=True).start()
    while True:
        yield ready.get()

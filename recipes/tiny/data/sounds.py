"""Recorded sounds for the generator: the baked note bank (FluidR3Mono, MIT) and, when fetched, CC0 one-shots.

Knows files and which drum or instrument a sound plays; knows no rhythm. Loops are never read here.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from recipes.tiny.data.synth import RATE, Signal, repitch

BANK = Path(__file__).parents[1] / "bank"
ONE_SHOTS = Path("runs/tiny/sounds/package/samples")
"""Where `fetch_sounds.sh` leaves the one-shots, relative to the repository root."""

_BANK_ROLES = {
    "k": "kick",
    "s": "snare",
    "c": "clap",
    "h": "hat",
    "o": "open_hat",
    "y": "ride",
    "m": "shaker",
    "r": "rim",
    "b": "conga",
    "t": "tom",
}

_ONE_SHOT_FILES = {
    "kick": ("bd_*", "drum_heavy*", "drum_bass_*", "elec_soft_k*", "elec_hollow*"),
    "snare": ("sn_*", "drum_snare*", "elec_*snare"),
    "clap": ("perc_snap*", "elec_filt_snare"),
    "hat": ("hat_*", "drum_cymbal_closed", "tbd_perc_hat"),
    "open_hat": ("drum_cymbal_open", "elec_cymbal"),
    "rim": ("elec_tick", "elec_wood", "elec_pop", "tbd_perc_tap*", "perc_snap*"),
    "conga": ("tabla_*", "elec_bong", "elec_blip*", "perc_till", "drum_cowbell"),
    "tom": ("drum_tom*", "elec_fuzz_tom"),
}


@dataclasses.dataclass(frozen=True)
class Sounds:
    """hits: role -> recordings [n]; notes: instrument -> (MIDI root, recording [n]). All mono, 48 kHz, unit peak."""

    hits: dict[str, list[Signal]]
    notes: dict[str, list[tuple[int, Signal]]]

    def hits_for(self, role: str, *, validation: bool) -> list[Signal]:
        """Hits of a drum; every tenth is kept away from training."""
        every = self.hits.get(role, [])
        return every if validation else [hit for i, hit in enumerate(every) if i % 10 != 9]

    def nearest_note(self, instrument: str, midi: int) -> Signal:
        """The recording with the nearest root, resampled to `midi`."""
        root, recording = min(self.notes[instrument], key=lambda note: abs(note[0] - midi))
        return repitch(recording, 2 ** ((midi - root) / 12))


def load_sounds(one_shots: Path | None = ONE_SHOTS) -> Sounds:
    """The note bank, and the one-shots of `one_shots` if that folder exists."""
    hits: dict[str, list[Signal]] = {}
    notes: dict[str, list[tuple[int, Signal]]] = {}
    _read_bank(hits, notes)
    if one_shots is not None and one_shots.is_dir():
        _read_one_shots(one_shots, hits)
    return Sounds(hits, notes)


def _read_bank(hits: dict[str, list[Signal]], notes: dict[str, list[tuple[int, Signal]]]) -> None:
    import soundfile

    audio, _ = soundfile.read(BANK / "gm_bank.flac", dtype="float32")
    index = np.load(BANK / "gm_bank_idx.npz")
    pieces = np.split(audio, np.cumsum(index["lens"])[:-1])
    for name, piece in zip(index["names"], pieces, strict=True):
        instrument, variant = str(name).split(":")
        if instrument.startswith("drum-"):
            hits.setdefault(_BANK_ROLES[instrument[5:]], []).append(piece)
        else:
            notes.setdefault(instrument, []).append((int(variant), piece))


def _read_one_shots(folder: Path, hits: dict[str, list[Signal]]) -> None:
    import soundfile

    for role, patterns in _ONE_SHOT_FILES.items():
        for pattern in patterns:
            for path in sorted(folder.glob(f"{pattern}.flac")):
                audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
                mono = audio.mean(axis=1)[:rate]
                peak = np.abs(mono).max()
                if peak > 0:
                    hits.setdefault(role, []).append(repitch(mono / peak, rate / RATE))

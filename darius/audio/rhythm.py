"""How well a tempo fits the onsets of some audio: gathering on the sixteenth grid, and repeating after beats.

Knows evidence for one tempo at a time; which tempo a loop has is decided in `tempo`.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darius.audio.onsets import Envelope, autocorrelation, onset_strength
from darius.audio.waveform import Waveform

ANALYSED_SECONDS = 90.0
_PADDING = 8
"""The spectrum is this much finer than the length demands, so that reading between two bins loses little."""
_EDGE_SECONDS = 0.02
_TRIPLET_TRUST = 0.55
"""Triplet grids count less: the triplet grid of one tempo is the sixteenth grid of 4/3 of it."""
_ONE_ONSET, _MANY_ONSETS = 8.0, 32.0
"""Envelope samples that one onset fills, and that a few do: one onset lies on every grid and proves none."""
_USUAL_BPM, _USUAL_OCTAVES = 115.0, 0.7


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Rhythm:
    """Onsets of the first 90 s.

    Attributes:
      envelope: onset strength, float64 [t].
      rate: envelope samples a second.
      gathering: length of the onsets' circular mean for each frequency of `frequency_step * index`.
      repetition: autocorrelation of the envelope by lag; circular if all of the audio was analysed.
    """

    envelope: Envelope
    rate: float
    gathering: NDArray[np.float64]
    frequency_step: float
    repetition: NDArray[np.float64]
    circular: bool

    @classmethod
    def of(cls, waveform: Waveform, *, circular: bool) -> Rhythm:
        """Args: circular: the audio is a loop, its end meets its beginning."""
        whole = waveform.duration <= ANALYSED_SECONDS
        circular = circular and whole
        heard = waveform.samples[: int(ANALYSED_SECONDS * waveform.rate)]
        envelope, rate = onset_strength(heard, waveform.rate, wrap=circular)
        if not circular:
            # Beginning out of silence, and breaking off, look like onsets that the music may not have.
            edge = round(_EDGE_SECONDS * rate)
            envelope[:edge] = envelope[-edge:] = 0.0
        size = 1 << (_PADDING * len(envelope) - 1).bit_length()
        total = envelope.sum() or 1.0
        return cls(
            envelope=envelope,
            rate=rate,
            gathering=np.abs(np.fft.rfft(envelope, size)) / total,
            frequency_step=rate / size,
            repetition=autocorrelation(envelope, max_lag=len(envelope) - 1, circular=circular),
            circular=circular,
        )

    def concentration(self, grid_hertz: ArrayLike) -> NDArray[np.float64]:
        """As `onsets.grid_concentration`, for grids of so many steps a second."""
        places = np.asarray(grid_hertz, np.float64) / self.frequency_step
        return np.interp(places, np.arange(len(self.gathering)), self.gathering)

    @property
    def trust(self) -> float:
        """0 where there is no onset or only one, 1 where there are several."""
        energy = float(np.square(self.envelope).sum())
        filled = float(self.envelope.sum()) ** 2 / energy if energy else 0.0
        return min(1.0, max(0.0, (filled - _ONE_ONSET) / (_MANY_ONSETS - _ONE_ONSET)))

    def repeats(self, bpm: float) -> float:
        """Mean autocorrelation at 1, 2 and 4 beats, as far as they are inside; 0 to 1."""
        last = len(self.repetition) - 1 if self.circular else 0.75 * len(self.repetition)
        lags = [60.0 / bpm * beats * self.rate for beats in (1, 2, 4)]
        found = [self._near(lag) for lag in lags if lag <= last]
        return max(0.0, sum(found) / len(found)) if found else 0.0

    def _near(self, lag: float) -> float:
        """The best correlation within one envelope sample (3 ms)."""
        here = round(lag)
        return float(self.repetition[max(0, here - 1) : here + 2].max(initial=-1.0))


def grid_fit(rhythm: Rhythm, bpm: ArrayLike) -> NDArray[np.float64]:
    """How well the onsets lie on sixteenths, or else on eighth triplets, of each tempo; 0 to 1."""
    tempi = np.asarray(bpm, np.float64)
    straight = rhythm.concentration(tempi / 15.0)
    triplet = rhythm.concentration(tempi / 20.0)
    return np.maximum(straight, _TRIPLET_TRUST * triplet)


def usual(bpm: float) -> float:
    """How usual a tempo is, 0 to 1: a wide bell around 115 bpm on a logarithmic axis."""
    return math.exp(-0.5 * (math.log2(bpm / _USUAL_BPM) / _USUAL_OCTAVES) ** 2)


def tempo_fit(rhythm: Rhythm, bpm: float) -> float:
    """How well one tempo fits, 0 to about 1.5: grid and repetition together, weighted by how usual the tempo is."""
    return float(grid_fit(rhythm, bpm) + 0.5 * rhythm.repeats(bpm)) * rhythm.trust * usual(bpm)

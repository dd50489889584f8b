"""Resampling of an endless stream, at any ratio, without drift. Knows arrays and rates only.

A stream through soxr gives exactly what one call over the whole would give. But soxr counts time in steps of a fixed
number of bits, so its clock runs wrong by parts in 10^11: hearable as nothing, but not exact. Every so often the stream
is therefore begun anew, at an input sample that falls on an output sample, and far enough back that nothing of the
beginning is heard.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

from darius.audio.resample import Rate
from darius.audio.waveform import Samples

RENEW_AFTER = 2**20
"""Input samples after which a stream is begun anew (22 s at 48 kHz)."""
_SEARCH = 2**15
"""Input samples among which a beginning is looked for."""
_WARM = 4096
"""Input samples, times the ratio of rates where that is above 1, after which a beginning is no longer heard."""
_LOOKAHEAD = 2048
"""Input samples, likewise, that the resampler lags behind at most."""
_CLOSE = 1e-4
"""Output samples by which a new beginning may miss the grid; until there is one as close, the old stream goes on."""


class StreamResampler:
    """Turns a stream into the same at another rate: output m is the input at origin + m * source / target, for ever.

    Args:
      source, target: rates; only their exact ratio counts.
      origin: input samples before output 0; they lead in.
      channels: of the audio.
      renew_after: see `RENEW_AFTER`.
    """

    def __init__(
        self, source: Rate, target: Rate, *, origin: int = 0, channels: int = 2, renew_after: int = RENEW_AFTER
    ) -> None:
        self.ratio = Fraction(target) / Fraction(source)
        self.origin = origin
        self.taken = 0
        """Inputs taken in so far."""
        self.produced = 0
        """Outputs given so far."""
        self._channels, self._renew_after = channels, renew_after
        self._reach = _longer(_WARM, self.ratio)
        self._past = np.zeros((_SEARCH, channels), np.float32)  # the last inputs; silence before the first
        self._stream: Any = None
        self._begun = 0  # the input at which the present stream began
        self._skip = 0  # outputs of the present stream still to be left out

    @property
    def lookahead(self) -> int:
        """Inputs past an output's own place that are enough for it to come out."""
        if self.ratio == 1:
            return 0
        # Below half the rate soxr works in one stage more, and holds back up to half as much again.
        return _longer(_LOOKAHEAD * (2 if self.ratio < Fraction(1, 2) else 1), self.ratio)

    def push(self, samples: Samples) -> Samples:
        """Takes in samples float32 [n, channels]; gives the outputs after those given before, float32 [m, channels]."""
        before = self.taken
        self.taken += len(samples)
        if self.ratio == 1:
            given = samples[max(self.origin - before, 0) :]
        else:
            given = self._resampled(samples)
        self.produced += len(given)
        return given

    def _resampled(self, samples: Samples) -> Samples:
        known = np.concatenate([self._past, samples])
        self._past = known[-(_SEARCH + 2 * self._reach) :]
        if self._stream is None:
            first = self.taken - len(known)
            return self._begin(known, self._aligned(first, 0), given=0)
        given = self._through(samples)
        if self.taken - self._begun > self._renew_after:
            start = self._aligned(self.taken - len(self._past), self.taken - 2 * self._reach)
            if self._miss(start) <= _CLOSE:
                return np.concatenate([given, self._begin(self._past, start, given=self.produced + len(given))])
        return given

    def _begin(self, known: Samples, start: int, *, given: int) -> Samples:
        """A stream from input `start` on (`known` ends with the newest input), and its outputs after those given."""
        import soxr

        ratio = self.ratio
        self._stream = soxr.ResampleStream(
            float(ratio.denominator), float(ratio.numerator), self._channels, dtype="float32", quality="VHQ"
        )
        self._begun = start
        self._skip = given - round((start - self.origin) * ratio)
        return self._through(known[len(known) - (self.taken - start) :])

    def _through(self, samples: Samples) -> Samples:
        heard = self._stream.resample_chunk(np.ascontiguousarray(samples, np.float32))
        left_out = min(self._skip, len(heard))
        self._skip -= left_out
        return np.asarray(heard[left_out:], np.float32)

    def _aligned(self, first: int, last: int) -> int:
        """The input from `first` to `last` that falls nearest to a whole output; the latest of equals."""
        place = float((first - self.origin) * self.ratio % 1) + np.arange(last - first + 1) * float(self.ratio % 1)
        miss = np.abs(place - np.round(place))
        return first + int(np.flatnonzero(miss <= max(float(miss.min()), 1e-9))[-1])

    def _miss(self, start: int) -> float:
        place = (start - self.origin) * self.ratio
        return float(abs(place - round(place)))


def _longer(samples: int, ratio: Fraction) -> int:
    """A length of input at this ratio: filters are as long in the slower of both rates."""
    return math.ceil(max(Fraction(samples), samples / ratio))

"""An audio file cut into clips, each as the codec and as the style model hear it. Knows samples; knows no models.

Source: the featuriser of Magenta RealTime v1's finetuning (`magenta_rt.finetune.data`): clips of 30 s, or a whole file
that is shorter; peaks at -1 dBFS; with the quiet filter, the loudest moment of every 5 s is above -25 dB.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np

from darius.audio import files
from darius.audio.files import Header
from darius.audio.resample import to_rate
from darius.audio.waveform import Samples, Waveform
from darius.errors import BadAudio, InvalidOption

CLIP_SECONDS = 30.0
SHORTEST_SECONDS = 2.0
"""The targets of one training window."""
TAIL_SECONDS = 12.0
"""What is left behind a file's last whole clip is kept if a window with full context fits into it."""
PEAK = 10 ** (-1 / 20)

_QUIET_SECONDS, _QUIET_STRIDE, _QUIET_DB = 5.0, 1.0, -25.0
_QUIET_HOP, _QUIET_FRAME = 512 / 22050, 2048 / 22050  # seconds, of the moments whose level counts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cutting:
    """How audio becomes clips.

    Attributes:
      min_clip_seconds: shorter files are left out.
      filter_quiet: leave clips with quiet stretches out.
      style_rate: Hz at which the style model listens.
      codec_rate: Hz at which the codec listens.
    """

    min_clip_seconds: float = SHORTEST_SECONDS
    filter_quiet: bool = False
    style_rate: int = 16_000
    codec_rate: int = 48_000

    def check(self) -> None:
        """Raises InvalidOption."""
        if not SHORTEST_SECONDS <= self.min_clip_seconds <= CLIP_SECONDS:
            raise InvalidOption(
                f"Clips of at least {self.min_clip_seconds:g} s are not possible.",
                f"Give --min-clip-seconds from {SHORTEST_SECONDS:g} to {CLIP_SECONDS:g}.",
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Span:
    """One clip's place in its file, in samples at the file's rate."""

    index: int
    start: int
    frames: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """One clip. `refused` says in a few words why it is left out; then there is no sound in it.

    Attributes:
      codec: for the codec, float32 [n, 2].
      style: for the style model.
      audio_sha256: of the file's own samples, whatever format they came in.
      seconds: its length.
    """

    audio_sha256: str
    seconds: float
    codec: Samples | None = None
    style: Waveform | None = None
    refused: str = ""


def spans(header: Header, name: str, cutting: Cutting) -> list[Span]:
    """The clips of a file.

    Raises:
      BadAudio: it is too short for one.
    """
    whole = round(CLIP_SECONDS * header.rate)
    if header.frames < cutting.min_clip_seconds * header.rate:
        raise BadAudio(
            f"'{name}' is only {header.duration:.3g} s long, and clips have at least {cutting.min_clip_seconds:g} s."
        )
    if header.frames <= whole:
        return [Span(index=0, start=0, frames=header.frames)]
    starts = range(0, header.frames - whole + 1, whole)
    found = [Span(index=i, start=start, frames=whole) for i, start in enumerate(starts)]
    rest = header.frames - len(found) * whole
    if rest >= max(TAIL_SECONDS, cutting.min_clip_seconds) * header.rate:
        found.append(Span(index=len(found), start=len(found) * whole, frames=rest))
    return found


def read_clip(path: Path, span: Span, cutting: Cutting) -> Clip:
    """One clip of a file.

    Raises:
      BadAudio: the file is damaged there.
    """
    heard = files.load_part(path, span.start, span.frames)
    digest = hashlib.sha256(np.ascontiguousarray(heard.samples).data).hexdigest()
    if heard.peak < files.SILENCE:
        return Clip(audio_sha256=digest, seconds=heard.duration, refused="silent")
    stereo = heard.stereo()
    codec = to_rate(stereo, cutting.codec_rate)
    style = codec if cutting.style_rate == cutting.codec_rate else to_rate(stereo, cutting.style_rate)
    if cutting.filter_quiet and style.duration >= _QUIET_SECONDS and not loud_enough(style):
        return Clip(audio_sha256=digest, seconds=heard.duration, refused="quiet")
    return Clip(audio_sha256=digest, seconds=heard.duration, codec=normalised(codec).samples, style=normalised(style))


def normalised(waveform: Waveform) -> Waveform:
    """The waveform with its peak at -1 dBFS; silence stays as it is."""
    peak = waveform.peak
    return Waveform(waveform.samples * np.float32(PEAK / peak), waveform.rate) if peak > 0 else waveform


def loud_enough(waveform: Waveform) -> bool:
    """Whether every stretch of 5 s, from each second on, has a moment of -25 dB or more (RMS of 93 ms)."""
    stretch, stride = round(_QUIET_SECONDS * waveform.rate), round(_QUIET_STRIDE * waveform.rate)
    peaks = [_peak_rms(waveform.samples[at : at + stretch], waveform.rate) for at in range(0, len(waveform), stride)]
    return min(peaks) >= 10 ** (_QUIET_DB / 20)


def _peak_rms(samples: Samples, rate: int) -> float:
    """The largest RMS of frames centred every hop; beyond the edges is silence. The louder channel counts."""
    hop, frame = round(_QUIET_HOP * rate), round(_QUIET_FRAME * rate)
    energy = np.concatenate([np.zeros((1, samples.shape[1])), np.cumsum(np.square(samples, dtype=np.float64), axis=0)])
    starts = np.arange(0, len(samples) + 1, hop) - frame // 2
    sums = energy[np.minimum(starts + frame, len(samples))] - energy[np.maximum(starts, 0)]
    return float(np.sqrt(np.maximum(sums, 0).max() / frame))

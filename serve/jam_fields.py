"""Jams as clients ask for them: fields of requests and of socket messages, and what they stand for. Knows no route."""

from __future__ import annotations

import dataclasses
import math
import secrets
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from darius.audio.bars import MAX_BPM, MIN_BPM, exact_bpm
from darius.jam import Dials, JamSettings
from darius.jam.settings import RATES
from darius.style.mix import StyleRequest, WeightedText
from serve.forms import Fields, Whole, numbers, weighted_texts

MODEL_RATE = 48_000
OVERLAP_SECONDS = Fraction(1, 25)
"""What a chunk of a stream without bars repeats at its front, for clients that overlap and add."""
FRAME_RATE = 25
DRUMS = {"on": True, "off": False, "auto": None}
STREAM_STYLE = "warmup"
"""Words of a stream without bars for which nothing is said."""


def _joined(value: Any) -> Any:
    """A list is as good as its entries with commas between them. Half characters, which JSON can hold, become "?"."""
    if isinstance(value, list) and all(isinstance(entry, str | int | float) for entry in value):
        value = ",".join(map(str, value))
    return str(value).encode("utf-8", "replace").decode() if isinstance(value, str | int | float) else value


def _tempo(value: Any) -> Any:
    """The decimal text of a tempo, since it is exact and a float is not."""
    text = str(value).strip()
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if math.isnan(number) or len(text) > 64:
        raise PydanticCustomError("tempo", "it should be a number")
    # What is far out of range as a float is not made a fraction, which could have a billion digits.
    exact_bpm(text if MIN_BPM <= number <= MAX_BPM else number)
    return text


Csv = Annotated[str, BeforeValidator(_joined), Field(max_length=8000)]
Weight = Annotated[float, Field(ge=0, le=1000)]
Tempo = Annotated[str, BeforeValidator(_tempo), WithJsonSchema({"type": "number", "minimum": 20, "maximum": 400})]
SessionId = Annotated[str, BeforeValidator(_joined), Field(min_length=1, max_length=128)]
NewSessionId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:@=+-]{1,128}$")]
Seed = Annotated[Whole, Field(ge=0, lt=2**32)]


class Steering(Fields):
    """What can be steered while a jam plays; what is not given stays as it is."""

    styles: Annotated[Csv | None, Field(description="Words with commas between them.")] = None
    style_weights: Annotated[Csv | None, Field(description="Their weights, by position; 1 where one is missing.")] = (
        None
    )
    loop_weight: Annotated[Weight | None, Field(description="Weight of the loop's own style.")] = None
    mean: Annotated[Weight | None, Field(description="Weight of a finetune's mean style.")] = None
    centroid_weights: Annotated[Csv | None, Field(description="Weights of a finetune's centroids.")] = None
    guidance_weight: Annotated[float | None, Field(ge=0, le=100, description="How strictly style is followed.")] = None
    temperature: Annotated[float | None, Field(ge=0, le=100, description="0 always takes the likeliest.")] = None
    topk: Annotated[Whole | None, Field(ge=0, le=65536, description="Codes to choose among; 0 for all.")] = None
    drums: Annotated[
        Literal["on", "off", "auto"] | None, Field(description="Whether drums play; for models that support it.")
    ] = None
    notes_guidance: Annotated[
        float | None, Field(ge=-1, le=7, description="How strictly notes are followed; for models that support it.")
    ] = None
    drums_guidance: Annotated[
        float | None, Field(ge=-1, le=7, description="How strictly drums are followed; for models that support it.")
    ] = None

    def dials(self, base: Dials) -> Dials:
        """The dials, changed by what is given."""
        given: dict[str, Any] = {
            "guidance": self.guidance_weight,
            "temperature": self.temperature,
            "top_k": self.topk,
            "notes_guidance": self.notes_guidance,
            "drums_guidance": self.drums_guidance,
        }
        given = {name: value for name, value in given.items() if value is not None}
        if self.drums is not None:
            given["drums"] = DRUMS[self.drums]
        return dataclasses.replace(base, **given)

    def style(self, base: StyleRequest) -> StyleRequest:
        """The style, changed by what is given.

        Raises:
          InvalidOption: an entry of a list is not a number, or negative.
        """
        texts = base.texts
        if self.styles is not None:
            texts = weighted_texts(self.styles, self.style_weights)
        elif self.style_weights is not None:
            texts = weighted_texts(",".join(entry.text for entry in texts), self.style_weights)
        return StyleRequest(
            texts=texts,
            loop_weight=base.loop_weight if self.loop_weight is None else self.loop_weight,
            mean=base.mean if self.mean is None else self.mean,
            centroids=base.centroids
            if self.centroid_weights is None
            else numbers("centroid_weights", self.centroid_weights),
        )


class Update(Steering):
    """What /jam/update and the message `update` change."""

    use_current_mix_as_style: Annotated[
        bool, Field(description="The loop weight is for what is heard now, instead of the loop.")
    ] = False
    style_ramp_seconds: Annotated[
        float | None, Field(ge=0, le=600, description="Music over which the new style glides in.")
    ] = None


class InBars(Steering):
    """A jam in bars, as it is started."""

    bpm: Annotated[Tempo, Field(description="Tempo of the loop; its decimals count exactly.")]
    beats_per_bar: Annotated[Whole, Field(ge=1, le=16)] = 4
    bars_per_chunk: Annotated[Whole, Field(ge=1, le=64)] = 4
    seed: Annotated[Seed | None, Field(description="The same seed gives the same music.")] = None
    style_ramp_seconds: Annotated[float, Field(ge=0, le=600, description="Music over which a new style glides in.")] = (
        8.0
    )
    buffer_ahead: Annotated[
        Whole, Field(ge=1, le=16, description="Chunks that the client holds beyond the one that plays.")
    ] = 1

    def settings(self, loop_rate: int, *, rate: int | None, loudness: str, headroom_db: float) -> JamSettings:
        """How the jam is cut; at the loop's rate unless another is wanted.

        Raises:
          InvalidOption: something is out of range.
        """
        natural = loop_rate if RATES[0] <= loop_rate <= RATES[1] else MODEL_RATE
        return JamSettings(
            bpm=self.bpm,
            bars_per_chunk=self.bars_per_chunk,
            beats_per_bar=self.beats_per_bar,
            rate=rate or natural,
            loudness=loudness,  # type: ignore[arg-type]  # checked there
            headroom_db=headroom_db,
            style_ramp_seconds=self.style_ramp_seconds,
        )


class JamStart(InBars):
    """Form of /jam/start, besides the file loop_audio."""

    target_sample_rate: Annotated[
        Whole | None,
        Field(ge=RATES[0], le=RATES[1], description="Of the audio that comes back; the loop's by default."),
    ] = None
    loudness_mode: Annotated[str, Field(description="auto, lufs, rms or none.")] = "auto"
    loudness_headroom_db: Annotated[float, Field(ge=0, le=24)] = 1.0
    session_id: Annotated[NewSessionId | None, Field(description="Chosen by the client; 409 if in use.")] = None


class SocketInBars(InBars):
    """Parameters of the message `start` in bar mode."""

    target_sr: Annotated[Whole | None, Field(ge=RATES[0], le=RATES[1])] = None
    loudness_mode: str = "none"
    headroom_db: Annotated[float, Field(ge=0, le=24)] = 1.0
    pace: Literal["realtime", "asap"] = "realtime"


class SocketStream(Steering):
    """Parameters of the message `start` in rt mode."""

    pace: Literal["realtime", "asap"] = "realtime"
    max_decode_frames: Annotated[Whole, Field(ge=1, le=50)] = 50
    overlap: bool = True
    style_ramp_seconds: Annotated[float, Field(ge=0, le=600)] = 8.0
    seed: Seed | None = None

    def settings(self) -> JamSettings:
        """How the stream is cut."""
        return JamSettings(
            bpm=None,
            rate=MODEL_RATE,
            loudness="none",
            chunk_seconds=Fraction(self.max_decode_frames, FRAME_RATE),
            overlap_seconds=OVERLAP_SECONDS if self.overlap else Fraction(0),
            style_ramp_seconds=self.style_ramp_seconds,
        )


class SocketUpdate(Update):
    """The message `update`."""

    pace: Literal["realtime", "asap"] | None = None
    max_decode_frames: Annotated[Whole | None, Field(ge=1, le=50)] = None


def seed_of(seed: int | None) -> int:
    """The seed, or a new one."""
    return secrets.randbits(32) if seed is None else seed


def neutral(text: str = "") -> StyleRequest:
    """The style that a jam begins from: these words, and the loop."""
    return StyleRequest(texts=(WeightedText(text),) if text else ())

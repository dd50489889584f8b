"""What the model sounds like now: it continues a few clips of the dataset, and silence in the result is counted.

Knows the engine and sounds; knows no training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from darius import session
from darius.audio.waveform import Waveform
from darius.context import played_sound
from darius.depthformer.config import DepthformerConfig
from darius.depthformer.decode import Decoder
from darius.parts import Parts
from darius.session import Knobs
from darius.tokens import Codes
from darius.v1 import V1Engine
from finetune.records import STYLE_CLIP_SECONDS, Example

CHUNKS = 2
"""Chunks that are played: 4 seconds."""
QUIET = 10 ** (-60 / 20)
"""A frame whose root mean square is below this is silent: -60 dBFS."""
TOP_K, TEMPERATURE, GUIDANCE = 40, 1.1, 5.0


class Sample(NamedTuple):
    """A clip's continuation as the model plays it, and as it really goes on; the shares of silent frames in both."""

    played: Waveform
    real: Waveform
    silent: float
    real_silent: float


class Player:
    """Plays with the current weights; between samples it holds no weights on the device.

    Args:
      seed: the same weights and seed give the same sample.
    """

    def __init__(self, config: DepthformerConfig, parts: Parts, device: Any, *, seed: int) -> None:
        self._config, self._device, self._seed = config, device, seed
        self._codec = parts.load_codec(device, None)
        self._prefix = parts.prefix_frames
        self._programs: Decoder | None = None

    def play(self, params: Mapping[str, Any], examples: Sequence[Example]) -> list[Sample]:
        """Continues each clip from its beginning, with flat host parameters; they are compiled for once."""
        if self._programs is None:
            decoder = Decoder(self._config, params, device=self._device)
            self._programs = decoder.with_params(None)
        else:
            decoder = self._programs.with_params(params)
        engine = V1Engine(decoder=decoder, codec=self._codec, prefix_frames=self._prefix)
        return [self._play(engine, example) for example in examples]

    def _play(self, engine: V1Engine, example: Example) -> Sample:
        codes = np.asarray(example.acoustic_tokens, np.int32)[:, : engine.levels]
        length = CHUNKS * engine.chunk_frames
        heard = min(engine.memory_frames, max(len(codes) - length, 0))
        row = min(int(heard / engine.frame_rate / STYLE_CLIP_SECONDS), len(example.style_tokens) - 1)
        knobs = Knobs(style=example.style_tokens[row], guidance=GUIDANCE, temperature=TEMPERATURE, top_k=TOP_K)
        streams = engine.begin(codes[:heard], self._seed, knobs)
        played: list[NDArray[np.float32]] = []
        for _ in range(CHUNKS):
            samples, _, streams = session.advance(engine, streams, [knobs])
            played.append(samples[0])
        sound = Waveform(np.concatenate(played), engine.codec.sample_rate)
        real = _sound(engine, codes[heard : heard + length])
        return Sample(sound, real, silent_share(sound), silent_share(real))


def _sound(engine: V1Engine, codes: Codes) -> Waveform:
    return played_sound(engine, codes[: len(codes) // engine.chunk_frames * engine.chunk_frames])


def silent_share(sound: Waveform, frame_seconds: float = 0.04) -> float:
    """The share of a sound's frames below QUIET; 1 for no sound at all."""
    frame = round(frame_seconds * sound.rate)
    whole = len(sound) // frame * frame
    if not whole:
        return 1.0
    power = np.mean(np.square(sound.samples[:whole].reshape(-1, frame * sound.channels).astype(np.float64)), axis=1)
    return float(np.mean(np.sqrt(power) < QUIET))

"""The style model of `tiny`: words and sounds to one 768-d space and its RVQ codes, in numpy alone.

Knows its own weights; knows no language model. Trained by `recipes/tiny/style.py`. Inside it is a 64-d model; a fixed
orthonormal projection (the first rows of a cosine transform) widens it to the 768 dimensions of Magenta RealTime.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darius.audio.waveform import Waveform
from darius.errors import BadAudio, BadCheckpoint
from darius.style.features import audio_features, mel_frames, text_features
from darius.style.interface import STYLE_DIM, Embedding
from darius.style.quantize import rvq_encode

Float = NDArray[np.float32]

_UNREACHABLE = 1e3
"""Coordinate of codes that a level does not have: no style is ever nearest to them."""

WORDS = 0.25
"""Coordinate of a text in the dimension beside the core, where sounds have 0: a mixture holds `WORDS` times the share
of it that was asked for in words."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TinyStyleConfig:
    """Sizes of the model.

    Attributes:
      core_dim: dimensions in which texts and sounds meet.
      text_buckets: rows of the table of text pieces.
      level_sizes: codes that each RVQ level really uses, at most 1,024.
      words_level: the level that says in even steps what share of the style was asked for in words, and nothing else
        (the levels around it pass it by); None: no level does, and embeddings do not tell words from sounds.
    """

    core_dim: int = 64
    text_buckets: int = 8192
    level_sizes: tuple[int, ...] = (64, 64, 64, 128, 128, 8, 128, 256, 256, 256, 256, 256)
    words_level: int | None = 5

    @property
    def width(self) -> int:
        """Length of what the codebooks quantise: the core, and the coordinate of words where there is one."""
        return self.core_dim + (self.words_level is not None)

    @property
    def learned_sizes(self) -> tuple[int, ...]:
        """Codes of the levels that come from data."""
        return tuple(size for level, size in enumerate(self.level_sizes) if level != self.words_level)

    @classmethod
    def from_dict(cls, fields: Mapping[str, object]) -> TinyStyleConfig:
        """The inverse of `to_dict`.

        Raises:
          BadCheckpoint: a field is missing or unknown.
        """
        try:
            known = {"words_level": None} | dict(fields)
            known["level_sizes"] = tuple(known["level_sizes"])  # type: ignore[arg-type]
            return cls(**known)  # type: ignore[arg-type]
        except (KeyError, TypeError):
            raise BadCheckpoint("The style model's configuration cannot be read.", "Fetch the model again.") from None

    def to_dict(self) -> dict[str, object]:
        """Fields as JSON can hold them."""
        return dataclasses.asdict(self) | {"level_sizes": list(self.level_sizes)}


def projection(core_dim: int, dim: int = STYLE_DIM) -> Float:
    """Orthonormal rows, float32 [core_dim, dim]: cosines of 1, 2, 3 ... half periods."""
    k, n = np.arange(1, core_dim + 1)[:, None], np.arange(dim)
    return np.asarray(np.sqrt(2 / dim) * np.cos(np.pi / dim * (n + 0.5) * k), np.float32)


def unit(x: NDArray[np.float32]) -> Float:
    """Vectors scaled to length 1; a zero vector stays zero."""
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-9), np.float32)


def layers(params: Mapping[str, Float], name: str, x: Float) -> Float:
    """A stack of dense layers `name/0`, `name/1`, ... with x * sigmoid(x) between them."""
    depth = sum(key.startswith(f"{name}/") and key.endswith("/kernel") for key in params)
    for i in range(depth):
        x = x @ params[f"{name}/{i}/kernel"] + params[f"{name}/{i}/bias"]
        if i < depth - 1:
            x = x / (1 + np.e**-x)  # an operator, so that training traces this same function
    return x


class TinyStyle:
    """Text and audio encoders and the RVQ of the embedded model; a `StyleModel`.

    The core of an embedding has length 1. Unknown words are read by their letters; a text without a word asks for
    nothing: its embedding is zero, the centre of the space, and in a mixture it leaves the others as they are.
    """

    dim = STYLE_DIM

    def __init__(self, config: TinyStyleConfig, params: Mapping[str, ArrayLike]) -> None:
        """params: float arrays by name, as `load` reads them.

        Raises:
          BadCheckpoint: a tensor is missing.
        """
        self.config = config
        self.codebooks: Float  # [levels, 1024, width]; what a level does not have is out of reach
        self._params = {name: np.asarray(value, np.float32) for name, value in params.items()}
        self._projection = projection(config.width)
        try:
            self.codebooks = _codebooks(config, self._params["codes"])
            self._table = self._params["text/table"]
        except KeyError as error:
            raise BadCheckpoint(f"The style model has no tensor {error.args[0]!r}.", "Fetch the model again.") from None

    def embed_text(self, texts: Sequence[str]) -> Float:
        """Embeddings of texts, float32 [len(texts), 768], each on its own; zero for a text without a word."""
        # projected one by one: a matrix product of several rows rounds differently
        rows = [self.core_text(text) @ self._projection for text in texts]
        return np.stack(rows) if rows else np.zeros((0, self.dim), np.float32)

    def embed_audio(self, waveform: Waveform) -> Embedding:
        """The embedding of a whole waveform, float32 [768], length 1.

        Raises:
          BadAudio: the waveform holds no samples, or a sample is not a finite number.
        """
        if not len(waveform):
            raise BadAudio("There is no sound to take a style from: the audio is empty.", "Use a longer file.")
        if not np.isfinite(waveform.samples).all():
            raise BadAudio("The audio holds samples that are not finite numbers.", "Export the file again.")
        return self.core_audio(audio_features(*mel_frames(waveform))) @ self._projection

    def tokenize(self, embedding: ArrayLike) -> NDArray[np.int32]:
        """RVQ codes of embeddings [..., 768], int32 [..., 12]. Of the core its direction counts, not its length."""
        return self.tokenize_core(np.asarray(embedding, np.float32) @ self._projection.T)

    def tokenize_core(self, core: Float) -> NDArray[np.int32]:
        """RVQ codes of what `core_text` and `core_audio` give, or of weighted averages of it: int32 [..., 12]."""
        size = self.config.core_dim
        return rvq_encode(self.codebooks, np.concatenate([unit(core[..., :size]), core[..., size:]], axis=-1))

    def core_text(self, text: str) -> Float:
        """One text, float32 [width]: a weighted mean of its pieces (each brings its own weight), then layers."""
        pieces = text_features(text, self.config.text_buckets)
        if not len(pieces):
            return np.zeros(self.config.width, np.float32)
        rows = self._table[pieces]
        weights = np.exp(rows[:, -1:] - rows[:, -1].max())
        return self._widened(self._centred("text", (rows[:, :-1] * weights).sum(axis=0) / weights.sum()), WORDS)

    def core_audio(self, features: Float) -> Float:
        """Audio features [..., features] to float32 [..., width]."""
        scaled = (features - self._params["audio/mean"]) / self._params["audio/scale"]
        return self._widened(self._centred("audio", np.clip(scaled, -5, 5)), 0.0)

    def _widened(self, core: Float, words: float) -> Float:
        """With the coordinate of words, where the model has one."""
        more = self.config.width - self.config.core_dim
        return np.concatenate([core, np.full((*core.shape[:-1], more), words, np.float32)], axis=-1)

    def _centred(self, name: str, x: Float) -> Float:
        """Through the layers, without the mean of that kind, so that words and sounds share one space and its codes.

        Contrastive training alone leaves texts and sounds in two separate cones (Liang et al. 2022, "Mind the gap").
        """
        return unit(unit(layers(self._params, name, x)) - self._params[f"{name}/centre"])


def _codebooks(config: TinyStyleConfig, learned: Float) -> Float:
    """Codebooks float32 [levels, 1024, width] from the learned codes of all levels, one below the other."""
    books = iter(np.split(learned, np.cumsum(config.learned_sizes)[:-1]))
    made = np.full((len(config.level_sizes), 1024, config.width), _UNREACHABLE, np.float32)
    for level, size in enumerate(config.level_sizes):
        made[level, :size] = 0.0
        if level == config.words_level:
            made[level, :size, -1] = WORDS * np.linspace(0, 1, size)
        else:
            made[level, :size, : config.core_dim] = next(books)
    return made


def load(path: str | Path) -> TinyStyle:
    """The style model of a safetensors file, its configuration in the file's metadata.

    Raises:
      BadCheckpoint: the file is absent, damaged, or not a style model.
    """
    from darius.checkpoints import safetensors_io

    config = TinyStyleConfig.from_dict(safetensors_io.metadata(path).get("config", {}))
    return TinyStyle(config, safetensors_io.load(path))

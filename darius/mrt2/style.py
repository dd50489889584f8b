"""The style model of Magenta RealTime 2: the package's MusicCoCa on LiteRT, safe to share among threads.

Its words and codes are not those of v1. Knows no language model.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darius.audio.waveform import Waveform
from darius.errors import BadAudio, BadCheckpoint
from darius.mrt2.package import module
from darius.style.interface import STYLE_DIM, Embedding


class MusicCoCa2:
    """A `StyleModel` around the package's; one call at a time, because its interpreters hold their inputs.

    Args:
      model: a `magenta_rt.musiccoca.MusicCoCaBase`.
    """

    dim = STYLE_DIM

    def __init__(self, model: Any) -> None:
        self._model = model
        self._waveform = module("audio").Waveform
        self._lock = threading.Lock()

    def embed_text(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings of texts, float32 [len(texts), 768]."""
        with self._lock:
            return np.asarray(self._model.embed_batch_text(list(texts)), np.float32)

    def embed_audio(self, waveform: Waveform) -> Embedding:
        """The mean embedding of a waveform's 10-s clips, float32 [768].

        Raises:
          BadAudio: the waveform holds no samples.
        """
        if not len(waveform):
            raise BadAudio("The audio for the style holds no samples.", "Give a loop or a style file with sound in it.")
        heard = self._waveform(waveform.samples, waveform.rate)
        with self._lock:
            return np.asarray(self._model.embed_batch_audio([heard])[0], np.float32)

    def tokenize(self, embedding: NDArray[np.float32]) -> NDArray[np.int32]:
        """RVQ codes of embeddings [..., 768], int32 [..., 12]."""
        with self._lock:
            return np.asarray(self._model.tokenize(np.asarray(embedding, np.float32)), np.int32)


def load(folder: Path) -> MusicCoCa2:
    """MusicCoCa of a release's folder, every file opened.

    Raises:
      BadCheckpoint: a file is missing or damaged.
      MissingDependency: the package, or what it runs the files on, is not installed.
    """
    musiccoca = module("musiccoca")
    try:
        return MusicCoCa2(musiccoca.MusicCoCa(resource_dir=folder, lazy=False))
    except (OSError, RuntimeError, ValueError) as error:
        raise BadCheckpoint(
            f"The style model in {folder} cannot be read ({error}).", "Fetch the model again: darius models pull"
        ) from error

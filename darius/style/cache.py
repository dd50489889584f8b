"""Texts embedded once: a style model that remembers the last texts it was asked for. Knows no network."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from darius.errors import InvalidOption
from darius.style.interface import Embedding, StyleModel

if TYPE_CHECKING:
    from darius.audio.waveform import Waveform


class CachedStyle:
    """A `StyleModel` around another, with its text embeddings remembered, least recently used out first.

    The cache belongs to this value: another model, or another wrapper of the same one, shares nothing with it.
    Safe to use from several threads; two that ask for the same new text may both embed it.

    Args:
      model: the style model that does the work.
      capacity: how many texts are kept (768 floats are 3 KB a text).

    Raises:
      InvalidOption: the capacity is below 1.
    """

    def __init__(self, model: StyleModel, *, capacity: int = 512) -> None:
        if capacity < 1:
            raise InvalidOption(f"A text cache of {capacity} entries can hold nothing.", "Use a capacity of 1 or more.")
        self.model = model
        self.capacity = capacity
        self._entries: OrderedDict[str, Embedding] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.model.dim

    def __len__(self) -> int:
        """How many texts are remembered."""
        return len(self._entries)

    def embed_text(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings of some texts, float32 [len(texts), dim]; only unknown ones reach the model, in one call."""
        found = self._recall(texts)
        missing = [text for text in dict.fromkeys(texts) if text not in found]
        if missing:
            fresh = dict(zip(missing, self.model.embed_text(missing), strict=True))
            self._remember(fresh)
            found |= fresh
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        return np.stack([found[text] for text in texts])

    def embed_audio(self, waveform: Waveform) -> Embedding:
        """The embedding of a waveform, float32 [dim], never remembered."""
        return self.model.embed_audio(waveform)

    def tokenize(self, embedding: NDArray[np.float32]) -> NDArray[np.int32]:
        """RVQ codes of an embedding [..., dim], int32 [..., levels]."""
        return self.model.tokenize(embedding)

    def _recall(self, texts: Sequence[str]) -> dict[str, Embedding]:
        with self._lock:
            found = {text: self._entries[text] for text in texts if text in self._entries}
            for text in found:
                self._entries.move_to_end(text)
        return found

    def _remember(self, fresh: dict[str, Embedding]) -> None:
        with self._lock:
            for text, embedding in fresh.items():
                self._entries[text] = np.array(embedding, np.float32)
                self._entries.move_to_end(text)
            while len(self._entries) > self.capacity:
                self._entries.popitem(last=False)

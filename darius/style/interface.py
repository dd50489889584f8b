"""What every style model can do: words and audio -> one embedding -> RVQ codes. Knows no model.

Source: MusicCoCa in Magenta RealTime v1: 768-d embeddings of text and audio in one space, 12 x 1,024 RVQ codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from darius.audio.waveform import Waveform

Embedding = NDArray[np.float32]
"""A place in the style space, float32 [dim]; raw, not normalised to unit length."""

STYLE_DIM = 768
STYLE_LEVELS = 12
STYLE_CODEBOOK_SIZE = 1024


@runtime_checkable
class StyleModel(Protocol):
    """Text and audio in one space, and the codes that the language model reads."""

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        ...

    def embed_text(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings of some texts, float32 [len(texts), dim]; each text on its own, whatever stands beside it."""
        ...

    def embed_audio(self, waveform: Waveform) -> Embedding:
        """The embedding of a whole waveform, float32 [dim].

        Raises:
          BadAudio: the waveform holds no samples.
        """
        ...

    def tokenize(self, embedding: NDArray[np.float32]) -> NDArray[np.int32]:
        """RVQ codes of an embedding [..., dim], int32 [..., levels]."""
        ...

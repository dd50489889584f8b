"""One style out of many: words, the loop, other audio, mean and centroids, with weights that are normalised.

Knows embeddings and weights; knows no network, no file and no wire format.
Source: MusicCoCa's use in Magenta RealTime v1: a style is the weighted average of raw embeddings.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from darius.errors import InvalidOption
from darius.style.interface import Embedding, StyleModel
from darius.style.steering import Assets

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?|[+-]?(nan|inf)", re.IGNORECASE | re.ASCII)


class WeightedText(NamedTuple):
    """Words and how much they count against everything else in the mix."""

    text: str
    weight: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class StyleRequest:
    """What the music should be like, in words and weights.

    Attributes:
      texts: words with their weights.
      loop_weight: weight of the loop's own embedding, where there is a loop.
      mean: weight of a finetune's mean style, where the finetune has one.
      centroids: weights of a finetune's centroids in their order; missing ones are 0, surplus ones are ignored.

    Raises:
      InvalidOption: a weight is negative, infinite or not a number.
    """

    texts: tuple[WeightedText, ...] = ()
    loop_weight: float = 1.0
    mean: float = 0.0
    centroids: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for text, weight in self.texts:
            check_weight(weight, f'style "{text}"')
        check_weight(self.loop_weight, "loop")
        check_weight(self.mean, "mean style")
        for index, weight in enumerate(self.centroids):
            check_weight(weight, f"centroid {index + 1}")


def check_weight(weight: float, what: str) -> float:
    """The weight itself.

    Raises:
      InvalidOption: it is negative, infinite or not a number.
    """
    if not math.isfinite(weight) or weight < 0:
        raise InvalidOption(
            f"The weight of the {what} is {weight}, but a weight is a number from 0 up.",
            "Use 1 for the usual share and 0 to leave it out.",
        )
    return float(weight)


def parse(style: str) -> WeightedText:
    """Words with an optional weight: "acid house", "acid house:0.5".

    What follows the last colon is the weight if it is a number; any other colon belongs to the words.

    Raises:
      InvalidOption: no words, or a weight that is negative, infinite or not a number.
    """
    head, colon, tail = style.rpartition(":")
    weighted = bool(colon) and _NUMBER.fullmatch(tail.strip()) is not None
    text = (head if weighted else style).strip()
    if not text:
        raise InvalidOption(f'The style "{style}" has no words.', 'Write it like "acid house" or "acid house:0.5".')
    return WeightedText(text, check_weight(float(tail), f'style "{text}"') if weighted else 1.0)


def parse_list(styles: str) -> tuple[WeightedText, ...]:
    """A comma-separated list of `parse`; blank entries are left out."""
    return tuple(parse(entry) for entry in styles.split(",") if entry.strip())


def pair(texts: Sequence[str], weights: Sequence[float]) -> tuple[WeightedText, ...]:
    """Words and weights by position; blank words go with their weight, a missing weight is 1, surplus is ignored.

    Raises:
      InvalidOption: the weight of words that stay is negative, infinite or not a number.
    """
    padded = [*weights, *[1.0] * len(texts)]
    pairs = zip(texts, padded, strict=False)
    return tuple(
        WeightedText(text.strip(), check_weight(weight, f'style "{text.strip()}"'))
        for text, weight in pairs
        if text.strip()
    )


def mix(components: Iterable[tuple[NDArray[np.float32], float]]) -> Embedding | None:
    """The weighted average of embeddings float32 [dim], weights normalised to sum 1.

    Returns:
      float32 [dim], or None when nothing has weight: the neutral style, which the language model reads as "no style".

    Raises:
      InvalidOption: a weight is negative, infinite or not a number.
    """
    weighted = [(embedding, check_weight(weight, "style")) for embedding, weight in components]
    heaviest = max((weight for _, weight in weighted), default=0.0)
    if heaviest == 0.0:
        return None
    # Divided by the heaviest first: the sum of very large or very small weights stays a usable number.
    shares = np.array([weight / heaviest for _, weight in weighted])
    stacked = np.stack([np.asarray(embedding, np.float64) for embedding, _ in weighted])
    return np.asarray((shares / shares.sum()) @ stacked, np.float32)


def style_vector(
    request: StyleRequest,
    model: StyleModel,
    *,
    loop: NDArray[np.float32] | None = None,
    audio: Iterable[tuple[NDArray[np.float32], float]] = (),
    assets: Assets | None = None,
) -> Embedding | None:
    """The one embedding that a request asks for.

    Args:
      request: words and weights.
      model: embeds the words; wrap it in `cache.CachedStyle` to embed each text once.
      loop: the loop's embedding [dim], weighted by `request.loop_weight`.
      audio: further embeddings with their weights (style audio files).
      assets: a finetune's mean and centroids; weights of what it lacks are ignored.

    Returns:
      float32 [dim], or None for the neutral style (nothing has weight).
    """
    components = list(audio)
    if loop is not None:
        components.append((loop, request.loop_weight))
    texts = [entry for entry in request.texts if entry.weight > 0]
    if texts:
        embeddings = model.embed_text([entry.text for entry in texts])
        components.extend(zip(embeddings, (entry.weight for entry in texts), strict=True))
    if assets is not None:
        components.extend(assets.components(request.mean, request.centroids))
    return mix(components)

"""Models of random weights in the right shape: to measure speed, and to try all but the music, without a download.

The arithmetic does not depend on the values. Knows sizes; knows no files but those of tiny's style model.
"""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from darius import hub, parts
from darius.errors import InvalidOption
from darius.hub.names import EMBEDDED
from darius.parts import Parts
from darius.style.steering import Assets
from darius.v1 import V1Engine

if TYPE_CHECKING:
    from darius.depthformer.config import DepthformerConfig
    from darius.depthformer.decode import DecodePlan, DType
    from darius.engine import Model

PREFIX = "random:"
SIZES = ("tiny", "base", "large")
MRT2_SIZES = ("mrt2-small", "mrt2-base", "mrt2-tiny")
"""The last one is for tests: there are no trained weights of it."""


def size_of(name: str) -> str | None:
    """The size in a name such as "random:large"; None for a name that asks for no random weights.

    Raises:
      InvalidOption: there is no such size.
    """
    if not name.startswith(PREFIX):
        return None
    return _known(name.removeprefix(PREFIX))


def engine(size: str, device: Any, dtype: DType | None, *, plan: DecodePlan | None = None) -> V1Engine:
    """A language model of v1 and a codec (full size, but for tiny) of random weights.

    Raises:
      InvalidOption: there is no such size.
    """
    from darius.depthformer.decode import Decoder

    config = config_of(size)
    decoder = Decoder(config, language_model(config), dtype=dtype, device=device, plan=plan)
    return V1Engine(decoder=decoder, codec=parts_of(size).load_codec(device, dtype))


def model(size: str, device: Any, dtype: DType | None) -> Model:
    """A whole model: language model and codec of random weights, tiny's style model. Raises InvalidOption."""
    from darius.model import V1Model
    from darius.style.cache import CachedStyle

    if size in MRT2_SIZES:
        from darius.mrt2 import model as mrt2

        return mrt2.random_model(size, device, dtype)
    made, found = engine(size, device, dtype), parts_of(size)
    return V1Model(
        name=PREFIX + size,
        decoder=made.decoder,
        codec=made.codec,
        style=CachedStyle(found.style.load()),
        assets=Assets(),
    )


def parts_of(size: str) -> Parts:
    """A codec of random weights and tiny's style model. Raises InvalidOption."""
    from darius.codec.config import CodecConfig

    codec = CodecConfig.tiny() if _known(size).endswith("tiny") else CodecConfig.spectrostream()
    return Parts(codec=codec, style=parts.of_package(hub.resolve(EMBEDDED).path).style)


def language_model(config: DepthformerConfig) -> dict[str, NDArray[np.float32]]:
    """Float32 parameters, spread as by `depthformer.weights.initialise`, in a fraction of its time and memory.

    All tensors of a spread are views of one block of numbers, each beginning at a place of its own.
    """
    from darius.depthformer import weights

    shapes = weights.shapes(config)
    most = max(math.prod(shape) for shape in shapes.values())
    numbers = np.random.default_rng(0).standard_normal(most + _PLACES, np.float32)
    blocks: dict[float, NDArray[np.float32]] = {}

    def draw(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        if name.endswith("/scale"):
            return np.ones(shape, np.float32)
        spread = _spread(name, shape, config.head_dim)
        if spread not in blocks:
            blocks[spread] = numbers * np.float32(spread)
        place = zlib.crc32(name.encode()) % _PLACES
        return blocks[spread][place : place + math.prod(shape)].reshape(shape)

    return {name: draw(name, shape) for name, shape in shapes.items()}


_PLACES = 4096


def _spread(name: str, shape: tuple[int, ...], head_dim: int) -> float:
    from darius.depthformer.weights import EMBEDDING

    if name == EMBEDDING:
        return 1.0
    inputs = shape[0] * (head_dim if name.endswith("/query/kernel") else 1)
    return float(inputs**-0.5)


def config_of(size: str) -> DepthformerConfig:
    """A size's configuration. Raises InvalidOption."""
    from darius.depthformer.config import DepthformerConfig

    presets = {"tiny": DepthformerConfig.tiny, "base": DepthformerConfig.base, "large": DepthformerConfig.large}
    return presets[_known(size)]()


def _known(size: str) -> str:
    if size not in SIZES + MRT2_SIZES:
        choices = ", ".join(SIZES + MRT2_SIZES[:2])
        raise InvalidOption(f"There is no size '{size}' to make random weights of.", f"Choose one of: {choices}.")
    return size

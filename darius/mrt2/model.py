"""Whole models of Magenta RealTime 2: from a release's folder, or of random weights. Fetches nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from darius.errors import BadCheckpoint
from darius.hub import mrt2 as release
from darius.model import Company
from darius.mrt2 import package, weights
from darius.mrt2.decoder import FrameDecoder
from darius.mrt2.engine import MRT2Engine
from darius.mrt2.network import Network
from darius.style.steering import Assets

if TYPE_CHECKING:
    import jax

    from darius.depthformer.decode import DType


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MRT2Model(MRT2Engine, Company):
    """A whole model of Magenta RealTime 2."""


def load(path: Path, name: str, device: jax.Device, dtype: DType | None) -> MRT2Model:
    """The model of a checkpoint file, with the resources that lie beside it (see `darius.mrt2.layout`).

    Raises:
      BadCheckpoint: a file is missing, damaged or misshapen.
      MissingDependency: the package magenta-rt, or what its style model needs, is not installed.
    """
    from darius.checkpoints import safetensors_io
    from darius.codec.codec import Codec
    from darius.codec.config import CodecConfig
    from darius.mrt2 import style
    from darius.style.cache import CachedStyle

    resources = release.resources_beside(path)
    file = safetensors_io.load(path)
    flat = weights.language_model(file)
    architecture = package.architecture(_size_of(flat, path), dtype=_dtype(dtype, device))
    encoder = release.encoder_file(resources)
    codec = weights.codec(file, safetensors_io.load(encoder))
    described = safetensors_io.metadata(encoder).get("config")  # the release's own file says nothing: it is full size
    return MRT2Model(
        name=name,
        decoder=FrameDecoder(architecture, flat, device=device),
        codec=Codec(
            CodecConfig.from_dict(described) if described else CodecConfig.spectrostream(),
            codec,
            dtype=dtype,
            device=device,
        ),
        style=CachedStyle(style.load(release.style_folder(resources))),
        assets=Assets(),
    )


def random_model(size: str, device: jax.Device, dtype: DType | None) -> MRT2Model:
    """A model of random weights with tiny's style model, whose codes have the same shape: for speed, not for music.

    Raises:
      InvalidOption: there is no such size.
      MissingDependency: the package magenta-rt is not installed.
    """
    from darius import random_weights
    from darius.style.cache import CachedStyle

    architecture = package.architecture(size, dtype=_dtype(dtype, device))
    parts = random_weights.parts_of(size)
    return MRT2Model(
        name=random_weights.PREFIX + size,
        decoder=FrameDecoder(architecture, weights.initialise(Network(architecture), device=device), device=device),
        codec=parts.load_codec(device, dtype),
        style=CachedStyle(parts.style.load()),
        assets=Assets(),
    )


def _dtype(dtype: DType | None, device: jax.Device) -> str:
    return dtype or ("float32" if device.platform == "cpu" else "bfloat16")


def _size_of(flat: weights.Flat, path: Path) -> str:
    """Which size a checkpoint has: told by the width of its table."""
    table = "decoder/decoder_embedding/embedding/embedding"
    if table not in flat:
        raise BadCheckpoint(f"{path.name} is not a checkpoint of Magenta RealTime 2.", weights.HINT)
    width = flat[table].shape[-1]
    for name in (*package.SIZES, package.TINY):
        if package.architecture(name).model.decoder_temporal_size.model_dims == width:
            return name
    raise BadCheckpoint(f"{path.name} has the width {width}, which no Magenta RealTime 2 has.", weights.HINT)

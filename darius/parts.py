"""What a language model speaks through: the codec and the style model that belong to it. Loads no language model.

tiny and its finetunes have the embedded parts; Magenta RealTime v1 and its finetunes have those of the v1 release.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from darius import hub
from darius.errors import BadCheckpoint, InvalidOption
from darius.hub.cache import checkpoints_folder
from darius.hub.names import EMBEDDED

if TYPE_CHECKING:
    from darius.codec.codec import Codec
    from darius.codec.config import CodecConfig
    from darius.depthformer.config import DepthformerConfig
    from darius.depthformer.decode import DType
    from darius.style.interface import StyleModel

OnProgress = Callable[[str, float], None]
PACKAGE_CONFIG, CODEC, STYLE = "config.json", "codec.safetensors", "style.safetensors"
OPENINGS = "openings"


@dataclasses.dataclass(frozen=True, kw_only=True)
class StyleSource:
    """A style model's files: small, so that other processes can be told what to load."""

    kind: Literal["tiny", "musiccoca"]
    path: Path

    def load(self) -> StyleModel:
        """The style model. Raises BadCheckpoint, MissingDependency."""
        if self.kind == "tiny":
            from darius.style import tiny

            return tiny.load(self.path)
        from darius.style import musiccoca

        return musiccoca.load(self.path)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
    """The files of a codec and a style model, and the habits of the language models that speak through them.

    Attributes:
      codec: a safetensors file with its configuration in its metadata; or the configuration of random weights.
      guidance, prefers_frame_grid, prefix_frames: see `darius.model`.
      openings: folder of grooves that music without a loop goes on from; see `darius.openings`.
    """

    codec: Path | CodecConfig
    style: StyleSource
    guidance: float = 5.0
    prefers_frame_grid: bool = False
    prefix_frames: int = 0
    openings: Path | None = None

    def load_codec(self, device: Any, dtype: DType | None) -> Codec:
        """The codec on a device. Raises BadCheckpoint."""
        from darius.codec import weights
        from darius.codec.codec import Codec

        config, tensors = self.read_codec()
        return Codec(config, weights.nest(tensors), dtype=dtype, device=device)

    def codec_config(self) -> CodecConfig:
        """The codec's sizes. Raises BadCheckpoint."""
        from darius.checkpoints import safetensors_io
        from darius.codec.config import CodecConfig

        if isinstance(self.codec, CodecConfig):
            return self.codec
        return CodecConfig.from_dict(safetensors_io.metadata(self.codec)["config"])

    def read_codec(self) -> tuple[CodecConfig, dict[str, NDArray[np.float32]]]:
        """The codec's configuration and its tensors by their names."""
        import jax

        from darius.checkpoints import safetensors_io
        from darius.codec import weights
        from darius.codec.config import CodecConfig

        if isinstance(self.codec, CodecConfig):
            with jax.default_device(jax.devices("cpu")[0]):
                drawn = weights.flatten(weights.initialise(self.codec, jax.random.key(1)))
            return self.codec, {name: np.asarray(value) for name, value in drawn.items()}
        stored = safetensors_io.load(self.codec)
        return self.codec_config(), {name: np.asarray(value, np.float32) for name, value in stored.items()}


def of_package(folder: Path) -> Parts:
    """The parts in a package folder, as `tiny` is one.

    Raises:
      BadCheckpoint: its config.json does not say what it has to.
    """
    try:
        settings = json.loads((folder / PACKAGE_CONFIG).read_text(encoding="utf-8"))
        grid, prefix = settings["timing"] == "grid", int(settings["prefix_frames"])
        guidance = float(settings.get("guidance", Parts.guidance))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadCheckpoint(
            f"{PACKAGE_CONFIG} in {folder.name} does not say what a model's has to.", "Get the model anew."
        ) from error
    return Parts(
        codec=folder / CODEC,
        style=StyleSource(kind="tiny", path=folder / STYLE),
        openings=folder / OPENINGS,
        guidance=guidance,
        prefers_frame_grid=grid,
        prefix_frames=prefix,
    )


def of_v1(*, offline: bool = False, on_progress: OnProgress | None = None) -> Parts:
    """The parts of the v1 release, fetched and converted if they are not here. Raises as `hub.v1_parts`."""
    folder = hub.v1_parts(offline=offline, on_progress=on_progress)
    return Parts(codec=folder / CODEC, style=StyleSource(kind="musiccoca", path=folder))


def of_config(
    config: DepthformerConfig, name: str, *, offline: bool = False, on_progress: OnProgress | None = None
) -> Parts:
    """The parts of a language model of these sizes; `name` is what errors call it.

    Raises:
      BadCheckpoint: the sizes are those of no model that Darius knows; otherwise as `of_v1`.
    """
    from darius.depthformer.config import DepthformerConfig

    if _sizes(config) == _sizes(DepthformerConfig.tiny()):
        return of_package(hub.resolve(EMBEDDED).path)
    if _sizes(config) in (_sizes(DepthformerConfig.base()), _sizes(DepthformerConfig.large())):
        return of_v1(offline=offline, on_progress=on_progress)
    raise BadCheckpoint(
        f"'{name}' has the sizes of no model that Darius knows (width {config.embed_dim}).",
        "It must be Magenta RealTime v1 base or large, tiny, or a finetune of one of them.",
    )


def of_model(name: str, *, offline: bool = False, on_progress: OnProgress | None = None) -> Parts:
    """The parts of a model by its name; base and large are not downloaded for it. Raises as `darius.load`."""
    from darius import random_weights
    from darius.checkpoints import convert
    from darius.depthformer import weights

    if (size := random_weights.size_of(name)) is not None:
        return random_weights.parts_of(size)
    if hub.parse(name).kind == "mrt2":
        raise InvalidOption(
            f"{name} is Magenta RealTime 2, which Darius cannot finetune.", "Choose tiny, base or large."
        )
    if hub.parse(name).kind == "stock":
        return of_v1(offline=offline, on_progress=on_progress)
    resolved = hub.resolve(name, offline=offline, on_progress=on_progress)
    if resolved.kind in ("embedded", "package"):
        return of_package(resolved.path)
    read = convert.load(resolved.path, cache_dir=checkpoints_folder(hub.cache_root()))
    config = weights.infer({key: array.shape for key, array in read.params.items()})
    return of_config(config, name, offline=offline, on_progress=on_progress)


def _sizes(config: DepthformerConfig) -> tuple[int, ...]:
    return (
        config.embed_dim,
        config.num_encoder_layers,
        config.num_temporal_layers,
        config.num_depth_layers,
        config.layout.codebook_size,
    )

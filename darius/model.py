"""The one model loader, and what it gives: a language model, a codec and a style model that belong together.

Knows names, devices and number types; knows no request. A model holds nothing that a request changes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darius import hub, parts, random_weights
from darius.devices import find_device, keep_compiled_programs, memory_errors
from darius.engine import Engine as Engine
from darius.engine import Model as Model
from darius.errors import BadCheckpoint, InvalidOption
from darius.hub.cache import checkpoints_folder
from darius.v1 import V1Engine

if TYPE_CHECKING:
    from darius.audio.waveform import Waveform
    from darius.continuation import Continuation, Progress
    from darius.depthformer.config import DepthformerConfig
    from darius.depthformer.decode import DType
    from darius.openings import Opening
    from darius.parts import Parts
    from darius.style.interface import StyleModel
    from darius.style.mix import StyleRequest
    from darius.style.steering import Assets

OnProgress = Callable[[str, float], None]
LANGUAGE_MODEL = "depthformer.safetensors"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Company:
    """What makes an engine a whole `Model`.

    Attributes:
      name: as it was asked for.
      style: words and sounds -> style codes.
      assets: a finetune's own styles.
      guidance: the weight that it plays best with, where none is asked for.
      prefers_frame_grid: plays better in time when loops are whole frames (see `ContinuationOptions.timing`).
      step: training step of the language model, where known.
      openings: grooves that music without a loop goes on from; none for silence.
    """

    name: str
    style: StyleModel
    assets: Assets
    guidance: float = 5.0
    prefers_frame_grid: bool = False
    step: int | None = None
    openings: tuple[Opening, ...] = ()

    def continue_loop(
        self: Model,
        loop: str | Path | Waveform,
        *,
        style: str | list[str] | StyleRequest | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> Continuation:
        """Continues a loop by exact bars; see `darius.ContinuationOptions` for every option (bars=8, seed=7, ...).

        Args:
          loop: a file's path, or a waveform.
          style: words ("acid house", "dub:0.5"), several of them, or a whole request.
          progress: told of each stage.

        Raises:
          BadAudio: the loop cannot be used.
          InvalidOption: an option is out of range.
        """
        from darius.audio import files
        from darius.audio.tempo import find_tempo
        from darius.audio.waveform import Waveform
        from darius.continuation import ContinuationOptions, continue_loop
        from darius.style.mix import StyleRequest, parse

        if style is not None and not isinstance(style, StyleRequest):
            style = StyleRequest(texts=tuple(parse(text) for text in ([style] if isinstance(style, str) else style)))
        try:
            wanted = ContinuationOptions(style=style or StyleRequest(), **options)
        except TypeError as error:
            raise InvalidOption(f"continue_loop: {error}.", "See darius.ContinuationOptions.") from None
        path = None if isinstance(loop, Waveform) else Path(loop)
        waveform = loop if isinstance(loop, Waveform) else files.load(loop)
        wanted.check()
        tempo = find_tempo(waveform, path=path, beats_per_bar=wanted.beats_per_bar, bpm=wanted.bpm)
        return continue_loop(self, waveform, wanted, tempo=tempo, progress=progress)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class V1Model(V1Engine, Company):
    """A whole model of Magenta RealTime v1's kind: base, large, tiny, or a finetune of one of them."""


def load(
    name: str = "tiny",
    *,
    device: str = "auto",
    dtype: str = "auto",
    offline: bool = False,
    keep_programs: bool = True,
    memory_limit: int | None = None,
    on_progress: OnProgress | None = None,
) -> Model:
    """Loads a model by name, fetching it first if it is not here.

    Args:
      name: tiny, base, large, mrt2-small, mrt2-base, a folder, an archive, or hf:user/repo@revision#step; or
        random:tiny, random:large, random:mrt2-small, ..., which have random weights of the right shape and tiny's
        style model: for speed, not for music.
      device: auto, cpu, gpu, gpu:1.
      dtype: of weights and activations: auto (bfloat16 on accelerators, float32 on the CPU), float32, bfloat16.
      offline: use only what is here.
      keep_programs: keep compiled programs in Darius' cache, so that the next start is quick.
      memory_limit: bytes of the device that may be used; a model of v1's kind that needs more for one stream is refused
        before its weights are there.
      on_progress: told of downloads and conversions.

    Raises:
      ModelNotFound, DownloadFailed, BadCheckpoint, NoDevice, OutOfMemory, MissingDependency.
    """
    place = find_device(device)
    numbers = _dtype(dtype)
    size = random_weights.size_of(name)
    if keep_programs:
        keep_compiled_programs(hub.cache_root() / "compiled")
    if size is not None:
        with memory_errors(f"making random weights for {size}"):
            if memory_limit is not None and size not in random_weights.MRT2_SIZES:
                found = random_weights.parts_of(size)
                _refuse_above(memory_limit, random_weights.config_of(size), found, place, numbers)
            return random_weights.model(size, place, numbers)
    resolved = hub.resolve(name, offline=offline, on_progress=on_progress)
    with memory_errors(f"loading the model {name}"):
        if resolved.kind in ("embedded", "package"):
            return _load_package(resolved, place, numbers, memory_limit)
        if resolved.kind == "mrt2":
            from darius.mrt2 import model as mrt2

            return mrt2.load(resolved.path, resolved.name, place, numbers)
        return _load_checkpoint(resolved, place, numbers, memory_limit, offline=offline, on_progress=on_progress)


def _refuse_above(
    limit: int | None, config: DepthformerConfig, found: Parts, place: Any, numbers: DType | None
) -> None:
    from darius import memory
    from darius.depthformer.decode import DecodePlan

    if limit is not None:
        memory.fitting(config, found.codec_config(), DecodePlan.for_platform(place.platform, dtype=numbers), limit, [1])


def _dtype(name: str) -> DType | None:
    """None lets each part choose: bfloat16 on accelerators, float32 on the CPU, where bfloat16 is slow."""
    if name == "auto":
        return None
    if name == "float32":
        return "float32"
    if name == "bfloat16":
        return "bfloat16"
    raise InvalidOption(f"There is no number type '{name}'.", "Choose one of: auto, float32, bfloat16.")


def _load_package(resolved: hub.ResolvedModel, device: Any, dtype: DType | None, limit: int | None) -> Model:
    """A folder as `tiny` is: all parts in Darius' own files."""
    from darius.checkpoints import compact, safetensors_io
    from darius.depthformer.config import DepthformerConfig
    from darius.depthformer.decode import Decoder

    file = resolved.path / LANGUAGE_MODEL
    facts = safetensors_io.metadata(file)
    if not isinstance(facts.get("config"), dict):
        raise BadCheckpoint(f"{LANGUAGE_MODEL} of {resolved.name} does not say its sizes.", "Get the model anew.")
    config = DepthformerConfig.from_dict(facts["config"])
    found = parts.of_package(resolved.path)
    _refuse_above(limit, config, found, device, dtype)
    params = compact.unpack(config, safetensors_io.load(file))
    return V1Model(
        name=resolved.name,
        decoder=Decoder(config, params, dtype=dtype, device=device),
        step=facts.get("step"),
        **_around(found, device, dtype),
        assets=_assets(resolved),
    )


def _around(found: Parts, device: Any, dtype: DType | None) -> dict[str, Any]:
    """What a model has beside its language model."""
    from darius.openings import of_folder
    from darius.style.cache import CachedStyle

    return {
        "codec": found.load_codec(device, dtype),
        "style": CachedStyle(found.style.load()),
        "guidance": found.guidance,
        "prefers_frame_grid": found.prefers_frame_grid,
        "prefix_frames": found.prefix_frames,
        "openings": () if found.openings is None else of_folder(found.openings),
    }


def _load_checkpoint(
    resolved: hub.ResolvedModel,
    device: Any,
    dtype: DType | None,
    limit: int | None,
    *,
    offline: bool,
    on_progress: OnProgress | None,
) -> Model:
    """A T5X folder, an archive of one, or a safetensors file of one, with the codec and style it was trained on."""
    from darius.checkpoints import convert
    from darius.depthformer import weights
    from darius.depthformer.decode import Decoder

    read = convert.load(resolved.path, cache_dir=checkpoints_folder(hub.cache_root()))
    config = weights.infer({name: array.shape for name, array in read.params.items()})
    weights.check(config, read.params)
    found = parts.of_config(config, resolved.name, offline=offline, on_progress=on_progress)
    _refuse_above(limit, config, found, device, dtype)
    return V1Model(
        name=resolved.name,
        decoder=Decoder(config, read.params, dtype=dtype, device=device),
        step=resolved.step if resolved.step is not None else read.step,
        assets=_assets(resolved),
        **_around(found, device, dtype),
    )


def _assets(resolved: hub.ResolvedModel) -> Assets:
    from darius.style import steering

    mean, centroids = resolved.assets.mean, resolved.assets.centroids
    return steering.Assets(
        mean=steering.load_mean(mean) if mean else None,
        centroids=steering.load_centroids(centroids) if centroids else None,
    )

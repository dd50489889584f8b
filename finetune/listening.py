"""The codec and the style model that turn audio into training features, and how their weights are told apart.

Knows models by name; knows no audio files.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darius import hub, parts
from darius.audio.waveform import Samples
from darius.devices import find_device, keep_compiled_programs, memory_errors
from darius.parts import OnProgress, Parts, StyleSource

if TYPE_CHECKING:
    import jax

    from darius.codec.codec import Codec
    from darius.style.interface import StyleModel

STORED_LEVELS = 64
"""RVQ levels that an example keeps, at most."""
BLOCK_SECONDS = 10
"""Batches are padded to a multiple of this, so that clips of about the same length share one."""
BLOCK_FRAMES = 50
"""Frames that the codec takes at once: of a batch of 8 at full size, its widest layers are then 200 MB each."""

ENCODING = "encoding audio"
ENCODING_HINT = "Continue with --resume and a smaller --batch-size, or with --device cpu."


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Listener:
    """What `prepare-data` listens with.

    Attributes:
      name: as it was asked for.
      codec: on its device, in float32, as the original prepares its data (on GPUs, as there, with TF32 products).
      style: where the style model is.
      style_rate: Hz at which it wants its audio.
      batch: clips that the codec encodes at once.
      codec_sha256, style_sha256: see `identify`.
      model_sha256: of the language model's file, if it is here.
    """

    name: str
    codec: Codec
    style: StyleSource
    style_rate: int
    batch: int
    codec_sha256: str
    style_sha256: str
    model_sha256: str | None = None

    @property
    def levels(self) -> int:
        return min(self.codec.num_levels, STORED_LEVELS)

    def encode(self, clips: Sequence[Samples]) -> Encoding:
        """Starts to encode up to `batch` clips float32 [n, 2]; does not wait for the device.

        Raises:
          OutOfMemory: the batch is too large for the device.
        """
        block = BLOCK_SECONDS * self.codec.sample_rate
        length = max(-(-len(clip) // block) for clip in clips) * block
        rows = np.zeros((self.batch, length, self.codec.channels), np.float32)
        for row, clip in zip(rows, clips, strict=False):
            row[: len(clip)] = clip
        with memory_errors(ENCODING, ENCODING_HINT):
            codes = self.codec.encode(rows, levels=self.levels, block_frames=BLOCK_FRAMES)
            codes.copy_to_host_async()
        return Encoding(codes=codes, frames=tuple(-(-len(clip) // self.codec.frame_samples) for clip in clips))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Encoding:
    """Clips that a device encodes, codes int32 [batch, frames, levels], and how many frames each clip has."""

    codes: jax.Array
    frames: tuple[int, ...]

    def result(self) -> list[NDArray[np.int32]]:
        """Waits. The codes of each clip, int32 [its frames, levels], the same in any company. Raises OutOfMemory."""
        with memory_errors(ENCODING, ENCODING_HINT):
            codes = np.asarray(self.codes, np.int32)
        return [row[:count] for row, count in zip(codes, self.frames, strict=False)]


def load(
    name: str,
    *,
    device: str = "auto",
    batch: int | None = None,
    offline: bool = False,
    on_progress: OnProgress | None = None,
) -> Listener:
    """The codec and style of a model, its language model left out.

    Args:
      name: as `darius.load` takes it.
      batch: by default what suits the device.

    Raises:
      As `darius.load`.
    """
    place = find_device(device)
    keep_compiled_programs(hub.cache_root() / "compiled")
    with memory_errors(f"loading {name}"):
        found = parts.of_model(name, offline=offline, on_progress=on_progress)
        codec = found.load_codec(place, "float32")
        codec_sha256, style_sha256 = identify(found)
    small = codec.config.num_features < 256
    return Listener(
        name=name,
        codec=codec,
        style=found.style,
        style_rate=style_rate(found.style),
        batch=batch or (8 if place.platform != "cpu" else 4 if small else 1),
        codec_sha256=codec_sha256,
        style_sha256=style_sha256,
        model_sha256=_model_hash(name),
    )


def identify(found: Parts) -> tuple[str, str]:
    """What tells codecs and style models apart: SHA-256 of the codec's tensors and of the style codebooks."""
    return codec_hash(found), style_hash(found.style.load())


def codec_hash(found: Parts) -> str:
    """SHA-256 of a codec's tensors as float32, whatever file they are in; of the configuration, if they are random."""
    from darius.checkpoints import safetensors_io

    if isinstance(found.codec, Path):
        return tensors_hash(safetensors_io.load(found.codec))
    return hashlib.sha256(f"random {found.codec}".encode()).hexdigest()


def style_hash(style: StyleModel) -> str:
    """SHA-256 of a style model's codebooks: what its codes mean."""
    codebooks: Any = style
    return tensors_hash({"codebooks": codebooks.codebooks})


def tensors_hash(tensors: Mapping[str, ArrayLike]) -> str:
    """SHA-256 of tensors as float32, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name], np.float32)
        digest.update(f"{name} {array.shape}\n".encode())
        digest.update(array.astype("<f4", copy=False).data)
    return digest.hexdigest()


def style_rate(style: StyleSource) -> int:
    """Hz at which a style model is to hear its audio: 16 kHz in v1; tiny's knows the whole spectrum."""
    from darius.style import features, musiccoca

    return musiccoca.SAMPLE_RATE if style.kind == "musiccoca" else features.RATE


def _model_hash(name: str) -> str | None:
    """SHA-256 of the language model's file, if it is one and it is on this machine."""
    from darius.checkpoints import archives
    from darius.errors import DariusError
    from darius.hub.cache import checkpoints_folder
    from darius.hub.resolving import PACKAGE_FILES

    try:
        resolved = hub.resolve(name, offline=True)
    except DariusError:  # not downloaded: preparing data does not need it
        return None
    file = resolved.path / PACKAGE_FILES[1] if resolved.kind in ("embedded", "package") else resolved.path
    return archives.content_hash(file, checkpoints_folder(hub.cache_root())) if file.is_file() else None

"""The release of Magenta RealTime 2: where its parts lie, on the hub, in `MAGENTA_HOME` and in a folder. Reads no file.

checkpoints/mrt2_small.safetensors        language model, codec's decoder and quantiser
resources/spectrostream/encoder.safetensors
resources/musiccoca/*.tflite, spm.model

Source: the file list of google/magenta-realtime-2, `magenta_rt.paths` (magenta-rt 2.0.3).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from darius.errors import BadCheckpoint, DownloadFailed, ModelNotFound

REPO = "google/magenta-realtime-2"
NAMES = ("mrt2-small", "mrt2-base")
CHECKPOINTS = {"mrt2-small": "checkpoints/mrt2_small.safetensors", "mrt2-base": "checkpoints/mrt2_base.safetensors"}
RESOURCES, ENCODER, STYLE = "resources", "spectrostream/encoder.safetensors", "musiccoca"
STYLE_FILES = (
    "spm.model",
    "text_encoder.tflite",
    "audio_preprocessor.tflite",
    "music_encoder.tflite",
    "pretrained_vector_quantizer.tflite",
)


def magenta_home() -> Path:
    """The folder that the package's own commands download to."""
    base = os.environ.get("MAGENTA_HOME")
    return (Path(base).expanduser() if base else Path.home() / "Documents" / "Magenta") / "magenta-rt-v2"


def at_home(size: str) -> Path | None:
    """The checkpoint of a size in the package's own folder, if all that Darius needs of the release is there."""
    checkpoint = magenta_home() / CHECKPOINTS[size]
    needed = (checkpoint, *(magenta_home() / path for path in resource_paths()))
    return checkpoint if all(path.is_file() for path in needed) else None


def resource_paths() -> tuple[str, ...]:
    """The files that every size needs, as paths in the release."""
    return (f"{RESOURCES}/{ENCODER}", *(f"{RESOURCES}/{STYLE}/{name}" for name in STYLE_FILES))


def files_of(paths: Iterable[str], size: str) -> list[str]:
    """The files of a size and what it needs, of the release's files on the hub.

    Raises:
      DownloadFailed: the release lacks one of them.
    """
    there = set(paths)
    needed = [CHECKPOINTS[size], *resource_paths()]
    for path in needed:
        if path not in there:
            raise DownloadFailed(f"The repository {REPO} has no {path} any more.", "Use a newer version of Darius.")
    return needed


def checkpoint_in(path: Path) -> Path | None:
    """The checkpoint that a path of the user's means: a file in a release's checkpoints/, or a release's folder.

    None: the path has nothing to do with this release.

    Raises:
      ModelNotFound: the folder holds several checkpoints, or none.
    """
    if path.is_file():
        return path if (path.absolute().parent.parent / RESOURCES / STYLE).is_dir() else None
    if not (path / RESOURCES / STYLE).is_dir():
        return None
    found = sorted(path.glob("checkpoints/*.safetensors"))
    if len(found) != 1:
        names = ", ".join(str(file) for file in found) or "none"
        raise ModelNotFound(f"{path} holds not one checkpoint but {names}.", "Give the path of one of them.")
    return found[0]


def resources_beside(checkpoint: Path) -> Path:
    """The resources folder of the release that a checkpoint file lies in.

    Raises:
      BadCheckpoint: there is none.
    """
    folder = checkpoint.absolute().parent.parent / RESOURCES
    if not folder.is_dir():
        raise BadCheckpoint(
            f"{checkpoint} lies in no release of Magenta RealTime 2: there is no {folder}.",
            f"Keep the folders of {REPO} as they are, or use --model mrt2-small.",
        )
    return folder


def encoder_file(resources: Path) -> Path:
    """The codec's encoder. Raises BadCheckpoint."""
    return _there(resources / ENCODER)


def style_folder(resources: Path) -> Path:
    """MusicCoCa's folder. Raises BadCheckpoint."""
    folder = resources / STYLE
    for name in STYLE_FILES:
        _there(folder / name)
    return folder


def _there(path: Path) -> Path:
    if not path.is_file():
        raise BadCheckpoint(
            f"The release of Magenta RealTime 2 lacks {path}.", "Run `mrt models init`, or use --model mrt2-small."
        )
    return path

"""The stock Magenta RealTime v1 release: which files it is made of, and its codec and style, converted once.

Source: the file list of the repository google/magenta-realtime.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from darius.errors import DownloadFailed, MissingDependency, OutputExists
from darius.hub.cache import RepoCache, cache_root, v1_folder
from darius.hub.listing import Listing, list_repo
from darius.hub.transfer import OnProgress, fetch

REPO = "google/magenta-realtime"
STEP = 1_860_000
LANGUAGE_MODELS = {
    "base": "checkpoints/llm_base_x4286_c1860k.tar",
    "large": "checkpoints/llm_large_x3047_c1860k.tar",
}
SAVED_MODELS = (
    "savedmodels/ssv2_48k_stereo/encoder",
    "savedmodels/ssv2_48k_stereo/decoder",
    "savedmodels/ssv2_48k_stereo/quantizer",
    "savedmodels/musiccoca_mv212f_cpu_novocab",
    "savedmodels/musiccoca_mv212_quant",
)
VOCABULARY = "vocabularies/musiccoca_mv212f_vocab.model"
MANIFEST = "manifest.json"


def part_files(listing: Listing) -> list[str]:
    """The files of the codec, the style model and its vocabulary.

    Raises:
      DownloadFailed: the release lacks one of them.
    """
    files: list[str] = []
    for folder in SAVED_MODELS:
        found = [path for path in listing.files if path.startswith(f"{folder}/")]
        if not found:
            raise _incomplete(folder)
        files += found
    if VOCABULARY not in listing.files:
        raise _incomplete(VOCABULARY)
    return [*files, VOCABULARY]


def language_model_file(listing: Listing, size: str) -> str:
    """The archive of `base` or `large`.

    Raises:
      DownloadFailed: the release lacks it.
    """
    path = LANGUAGE_MODELS[size]
    if path not in listing.files:
        raise _incomplete(path)
    return path


def _incomplete(part: str) -> DownloadFailed:
    return DownloadFailed(
        f"The repository {REPO} has no {part} any more.",
        "Use an earlier revision of it, or a newer version of Darius.",
    )


def converted(root: Path) -> Path | None:
    """The converted codec and style, if they are there."""
    folder = v1_folder(root)
    return folder if (folder / MANIFEST).is_file() else None


def v1_parts(
    *,
    offline: bool = False,
    on_progress: OnProgress | None = None,
    cache_dir: Path | None = None,
    endpoint: str | None = None,
) -> Path:
    """The folder of v1's codec and style as Darius reads them, fetched and converted if this was not done before.

    Every model of v1 and every finetune of one needs it; `tiny` does not.

    Raises:
      MissingDependency: the conversion needs TensorFlow (extra `convert`).
      ModelNotFound, DownloadFailed: as `resolve`.
    """
    root = cache_dir or cache_root()
    there = converted(root)
    if there is not None:
        return there
    cache = RepoCache(root=root, repo=REPO)
    listing = list_repo(REPO, revision=None, cache=cache, offline=offline, endpoint=endpoint)
    files = part_files(listing)
    source = fetch(listing, files, cache=cache, offline=offline, endpoint=endpoint, on_progress=on_progress)
    return convert_parts(source, v1_folder(root), on_progress=on_progress)


def convert_parts(source: Path, target: Path, *, on_progress: OnProgress | None = None) -> Path:
    """Converts v1's SavedModels under `source` into `target`, which appears only when all is done.

    Raises:
      MissingDependency: the conversion needs TensorFlow (extra `convert`).
      OutputExists: `target` is there already.
    """
    if target.exists():
        raise OutputExists(f"{target} exists already.", "Choose another folder or remove that one first.")
    try:
        from darius.convert import convert_v1
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"Converting Magenta RealTime v1's codec and style needs {error.name}.",
            "Install it with: pip install 'darius[convert]'",
        ) from None
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as temporary:
        made = convert_v1(source, Path(temporary) / target.name, on_progress)
        made.rename(target)
    return target

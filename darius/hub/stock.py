"""The stock Magenta RealTime v1 release: which files it is made of, and its codec and style, converted once.

Source: the file list of the repository google/magenta-realtime.
"""

from __future__ import annotations

from pathlib import Path

from darius.errors import DownloadFailed
from darius.hub.cache import RepoCache, cache_root, v1_folder
from darius.hub.listing import Listing, list_repo
from darius.hub.transfer import OnProgress, fetch

REPO = "google/magenta-realtime"
STEP = 1_860_000
LANGUAGE_MODELS = {
    "base": "checkpoints/llm_base_x4286_c1860k.tar",
    "large": "checkpoints/llm_large_x3047_c1860k.tar",
}


def part_files(listing: Listing) -> list[str]:
    """The files of the codec, the style model and its vocabulary; with what the conversion is checked against, if any.

    Raises:
      DownloadFailed: the release lacks one of them.
    """
    from darius.convert import layout
    from darius.style.musiccoca import V1_VOCABULARY

    def under(folder: str) -> list[str]:
        return [path for path in listing.files if path.startswith(f"{folder}/")]

    for needed in (*layout.SAVED_MODELS, V1_VOCABULARY):
        if needed not in listing.files and not under(needed):
            raise _incomplete(needed)
    folders = (*layout.SAVED_MODELS, layout.CODEC_TESTDATA, layout.STYLE_TESTDATA)
    return [*(path for folder in folders for path in under(folder)), V1_VOCABULARY]


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
    from darius.convert import layout

    folder = v1_folder(root)
    return folder if (folder / layout.MANIFEST_FILE).is_file() else None


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
    from darius.convert import convert_v1

    return convert_v1(source, v1_folder(root), on_progress)

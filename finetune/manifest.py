"""`dataset.json`: what a dataset is made of, and the names of its files. Knows no audio and no tensors.

Every file's name follows from the task's name here and nowhere else, so names cannot mismatch.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from darius.audio.files import atomic
from darius.errors import BadDataset, InvalidOption
from darius.style.steering import CENTROIDS_FILE, MEAN_FILE

FILE_NAME = "dataset.json"
FORMAT = 1
CLUSTERS_PICTURE = "style_clusters.png"
_TASK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.]{0,99}")  # what seqio allows, and no path
_NOT_ONE = "Make a dataset with `darius prepare-data AUDIO_DIR --output-dir OUT --task-name NAME`."


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceFile:
    """An audio file that is in the dataset.

    Attributes:
      path: relative to the audio folder, with "/".
      sha256: of the file.
      seconds: of audio that became clips.
      clips: how many.
      split: "train" or "eval"; "both" when one file had to serve for both.
      bpm: its tempo, where one was found.
    """

    path: str
    sha256: str
    seconds: float
    clips: int
    split: str = "train"
    bpm: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LeftOut:
    """An audio file, or a part of one, that is not in the dataset, and why."""

    path: str
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """A dataset.

    Attributes:
      task: the task's name; the one for evaluation is `<task>_eval`.
      model: what the features were made with, as it was asked for ("large").
      codec_sha256, style_sha256: of the codec's and the style model's weights: a trainer's model must speak the same.
      model_sha256: of the language model's file, where it was on this machine.
      examples, eval_examples: how many clips; hours, eval_hours: of audio in them.
      levels: RVQ levels stored; frame_rate: frames a second.
      clip_seconds, min_clip_seconds, filter_quiet: how the audio was cut.
      cluster_sizes: clips nearest to each style centroid.
      tempi: tempo in whole bpm -> how many files have it.
      licence: of the audio, in its owner's words; "" when not told.
      files, left_out: what is in it and what is not.
      format: version of this file.
    """

    task: str
    model: str
    codec_sha256: str
    style_sha256: str
    model_sha256: str | None = None
    examples: int
    eval_examples: int = 0
    hours: float
    eval_hours: float = 0.0
    levels: int = 64
    frame_rate: int = 25
    clip_seconds: float = 30.0
    min_clip_seconds: float = 2.0
    filter_quiet: bool = False
    cluster_sizes: tuple[int, ...] = ()
    tempi: Mapping[str, int] = dataclasses.field(default_factory=dict)
    licence: str = ""
    files: tuple[SourceFile, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    format: int = FORMAT

    def __post_init__(self) -> None:
        check_task(self.task)
        if self.format != FORMAT:
            raise BadDataset(f"{FILE_NAME} has format {self.format}, not {FORMAT}.", "Use the Darius that made it.")
        if self.examples < 1 or self.eval_examples < 0:
            raise BadDataset(f"The dataset '{self.task}' has no examples.", _NOT_ONE)

    @property
    def eval_task(self) -> str:
        return f"{self.task}_eval"

    def examples_file(self, folder: Path) -> Path:
        """The training examples."""
        return folder / f"{self.task}_examples.recordio"

    def eval_file(self, folder: Path) -> Path | None:
        """The examples held out, if any were."""
        return folder / f"{self.task}_eval_examples.recordio" if self.eval_examples else None

    def file_names(self) -> tuple[str, ...]:
        """The files that belong to the dataset, this one included."""
        here = Path()
        examples = (self.examples_file(here), self.eval_file(here))
        return (*(path.name for path in examples if path), FILE_NAME, MEAN_FILE, CENTROIDS_FILE)

    def save(self, folder: Path) -> Path:
        """Writes `dataset.json`, whole or not at all. Raises OutputFailed."""
        path = folder / FILE_NAME
        with atomic(path) as temporary:
            text = json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")
        return path


def check_task(name: str) -> str:
    """A usable task name. Raises InvalidOption."""
    if not _TASK.fullmatch(name) or name.endswith("_eval"):
        usable = re.sub(r"[^A-Za-z0-9_.]+", "_", name).strip("_.").removesuffix("_eval")[:100] or "my_music"
        raise InvalidOption(
            f"'{name}' cannot be a task's name.",
            f"Use letters, digits, _ and . only, and no _eval at the end, for example '{usable}'.",
        )
    return name


def load(folder: Path, *, task: str | None = None) -> Manifest:
    """The manifest of a dataset folder.

    Args:
      task: when given, the dataset must be that task.

    Raises:
      BadDataset: no dataset, a damaged one, or one whose files are missing; the sentence names them.
      InvalidOption: it is another task.
    """
    manifest = read(folder / FILE_NAME)
    if task is not None and task != manifest.task:
        raise InvalidOption(
            f"The dataset in {folder} is the task '{manifest.task}', not '{task}'.",
            f"Leave --task-name out, or give --task-name {manifest.task}.",
        )
    missing = [name for name in manifest.file_names() if not (folder / name).is_file()]
    if missing:
        raise BadDataset(
            f"The dataset in {folder} lacks {' and '.join(missing)}.",
            "Run `darius prepare-data` again, or copy the folder whole; its files must not be renamed.",
        )
    return manifest


def read(path: Path) -> Manifest:
    """The manifest in a file, whatever stands beside it. Raises BadDataset as `load`."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadDataset(f"There is no dataset in {path.parent}: it has no {path.name}.", _NOT_ONE) from None
    except (OSError, ValueError) as error:
        raise BadDataset(f"{path} cannot be read ({error}).", _NOT_ONE) from None
    try:
        return _parse(fields)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise BadDataset(f"{path} is not a dataset's manifest ({error}).", _NOT_ONE) from None


def _parse(fields: Mapping[str, Any]) -> Manifest:
    known = dict(fields)
    known["files"] = tuple(SourceFile(**file) for file in known.get("files", ()))
    known["left_out"] = tuple(LeftOut(**file) for file in known.get("left_out", ()))
    known["cluster_sizes"] = tuple(int(size) for size in known.get("cluster_sizes", ()))
    known["tempi"] = {str(bpm): int(count) for bpm, count in known.get("tempi", {}).items()}
    for name, kind in (("task", str), ("model", str), ("codec_sha256", str), ("style_sha256", str), ("examples", int)):
        if not isinstance(known[name], kind):
            raise TypeError(f"'{name}' is not {kind.__name__}")
    known["hours"] = float(known["hours"])
    return Manifest(**known)

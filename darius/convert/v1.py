"""`convert_v1`: Magenta RealTime v1's TensorFlow files -> a folder that Darius reads without TensorFlow.

Starts the worker, passes its progress on, and moves the finished folder to its place. Imports no TensorFlow itself.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from darius.codec.config import CodecConfig
from darius.convert import layout, process
from darius.convert.process import Progress, WorkerDiedError
from darius.errors import InvalidOption, MissingDependency, OutputExists, OutputFailed

TOWER_STAGES = ("text", "music")
FORMAT = 1

Job = dict[str, Any]


def convert_v1(
    source: Path,
    target: Path,
    on_progress: Progress | None = None,
    *,
    levels: int | None = None,
    codec: CodecConfig | None = None,
) -> Path:
    """Converts codec and style model of Magenta RealTime v1.

    Args:
      source: a download of google/magenta-realtime (folders `savedmodels` and `vocabularies`, optionally `testdata`).
      target: the folder to make: `codec.safetensors`, `text_encoder.tflite`, `music_encoder.tflite` (or
        `musiccoca_saved_model/` for what TensorFlow cannot convert), `style_codebooks.safetensors`, `spm.model`,
        `manifest.json`. It appears whole or not at all.
      on_progress: told the stage and the part done, 0 to 1.
      levels: RVQ levels of the codec to keep, by default all 64; the language model uses 16.
      codec: the codec's configuration, by default the full SpectroStream.

    Returns:
      `target`.

    Raises:
      BadCheckpoint: a file or tensor of the original is missing, damaged or misshapen, or the result does not reproduce
        the original's test data.
      MissingDependency: TensorFlow is not installed.
      InvalidOption: levels that the codec does not have.
      OutputExists, OutputFailed: the target is there already, or cannot be written.
    """
    report = on_progress or (lambda stage, fraction: None)
    config = codec or CodecConfig.spectrostream()
    if levels is not None:
        config = _with_levels(config, levels)
    if target.exists():
        raise OutputExists(f"{target} is there already.", "Remove it or choose another folder.")
    layout.check_source(source)
    _require_tensorflow()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as staging:
            # A folder inside: the staging folder itself is private to this user, the result should not be.
            built = Path(staging) / "model"
            built.mkdir()
            _build(source.resolve(), built, config, report)
            built.rename(target)
    except OSError as error:
        raise OutputFailed(f"{target} cannot be written: {error.strerror}.", "Choose another folder.") from error
    report("done", 1.0)
    return target


def _with_levels(config: CodecConfig, levels: int) -> CodecConfig:
    if not 1 <= levels <= config.num_levels:
        raise InvalidOption(
            f"The codec has {config.num_levels} RVQ levels, so {levels} cannot be kept.", "Use 16 or 64."
        )
    return dataclasses.replace(config, num_levels=levels)


def _require_tensorflow() -> None:
    if importlib.util.find_spec("tensorflow") is None:
        raise MissingDependency(
            "Converting Magenta RealTime v1 needs TensorFlow, which is not installed.",
            "Run `pip install 'darius[convert]'`.",
        )


def worker_command(job: Job) -> list[str]:
    """How the worker is started on a job."""
    return [sys.executable, "-m", "darius.convert.worker", json.dumps(job)]


def convert_in_worker(
    job: Job, on_progress: Progress, *, command: Callable[[Job], list[str]] = worker_command
) -> dict[str, Any]:
    """The conversion's report; a tower at which TensorFlow's converter crashes stays a SavedModel.

    Raises:
      DariusError: what the worker reports, or that it died elsewhere.
    """
    keep: list[str] = []
    while True:
        try:
            return process.run(command({**job, "verb": "convert", "keep": keep}), on_progress)
        except WorkerDiedError as died:
            if died.stage not in TOWER_STAGES or died.stage in keep:
                raise died.failure() from died
            keep.append(died.stage)


def _build(source: Path, built: Path, config: CodecConfig, on_progress: Progress) -> None:
    job: Job = {"source": str(source), "target": str(built), "codec": config.to_dict()}
    found = convert_in_worker(job, on_progress)
    kept = [name for name, entry in found["style"].items() if entry["format"] == "saved_model"]
    try:
        found["checks"] = process.run(worker_command({**job, "verb": "check", "keep": kept}), on_progress)
    except WorkerDiedError as died:
        raise died.failure() from died
    on_progress("manifest", 0.98)
    manifest = {"format": FORMAT, "model": "Magenta RealTime v1", **found, "files": layout.hashes(built)}
    manifest["source"] = {name: layout.sha256(source / name / "saved_model.pb") for name in layout.SAVED_MODELS}
    (built / layout.MANIFEST_FILE).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")

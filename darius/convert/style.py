"""MusicCoCa's SavedModels -> TFLite files, codebooks and vocabulary. Runs inside the conversion's own process.

Knows TensorFlow's converter and the style model's files; knows no codec.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darius.checkpoints import safetensors_io
from darius.errors import BadCheckpoint
from darius.style import musiccoca, saved_model
from darius.style.tflite import TFLiteSignature

# TFLite and TensorFlow round differently; more than this means another function, not another rounding.
TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tower:
    """One of MusicCoCa's two graphs: its signature, its output, the file it becomes."""

    name: str
    signature: str
    output: str
    file: str

    def probe(self) -> dict[str, NDArray[Any]]:
        """Inputs to compare two runs of the tower on."""
        if self.name == "text":
            ids, paddings = musiccoca.text_inputs([5, 7, 11, 13])
            return {"inputs_0": ids, "inputs_0_1": paddings}
        noise = np.random.default_rng(0).normal(0, 0.1, (1, musiccoca.CLIP_SAMPLES))
        return {"inputs_0": noise.astype(np.float32)}


TOWERS = (
    Tower(
        name="text",
        signature=musiccoca.TEXT_SIGNATURE,
        output=musiccoca.TEXT_OUTPUT,
        file=musiccoca.TEXT_FILE,
    ),
    Tower(
        name="music",
        signature=musiccoca.MUSIC_SIGNATURE,
        output=musiccoca.MUSIC_OUTPUT,
        file=musiccoca.MUSIC_FILE,
    ),
)


def convert_quantizer(source: Path, target: Path) -> None:
    """Writes the codebooks float32 [12, 1024, 768] and the vocabulary.

    Raises:
      BadCheckpoint: a codebook is missing or misshapen.
    """
    folder = source / musiccoca.V1_QUANTIZER
    codebooks = musiccoca.check_codebooks(saved_model.read_codebooks(folder), musiccoca.V1_QUANTIZER)
    metadata = {"source": musiccoca.V1_QUANTIZER}
    safetensors_io.save(target / musiccoca.CODEBOOKS_FILE, {"codebooks": codebooks}, metadata, overwrite=True)
    shutil.copyfile(source / musiccoca.V1_VOCABULARY, target / musiccoca.VOCABULARY_FILE)


def convert_tower(tower: Tower, source: Path, target: Path) -> dict[str, Any]:
    """Writes one tower as a TFLite file of built-in operations, and compares it with the original on one input.

    Returns:
      What the manifest says of it: `format` "tflite" with `error`, or "saved_model" with the `reason` why TensorFlow's
      converter could not (the graph is then copied by `keep_graph`).

    Raises:
      BadCheckpoint: the original itself does not run.
    """
    graph = source / musiccoca.V1_GRAPH
    original = saved_model.load_signatures(graph, [tower.signature])[tower.signature]
    expected = _run(original, tower)
    blob = _to_tflite(graph, tower.signature)
    if isinstance(blob, str):
        return {"format": "saved_model", "reason": blob}
    path = target / tower.file
    path.write_bytes(blob)
    try:
        found = _run(TFLiteSignature(path, tower.signature), tower)
    except (BadCheckpoint, RuntimeError, ValueError) as error:
        path.unlink()
        return {"format": "saved_model", "reason": f"the converted graph does not run: {_first_line(error)}"}
    difference = float(np.max(np.abs(found - expected)) / np.max(np.abs(expected)))
    if not difference <= TOLERANCE:
        path.unlink()
        return {"format": "saved_model", "reason": f"the converted graph differs by {difference:.1e}"}
    return {"format": "tflite", "error": difference}


def keep_graph(source: Path, target: Path) -> None:
    """Copies the original SavedModel, for towers that stay with TensorFlow."""
    shutil.copytree(source / musiccoca.V1_GRAPH, target / musiccoca.GRAPH_FOLDER, dirs_exist_ok=True)


def towers_kept(report: Mapping[str, Mapping[str, Any]]) -> Collection[str]:
    """Names of the towers that stay with TensorFlow."""
    return [name for name, entry in report.items() if entry["format"] == "saved_model"]


def _to_tflite(graph: Path, signature: str) -> bytes | str:
    """The TFLite flatbuffer, or the reason why there is none."""
    from tensorflow.lite.python.convert import ConverterError

    tf = saved_model.tensorflow()
    converter = tf.lite.TFLiteConverter.from_saved_model(str(graph), signature_keys=[signature])
    # Built-in operations only: a file that needs TensorFlow's own would not run on ai_edge_litert.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    try:
        blob: bytes = converter.convert()
    except (ConverterError, ValueError, RuntimeError, tf.errors.OpError) as error:
        return _first_line(error)
    return blob


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]


def _run(signature: musiccoca.Signature, tower: Tower) -> NDArray[np.float32]:
    outputs = signature(**tower.probe())
    if tower.output not in outputs:
        raise BadCheckpoint(
            f"The signature `{tower.signature}` of MusicCoCa gives no `{tower.output}`.",
            "Use savedmodels/musiccoca_mv212f_cpu_novocab of Magenta RealTime v1.",
        )
    found: NDArray[np.float32] = np.asarray(outputs[tower.output], np.float32)
    return found

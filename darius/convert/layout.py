"""Which files a conversion reads and which it writes. Knows no TensorFlow and no networks.

Source: the layout of google/magenta-realtime (Magenta RealTime v1).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from darius.errors import BadCheckpoint
from darius.style.musiccoca import V1_GRAPH, V1_QUANTIZER, V1_VOCABULARY

ENCODER = "savedmodels/ssv2_48k_stereo/encoder"
DECODER = "savedmodels/ssv2_48k_stereo/decoder"
QUANTIZER = "savedmodels/ssv2_48k_stereo/quantizer"
CODEC_TESTDATA = "testdata/ssv2_48k_stereo"
STYLE_TESTDATA = "testdata/musiccoca_mv212"

CODEC_FILE = "codec.safetensors"
MANIFEST_FILE = "manifest.json"

SAVED_MODELS = (ENCODER, DECODER, QUANTIZER, V1_GRAPH, V1_QUANTIZER)


def check_source(source: Path) -> None:
    """Raises BadCheckpoint naming the first file of the original that is missing."""
    needed = [f"{model}/{file}" for model in SAVED_MODELS for file in ("saved_model.pb", "variables/variables.index")]
    for name in [*needed, V1_VOCABULARY]:
        if not (source / name).is_file():
            raise BadCheckpoint(
                f"{source} has no {name}.",
                "Download google/magenta-realtime (folders savedmodels and vocabularies) and name its folder.",
            )


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file under a folder, by its path from there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}


def sha256(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

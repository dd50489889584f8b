"""What was converted against the original's own test data. Runs inside a process of its own, without TensorFlow.

Source: `testdata/` of google/magenta-realtime, with the bounds of the original's tests: codec tokens equal, round trip
within 1e-4; style tokens equal, embeddings within 1e-5.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darius.checkpoints import safetensors_io
from darius.codec.codec import Codec
from darius.codec.config import CodecConfig
from darius.codec.weights import nest
from darius.convert.layout import CODEC_FILE, CODEC_TESTDATA, STYLE_TESTDATA
from darius.errors import BadCheckpoint
from darius.style import musiccoca
from darius.style.quantize import rvq_encode

# The original's bounds hold on the machine that wrote the data. Another machine rounds differently, and a rounding
# can tip a near tie of the quantiser, so a few tokens may differ; a wrong kernel or codebook changes nearly all.
MIN_TOKENS_EQUAL = 0.99
MAX_ROUND_TRIP_ERROR = 1e-3
MAX_EMBEDDING_ERROR = 1e-3


def check(source: Path, target: Path, *, tensorflow_towers: Collection[str] = ()) -> dict[str, Any]:
    """Runs what test data there is through the converted files.

    Args:
      source: the original's folder; `testdata/` may be missing as a whole or in part.
      target: the converted files.
      tensorflow_towers: towers that were not converted: the original's own graph needs no check.

    Returns:
      Measured figures by name, {} without test data: shares of equal tokens and largest errors.

    Raises:
      BadCheckpoint: the converted files do not reproduce the original.
    """
    found: dict[str, float] = {}
    if (source / CODEC_TESTDATA / "audio.npy").is_file():
        found |= _check_codec(source / CODEC_TESTDATA, target)
    if (source / STYLE_TESTDATA / "tokens.npy").is_file():
        found |= _check_style(source / STYLE_TESTDATA, target, tensorflow_towers)
    for name, value in found.items():
        _judge(name, value)
    return found


def load_codec(target: Path) -> Codec:
    """The converted codec."""
    config = CodecConfig.from_dict(safetensors_io.metadata(target / CODEC_FILE)["config"])
    return Codec(config, nest(safetensors_io.load(target / CODEC_FILE)))


def _check_codec(testdata: Path, target: Path) -> dict[str, float]:
    """Shapes as the original saved them: audio [n, 2], tokens [frames, levels], with or without a batch in front."""
    codec = load_codec(target)
    audio = _load(testdata / "audio.npy").astype(np.float32)
    tokens = _load(testdata / "tokens.npy").astype(np.int32)
    audio, tokens = audio.reshape(-1, *audio.shape[-2:]), tokens.reshape(-1, *tokens.shape[-2:])
    levels = min(codec.num_levels, tokens.shape[-1])
    ours = np.asarray(codec.encode(audio, levels=levels))
    found = {"codec_tokens_equal": _equal(ours, tokens[..., :levels])}
    if (testdata / "audio_rt.npy").is_file() and levels == tokens.shape[-1]:
        expected = _load(testdata / "audio_rt.npy").astype(np.float32)
        decoded = np.asarray(codec.decode(tokens)).reshape(-1, expected.shape[-1])
        found["codec_round_trip_error"] = _error(decoded, expected.reshape(-1, expected.shape[-1]))
    return found


def _check_style(testdata: Path, target: Path, tensorflow_towers: Collection[str]) -> dict[str, float]:
    from darius.audio.waveform import Waveform

    embeddings = _load(testdata / "embeddings.npy").astype(np.float32)
    codebooks = musiccoca.load_codebooks(target / musiccoca.CODEBOOKS_FILE)
    found = {"style_tokens_equal": _equal(rvq_encode(codebooks, embeddings), _load(testdata / "tokens.npy"))}
    if tensorflow_towers:
        return found
    model = musiccoca.load(target)
    if (testdata / "inputs.txt").is_file():
        texts = (testdata / "inputs.txt").read_text(encoding="utf-8").strip().splitlines()
        found["style_text_error"] = _error(model.embed_text(texts), embeddings)
    if (testdata / "audio.npy").is_file() and (testdata / "embeddings_audio.npy").is_file():
        clips = _load(testdata / "audio.npy").astype(np.float32)
        ours = [model.embed_audio(Waveform(clip, musiccoca.SAMPLE_RATE)) for clip in clips]
        found["style_audio_error"] = _error(np.stack(ours), _load(testdata / "embeddings_audio.npy"))
    return found


def _judge(name: str, value: float) -> None:
    bounds = {"codec_round_trip_error": MAX_ROUND_TRIP_ERROR}
    if name.endswith("_equal"):
        good = value >= MIN_TOKENS_EQUAL
    else:
        good = value <= bounds.get(name, MAX_EMBEDDING_ERROR)
    if not good:
        raise BadCheckpoint(
            f"The converted files do not reproduce the original's test data: {name} is {value:.3g}.",
            "Download the original's files again; if it stays, please report it.",
        )


def _load(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadCheckpoint(f"The original's test data {path} cannot be read.", "Download it again.") from error
    return array


def _equal(ours: NDArray[Any], expected: NDArray[Any]) -> float:
    if ours.shape != expected.shape:
        return 0.0
    return float(np.mean(ours == expected))


def _error(ours: NDArray[Any], expected: NDArray[Any]) -> float:
    """Largest deviation relative to the largest value; infinite for another shape."""
    if ours.shape != expected.shape:
        return float("inf")
    return float(np.max(np.abs(ours - expected)) / np.max(np.abs(expected)))

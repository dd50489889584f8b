"""The codec's SavedModels -> one safetensors file. Runs inside the conversion's own process.

Knows where v1 keeps its variables; `darius.codec.v1_names` knows what they are called and how they are laid out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darius.checkpoints import safetensors_io
from darius.codec import v1_names, weights
from darius.codec.config import CodecConfig
from darius.convert.layout import CODEC_FILE, DECODER, ENCODER, QUANTIZER
from darius.convert.variables import SavedVariables
from darius.errors import BadCheckpoint
from darius.style.saved_model import tensorflow

_HINT = "Use the SavedModels ssv2_48k_stereo of Magenta RealTime v1, or download them again."


def convert_codec(
    source: Path, target: Path, config: CodecConfig, *, on_progress: Callable[[float], None]
) -> dict[str, Any]:
    """Writes `codec.safetensors` (float32) with the configuration as metadata `config`.

    Args:
      source: the folder that holds `savedmodels/`.
      target: an existing folder.
      config: the codec as it should be; its `num_levels` says how many of the stored codebooks are kept.
      on_progress: told the part done, 0 to 1.

    Returns:
      What the manifest says of it: tensors, parameters, levels.

    Raises:
      BadCheckpoint: naming the first tensor that is missing, there twice, or misshapen.
    """
    tf = tensorflow()
    parts = {"encoder": SavedVariables(source / ENCODER, tf), "decoder": SavedVariables(source / DECODER, tf)}
    on_progress(0.2)
    _check_shapes(parts, config)
    variables: dict[str, NDArray[np.float32]] = {}
    for part, saved in parts.items():
        # Raw kernels (before weight normalisation) and other state are as large again, and never used.
        wanted = [name for name in saved if not name.endswith("weight_norm/kernel")]
        variables |= {f"{part}/{name}": saved[name] for name in wanted}
        on_progress(0.5 if part == "encoder" else 0.7)
    variables |= _codebooks(SavedVariables(source / QUANTIZER, tf), config)
    flat = weights.flatten(v1_names.from_v1(variables, config))
    on_progress(0.8)
    metadata = {"config": config.to_dict(), "source": "ssv2_48k_stereo"}
    safetensors_io.save(target / CODEC_FILE, flat, metadata, overwrite=True)
    on_progress(1.0)
    return {
        "tensors": len(flat),
        "parameters": int(sum(np.size(tensor) for tensor in flat.values())),
        "levels": config.num_levels,
    }


def _check_shapes(parts: dict[str, SavedVariables], config: CodecConfig) -> None:
    """Raises BadCheckpoint naming the first of v1's own tensors that is misshapen, before anything large is read."""
    # Arrays without memory: only their shapes are asked for.
    blank = {name: np.broadcast_to(np.float32(0), shape) for name, shape in weights.shapes(config).items()}
    for name, expected in v1_names.to_v1(weights.nest(blank)).items():
        part, _, ending = name.partition("/")
        if part not in parts:
            continue
        for stored in parts[part]:
            if f"/{stored}".endswith(f"/{ending}") and parts[part].shape(stored) != expected.shape:
                raise _misshapen(f"{part}/{stored}", parts[part].shape(stored), expected.shape)


def _codebooks(quantizer: SavedVariables, config: CodecConfig) -> dict[str, NDArray[np.float32]]:
    expected = (config.num_features, config.codebook_size)
    found = {}
    for level in range(config.num_levels):
        path = f"_quantizers/{level}/embeddings"
        codebook = quantizer.at(path)
        if codebook.shape != expected:
            raise _misshapen(f"quantizer/{path}", codebook.shape, expected)
        found[f"quantizer/{level}/embeddings"] = codebook
    return found


def _misshapen(name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> BadCheckpoint:
    return BadCheckpoint(f"The v1 codec tensor {name} is {list(found)} instead of {list(expected)}.", _HINT)

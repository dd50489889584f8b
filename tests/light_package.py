"""Folders with whole models that a server can load, lighter than `tiny`; their music is noise, random weights made it.

`light`: codec, style, rates and lengths are `tiny`'s own, only the language model is the smallest there can be: a chunk
of 2 s costs so little that many jams play in real time on two CPU cores. `small`: the small model of the jam tests,
whose chunks of 0.4 s at 8 kHz cost nothing.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jax
from jam import small_model

import darius
from darius.checkpoints import compact, safetensors_io
from darius.codec import weights as codec_weights
from darius.depthformer import weights
from darius.depthformer.config import DepthformerConfig

TINY = Path(darius.__file__).parent / "assets" / "tiny"
SMALLEST: dict[str, Any] = {
    "embed_dim": 16,
    "num_heads": 1,
    "head_dim": 16,
    "mlp_dim": 16,
    "num_encoder_layers": 1,
    "num_temporal_layers": 1,
    "num_depth_layers": 1,
}


def write_light(folder: Path) -> Path:
    """`light` in the folder, for `--model`."""
    _write(folder, DepthformerConfig(**SMALLEST), "light")
    shutil.copy(TINY / "codec.safetensors", folder)
    return folder


def write_small(folder: Path) -> Path:
    """`small` in the folder, for `--model`."""
    _write(folder, small_model.DEPTHFORMER, "small")
    codec = small_model.CODEC
    params = codec_weights.flatten(codec_weights.initialise(codec, jax.random.key(1)))
    safetensors_io.save(folder / "codec.safetensors", params, metadata={"config": codec.to_dict()})
    return folder


def _write(folder: Path, config: DepthformerConfig, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = compact.pack(config, weights.initialise(config, jax.random.key(0)))
    safetensors_io.save(folder / "depthformer.safetensors", tensors, metadata={"config": config.to_dict()})
    shutil.copy(TINY / "style.safetensors", folder)
    facts = json.loads((TINY / "config.json").read_text()) | {"name": name, "prefix_frames": 0}
    (folder / "config.json").write_text(json.dumps(facts))

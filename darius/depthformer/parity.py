"""Golden folders: outputs of the original, compared with ours number for number. Knows the format of the folder.

A golden folder holds `config.json`, a T5X checkpoint archive, `inputs.npz` and `outputs.npz`: outputs of the
original code for a float32 (`f32/...`) and a bfloat16 run (`bf16/...`) of the same weights. Every array of
`outputs.npz` is one case; `darius.depthformer.golden` computes what it is compared with.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from darius.depthformer import weights
from darius.depthformer.config import DepthformerConfig
from darius.depthformer.golden import Arrays, Comparison, Run
from darius.errors import BadCheckpoint
from darius.tokens import TokenLayout


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One comparison; it holds when what was measured is at most the tolerance."""

    name: str
    what: str
    measured: float
    tolerance: float

    @property
    def ok(self) -> bool:
        return bool(self.measured <= self.tolerance)

    def to_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "ok": self.ok}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """All cases of a golden folder."""

    folder: str
    cases: tuple[Case, ...]

    @property
    def ok(self) -> bool:
        return bool(self.cases) and all(case.ok for case in self.cases)

    def to_dict(self) -> dict[str, Any]:
        return {"folder": self.folder, "ok": self.ok, "cases": [case.to_dict() for case in self.cases]}


def check_folder(path: str | Path) -> Report:
    """Runs every case of a golden folder, of any dimensions, through our checkpoint reader and engine.

    Raises:
      BadCheckpoint: a file of the folder is missing or damaged, or the checkpoint does not fit `config.json`.
    """
    folder = Path(path)
    described, inputs, outputs = _load(folder)
    config = config_of(described)
    params = _read_checkpoint(folder, described)
    weights.check(config, params)
    with jax.default_matmul_precision("float32"):
        cases = tuple(_cases(config, params, described, inputs, outputs))
    return Report(folder=str(folder), cases=cases)


def config_of(described: dict[str, Any]) -> DepthformerConfig:
    """The model that a golden folder's `config.json` describes."""
    try:
        layout = TokenLayout(
            codebook_size=described["codebook_size"],
            codec_levels=described["num_levels"],
            context_levels=described["encoder_codec_levels"],
            context_style_levels=described["encoder_style_levels"],
            context_frames=described["context_frames"],
            chunk_frames=described["chunk_frames"],
        )
        return DepthformerConfig(
            layout=layout,
            embed_dim=described["embed_dim"],
            num_heads=described["num_heads"],
            head_dim=described["head_dim"],
            mlp_dim=described["mlp_dim"],
            num_encoder_layers=described["num_encoder_layers"],
            num_temporal_layers=described["num_temporal_layers"],
            num_depth_layers=described["num_depth_layers"],
            temporal_buckets=described["temporal_relpos_buckets"],
            depth_buckets=described["depth_relpos_buckets"],
            norm_epsilon=described["layer_norm_epsilon"],
        )
    except KeyError as error:
        raise BadCheckpoint(f"The golden folder's config.json does not say {error.args[0]}.") from error


def _load(folder: Path) -> tuple[dict[str, Any], Arrays, Arrays]:
    for name in ("config.json", "inputs.npz", "outputs.npz"):
        if not (folder / name).is_file():
            raise BadCheckpoint(
                f"{folder} has no file {name}.", "A golden folder holds config.json, a checkpoint, inputs and outputs."
            )
    described: dict[str, Any] = json.loads((folder / "config.json").read_text())
    with np.load(folder / "inputs.npz") as inputs, np.load(folder / "outputs.npz") as outputs:
        return described, dict(inputs), dict(outputs)


def _read_checkpoint(folder: Path, described: dict[str, Any]) -> weights.Params:
    from darius.checkpoints import archives, t5x

    checkpoint = folder / str(described["checkpoint"])
    if checkpoint.is_dir():
        return t5x.read(checkpoint)
    with tempfile.TemporaryDirectory(prefix="darius-parity-") as scratch:
        return t5x.read(archives.unpack(checkpoint, scratch))


def _cases(
    config: DepthformerConfig, params: weights.Params, described: dict[str, Any], inputs: Arrays, outputs: Arrays
) -> Iterator[Case]:
    for kind in ("f32", "bf16"):
        prefix = f"{kind}/"
        golden = {name.removeprefix(prefix): value for name, value in outputs.items() if name.startswith(prefix)}
        if golden:
            run = Run(config, params, kind, described, inputs, golden)
            for name in golden:
                yield _case(prefix + name, run.compare(name))
            yield _case(f"{kind}/cached_equals_one_pass", run.compare_passes())


def _case(name: str, found: Comparison) -> Case:
    return Case(name=name, what=found.what, measured=round(found.measured, 9), tolerance=found.tolerance)

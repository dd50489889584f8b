"""Where training starts: a model's parameters in full precision, its step, and its optimiser's state where it has one.

Knows names and files; knows no training.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path

from darius import hub, parts, random_weights
from darius.checkpoints import archives, compact, convert, safetensors_io, t5x
from darius.depthformer import weights
from darius.depthformer.config import DepthformerConfig
from darius.errors import BadCheckpoint
from darius.hub.cache import checkpoints_folder
from darius.hub.stock import STEP
from darius.parts import Parts
from finetune.stacks import Array

OnProgress = Callable[[str, float], None]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Origin:
    """A model to train.

    Attributes:
      params: flat, float32, on the host; param_states: as in `t5x.Checkpoint`, {} where there are none.
      step: steps so far.
      parts: the codec and the style that it speaks through.
      legal_only: whether it only ever chooses among a level's own codes, see `loss.LossOptions`.
    """

    config: DepthformerConfig
    params: dict[str, Array]
    param_states: dict[str, Array]
    step: int
    parts: Parts
    legal_only: bool


def load(name: str, *, offline: bool = False, on_progress: OnProgress | None = None) -> Origin:
    """A model by its name, as `darius.load` knows it.

    Raises:
      ModelNotFound, DownloadFailed, BadCheckpoint, MissingDependency.
    """
    size = random_weights.size_of(name)
    if size is not None:
        config = {"tiny": DepthformerConfig.tiny, "base": DepthformerConfig.base, "large": DepthformerConfig.large}[
            size
        ]()
        drawn = random_weights.language_model(config)
        return _origin(config, t5x.Checkpoint(step=STEP, params=drawn), random_weights.parts_of(size))
    resolved = hub.resolve(name, offline=offline, on_progress=on_progress)
    if resolved.kind in ("embedded", "package"):
        file = resolved.path / "depthformer.safetensors"
        facts = safetensors_io.metadata(file)
        config = DepthformerConfig.from_dict(facts["config"])
        params = compact.unpack(config, safetensors_io.load(file))
        return _origin(
            config, t5x.Checkpoint(step=facts.get("step") or 0, params=params), parts.of_package(resolved.path)
        )
    checkpoint = read(resolved.path)
    config = weights.infer({key: array.shape for key, array in checkpoint.params.items()})
    weights.check(config, checkpoint.params)
    return _origin(config, checkpoint, parts.of_config(config, name, offline=offline, on_progress=on_progress))


def read(path: Path) -> t5x.Checkpoint:
    """A T5X folder, an archive of one, or a safetensors file, with the optimiser's state if it has one.

    Raises:
      BadCheckpoint: damaged, or it does not say its step.
    """
    if path.is_dir():
        return t5x.read_checkpoint(path)
    if archives.is_archive(path):
        cache = checkpoints_folder(hub.cache_root())
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".reading-", dir=cache) as temporary:
            return t5x.read_checkpoint(archives.unpack(path, temporary))
    stored = convert.load(path, cache_dir=checkpoints_folder(hub.cache_root()))
    if stored.step is None:
        raise BadCheckpoint(
            f"{path} does not say its training step.", "Train from a T5X checkpoint, or from base or large."
        )
    return t5x.Checkpoint(step=stored.step, params=stored.params)


def _origin(config: DepthformerConfig, checkpoint: t5x.Checkpoint, found: Parts) -> Origin:
    import numpy as np

    return Origin(
        config=config,
        params={name: np.asarray(value, np.float32) for name, value in checkpoint.params.items()},
        param_states=checkpoint.param_states,
        step=checkpoint.step,
        parts=found,
        # A model with a known beginning is tiny or of its family: their other columns were never trained.
        legal_only=found.prefix_frames > 0,
    )

"""The package `magenta-rt`: its networks' sizes, and a plain sentence where it is missing. Knows no weights.

Source: `magenta_rt.jax.model`, `magenta_rt.config` (magenta-rt 2.0.3).
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

from darius.errors import InvalidOption, MissingDependency

SIZES = {"mrt2-small": "mrt2_small", "mrt2-base": "mrt2_base"}
"""Darius' names -> the package's."""
TINY = "mrt2-tiny"
"""A network of the same kind, small enough for tests; there are no trained weights of it."""


def module(name: str) -> Any:
    """A module of the package, such as "jax.model".

    Raises:
      MissingDependency: the package, or something that it needs, is not installed.
    """
    try:
        return importlib.import_module(f"magenta_rt.{name}")
    except ImportError as error:
        raise MissingDependency(
            f"Magenta RealTime 2 needs the package magenta-rt, which cannot be imported ({error}).",
            "Run `pip install 'darius[mrt2]'` (Python 3.11 or 3.12).",
        ) from None


def sequence_layers() -> Any:
    """The layers that the package's networks are made of."""
    module("config")  # puts the copy that comes with it on the path
    return importlib.import_module("sequence_layers.jax")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Architecture:
    """A network's sizes.

    Attributes:
      name: mrt2-small, mrt2-base or mrt2-tiny.
      model: the package's own description of it.
    """

    name: str
    model: Any

    @property
    def levels(self) -> int:
        """RVQ levels."""
        return int(self.model.target_tokens_config.rvq_truncation_level)

    @property
    def codebook_size(self) -> int:
        return int(self.model.target_tokens_config.codebook_size)

    @property
    def reserved(self) -> int:
        """Ids before the first code."""
        return int(self.model.target_tokens_config.num_extra_tokens)

    @property
    def frame_rate(self) -> int:
        return int(self.model.target_tokens_config.frame_rate)

    @property
    def memory_frames(self) -> int:
        """Frames of its own past that a frame depends on: every layer looks back as far again."""
        horizon = self.model.decoder_temporal_self_attention_max_past_horizon
        return int(horizon * self.model.decoder_temporal_size.num_layers)

    @property
    def inputs(self) -> tuple[Any, ...]:
        """The conditioning inputs in their order: key, codebook_size, rvq_truncation_level, step."""
        return tuple(self.model.input_configs)

    @property
    def input_channels(self) -> int:
        return int(self.model.input_num_channels)


def architecture(name: str, *, dtype: str = "bfloat16") -> Architecture:
    """The sizes of mrt2-small, mrt2-base or mrt2-tiny.

    Args:
      dtype: of most arithmetic. The package's own is bfloat16.

    Raises:
      InvalidOption: another name.
      MissingDependency: the package is not installed.
    """
    import jax.numpy as jnp

    models = module("jax.model")
    if name in SIZES:
        model = models.get_model_class(SIZES[name])()
    elif name == TINY:
        model = _tiny(models)
    else:
        raise InvalidOption(f"There is no Magenta RealTime 2 of the size '{name}'.", f"Choose {' or '.join(SIZES)}.")
    model.compute_dtype = jnp.dtype(dtype)
    return Architecture(name=name, model=model)


def _tiny(models: Any) -> Any:
    def stack(layers: int, width: int) -> Any:
        return models.ModelSpec(
            num_layers=layers,
            model_dims=width,
            hidden_dims=2 * width,
            num_heads=2,
            dim_per_head=width // 2,
            ffn_use_gated_activation=False,
        )

    model = models.MagentaRT2ModelBase()
    model.spectrostream = dataclasses.replace(model.spectrostream, rvq_truncation_level=4)
    model.encoder_size = stack(1, 32)
    model.decoder_temporal_size = stack(2, 32)
    model.decoder_depth_size = stack(1, 16)
    model.decoder_temporal_self_attention_max_past_horizon = 10
    model.decoder_temporal_cross_attention_max_past_horizon = 10
    return model

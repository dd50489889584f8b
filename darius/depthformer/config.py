"""The sizes of a Depthformer: one frozen dataclass and its presets. Knows no arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from darius.errors import InvalidOption
from darius.tokens import TokenLayout


@dataclasses.dataclass(frozen=True, kw_only=True)
class DepthformerConfig:
    """An encoder over the context, a temporal decoder over frames, a depth decoder over the RVQ levels of a frame.

    Source: Magenta RealTime v1 (gin files `size_base`, `size_large`, `depthformer`, `magenta_rt`). The temporal
    stack has 20 layers and the depth stack 4 in both published sizes; both are as wide as the encoder.

    Attributes:
      layout: the vocabulary and the lengths of the token sequences.
      embed_dim: width D of the residual.
      num_heads, head_dim: attention heads and the size of each.
      mlp_dim: inner width of the gated MLP.
      dropout_rate: used in training only.
      temporal_buckets, depth_buckets: buckets of the relative position biases (also their maximum distance).
      norm_epsilon: added inside the root of the norms.
    """

    layout: TokenLayout = dataclasses.field(default_factory=TokenLayout)
    embed_dim: int
    num_heads: int
    head_dim: int
    mlp_dim: int
    num_encoder_layers: int
    num_temporal_layers: int
    num_depth_layers: int
    dropout_rate: float = 0.1
    temporal_buckets: int = 128
    depth_buckets: int = 16
    norm_epsilon: float = 1e-6

    @property
    def joined_dim(self) -> int:
        """All heads side by side."""
        return self.num_heads * self.head_dim

    @classmethod
    def tiny(cls) -> DepthformerConfig:
        """The model that ships inside the package."""
        return cls(
            embed_dim=256,
            num_heads=5,
            head_dim=64,
            mlp_dim=256,
            num_encoder_layers=1,
            num_temporal_layers=3,
            num_depth_layers=2,
        )

    @classmethod
    def base(cls) -> DepthformerConfig:
        """Magenta RealTime v1 base: 347,873,472 parameters."""
        return cls(
            embed_dim=768,
            num_heads=12,
            head_dim=64,
            mlp_dim=2048,
            num_encoder_layers=12,
            num_temporal_layers=20,
            num_depth_layers=4,
        )

    @classmethod
    def large(cls) -> DepthformerConfig:
        """Magenta RealTime v1 large: 761,651,456 parameters."""
        return cls(
            embed_dim=1024,
            num_heads=16,
            head_dim=64,
            mlp_dim=2816,
            num_encoder_layers=24,
            num_temporal_layers=20,
            num_depth_layers=4,
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DepthformerConfig:
        """The inverse of `to_dict`.

        Raises:
          InvalidOption: a field is unknown or missing.
        """
        try:
            return cls(**{**values, "layout": TokenLayout(**values.get("layout", {}))})
        except TypeError as error:
            raise InvalidOption(
                f"This is not a Depthformer configuration: {error}.",
                "Its fields are those that DepthformerConfig.to_dict() writes.",
            ) from error

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return dataclasses.asdict(self)

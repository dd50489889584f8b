"""The parameter tree of a Depthformer: names, shapes, initial values, checks. Knows no computation and no files.

Parameters are a flat dictionary with the names of the original T5X checkpoints joined by "/"; kernels are
[inputs, outputs], float32, without biases. Attention kernels are head-major in their joined axis.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from darius.depthformer.config import DepthformerConfig
from darius.errors import BadCheckpoint
from darius.tokens import TokenLayout

if TYPE_CHECKING:
    import jax

Params: TypeAlias = dict[str, Any]
"""Flat name -> float32 array (NumPy or JAX)."""

Shapes: TypeAlias = dict[str, tuple[int, ...]]

EMBEDDING = "token_embedder/embedding"
ENCODER = "encoder"
ENCODER_NORM = "encoder/encoder_norm/scale"
TEMPORAL = "decoder/decoder/temporal_decoder"
TEMPORAL_BIAS = f"{TEMPORAL}/relpos_bias/rel_embedding"
DEPTH = "decoder/decoder/depth_decoder"
DEPTH_BIAS = f"{DEPTH}/relpos_bias_depth/rel_embedding"
DECODER_NORM = "decoder/decoder_norm/scale"
LOGITS = "decoder/logits_dense/kernel"


def encoder_layer(index: int) -> str:
    return f"{ENCODER}/layers_{index}"


def temporal_layer(index: int) -> str:
    return f"{TEMPORAL}/layers_{index}"


def depth_layer(index: int) -> str:
    return f"{DEPTH}/depth_layers_{index}"


def shapes(config: DepthformerConfig) -> Shapes:
    """Every parameter's name and shape."""
    return dict(_shapes(config))


def count(config: DepthformerConfig) -> int:
    """The number of parameters."""
    return sum(math.prod(shape) for shape in shapes(config).values())


def _shapes(config: DepthformerConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    width = config.embed_dim
    yield EMBEDDING, (config.layout.vocab_rows, width)
    for index in range(config.num_encoder_layers):
        layer = encoder_layer(index)
        yield from _attention(config, layer, "attention", "pre_attention_layer_norm")
        yield from _mlp(config, layer)
    yield ENCODER_NORM, (width,)
    for index in range(config.num_temporal_layers):
        layer = temporal_layer(index)
        yield from _attention(config, layer, "self_attention", "pre_self_attention_layer_norm")
        yield from _attention(config, layer, "encoder_decoder_attention", "pre_cross_attention_layer_norm")
        yield from _mlp(config, layer)
    yield TEMPORAL_BIAS, (config.num_heads, config.temporal_buckets)
    for index in range(config.num_depth_layers):
        layer = depth_layer(index)
        yield from _attention(config, layer, "self_attention", "pre_self_attention_layer_norm")
        yield from _mlp(config, layer)
    yield DEPTH_BIAS, (config.num_heads, config.depth_buckets)
    yield DECODER_NORM, (width,)
    yield LOGITS, (width, config.layout.vocab_rows)


def _attention(config: DepthformerConfig, layer: str, name: str, norm: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{layer}/{norm}/scale", (config.embed_dim,)
    for projection in ("query", "key", "value"):
        yield f"{layer}/{name}/{projection}/kernel", (config.embed_dim, config.joined_dim)
    yield f"{layer}/{name}/out/kernel", (config.joined_dim, config.embed_dim)


def _mlp(config: DepthformerConfig, layer: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{layer}/pre_mlp_layer_norm/scale", (config.embed_dim,)
    for projection in ("wi_0", "wi_1"):
        yield f"{layer}/mlp/{projection}/kernel", (config.embed_dim, config.mlp_dim)
    yield f"{layer}/mlp/wo/kernel", (config.mlp_dim, config.embed_dim)


def initialise(config: DepthformerConfig, key: jax.Array) -> Params:
    """Random float32 parameters, as the original's initialisers draw them.

    The table is standard normal; attention kernels are normal and MLP and output kernels truncated normal with
    variance 1 / inputs; the query kernel carries the missing 1 / sqrt(head size); relative biases are uniform.
    A tensor's values depend on the key and its name only.
    """
    import jax

    def draw(name: str, shape: tuple[int, ...]) -> jax.Array:
        own = jax.random.fold_in(key, zlib.crc32(name.encode()))
        return _initial(name, shape, own, config.head_dim)

    return {name: draw(name, shape) for name, shape in shapes(config).items()}


def _initial(name: str, shape: tuple[int, ...], key: jax.Array, head_dim: int) -> jax.Array:
    import jax
    import jax.numpy as jnp

    scaling = jax.nn.initializers.variance_scaling
    if name.endswith("/scale"):
        return jnp.ones(shape, jnp.float32)
    if name == EMBEDDING:
        return jax.random.normal(key, shape, jnp.float32)
    if name.endswith("/rel_embedding"):
        return scaling(1.0, "fan_avg", "uniform")(key, shape, jnp.float32)
    if name.endswith("/query/kernel"):
        return scaling(1.0 / head_dim, "fan_in", "normal")(key, shape, jnp.float32)
    if "attention/" in name:
        return scaling(1.0, "fan_in", "normal")(key, shape, jnp.float32)
    return scaling(1.0, "fan_in", "truncated_normal")(key, shape, jnp.float32)


def check(config: DepthformerConfig, params: Mapping[str, Any]) -> None:
    """Compares names, shapes and number types with what the configuration needs.

    Raises:
      BadCheckpoint: a tensor is missing, has another shape, is not of floats, or is one too many; names it.
    """
    expected = shapes(config)
    for name, shape in expected.items():
        if name not in params:
            raise BadCheckpoint(f"The tensor {name} is missing.", "The checkpoint is incomplete: copy it again.")
        found = tuple(params[name].shape)
        if found != shape:
            raise BadCheckpoint(
                f"The tensor {name} has shape {list(found)}, but this model needs {list(shape)}.",
                "The checkpoint is of another size: load it as the model that it was trained from.",
            )
        if params[name].dtype.kind not in "fV":  # bfloat16 is kind V to NumPy
            raise BadCheckpoint(
                f"The tensor {name} holds {params[name].dtype}, not floating point numbers.",
                "Convert the checkpoint to float32 or bfloat16.",
            )
    extra = sorted(set(params) - set(expected))
    if extra:
        raise BadCheckpoint(
            f"The tensor {extra[0]} is not part of this model.",
            "The checkpoint is of another size: load it as the model that it was trained from.",
        )


def infer(found: Mapping[str, tuple[int, ...]], layout: TokenLayout | None = None) -> DepthformerConfig:
    """The configuration whose parameters have these shapes (say, of a finetune: base or large?).

    Raises:
      BadCheckpoint: the tensors that tell the sizes are not there.
    """
    try:
        heads, temporal_buckets = found[TEMPORAL_BIAS]
        width, joined = found[f"{encoder_layer(0)}/attention/query/kernel"]
        return DepthformerConfig(
            layout=layout or TokenLayout(),
            embed_dim=width,
            num_heads=heads,
            head_dim=joined // heads,
            mlp_dim=found[f"{encoder_layer(0)}/mlp/wi_0/kernel"][1],
            num_encoder_layers=_layers(found, encoder_layer),
            num_temporal_layers=_layers(found, temporal_layer),
            num_depth_layers=_layers(found, depth_layer),
            temporal_buckets=temporal_buckets,
            depth_buckets=found[DEPTH_BIAS][1],
        )
    except KeyError as error:
        raise BadCheckpoint(
            f"The tensor {error.args[0]} is missing.", "This is not a checkpoint of a Depthformer, or it is incomplete."
        ) from error


def _layers(found: Mapping[str, tuple[int, ...]], layer: Any) -> int:
    index = 0
    while f"{layer(index)}/pre_mlp_layer_norm/scale" in found:
        index += 1
    return index

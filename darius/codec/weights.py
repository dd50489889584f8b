"""Names and shapes of the codec's parameters; random ones; checking read ones. Knows no files.

The tree is that of `magenta-rt` 2: `encoder/...`, `decoder/...`, `quantizer/embedding`; kernels are
[time, frequency, in, out], those of transposed convolutions not flipped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from darius.codec.config import Block, CodecConfig, Pair
from darius.codec.network import Params
from darius.errors import BadCheckpoint

Shapes = dict[str, tuple[int, ...]]
EMBEDDING = "quantizer/embedding"


def shapes(config: CodecConfig) -> Shapes:
    """Every tensor's shape by its name, joined by "/": `encoder/base_conv_first/conv/kernel` -> (7, 7, 2, 32)."""
    found = {f"encoder/{name}": shape for name, shape in _encoder(config).items()}
    found |= {f"decoder/{name}": shape for name, shape in _decoder(config).items()}
    return found | {EMBEDDING: (config.num_levels, config.codebook_size, config.num_features)}


def initialise(config: CodecConfig, key: jax.Array) -> Params:
    """Random float32 parameters: kernels scaled by their fan-in, biases zero, codebook vectors of about unit length."""
    wanted = shapes(config)
    # One draw for all: a compiled draw for each of a hundred shapes takes a minute.
    values = np.asarray(jax.random.normal(key, (sum(math.prod(shape) for shape in wanted.values()),)))
    flat, start = {}, 0
    for name, shape in wanted.items():
        own = values[start : start + math.prod(shape)].reshape(shape)
        start += own.size
        fan_in = config.num_features if name == EMBEDDING else math.prod(shape[:-1])
        flat[name] = jnp.asarray(np.zeros_like(own) if name.endswith("/bias") else own / np.float32(math.sqrt(fan_in)))
    return nest(flat)


def check(config: CodecConfig, params: Params) -> None:
    """Raises BadCheckpoint naming the first tensor that is missing, misshapen or unknown."""
    found, wanted = flatten(params), shapes(config)
    hint = "Use the codec weights that belong to this configuration, or convert them again."
    for name, shape in wanted.items():
        if name not in found:
            raise BadCheckpoint(f"The codec weights lack the tensor {name}.", hint)
        if tuple(found[name].shape) != shape:
            raise BadCheckpoint(f"The codec tensor {name} is {tuple(found[name].shape)}, not {shape}.", hint)
    if extra := sorted(set(found) - set(wanted)):
        raise BadCheckpoint(f"The codec weights have a tensor too many: {extra[0]}.", hint)


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dict -> flat dict with names joined by "/", in order of their names."""
    flat: dict[str, Any] = {}
    for name in sorted(params):
        value = params[name]
        flat |= flatten(value, f"{prefix}{name}/") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def nest(flat: Mapping[str, Any]) -> Params:
    """The inverse of `flatten`."""
    tree: Params = {}
    for name, value in flat.items():
        *parents, leaf = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return tree


def _encoder(config: CodecConfig) -> Shapes:
    inputs = config.spectrogram_channels // config.channel_splits
    found = _conv("base_conv_first", config.encoder_conv_size, inputs, config.encoder_depth)
    for block in config.encoder_blocks():
        last = "conv2d_{}x{}_a".format(*block.resample_kernel)
        found |= _conv(f"{block.name}/conv2d_3x3", (3, 3), block.inputs, block.inputs)
        found |= _conv(f"{block.name}/{last}", block.resample_kernel, block.inputs, block.outputs)
        found |= _shortcut(block)
    wide = config.bottleneck_bins * config.encoder_width
    found |= _conv("output_convs/conv1x1_last", (1, 1), wide, config.num_features)
    found |= _conv("output_convs/shortcut_layer/conv1x1_b1", (1, 1), wide, wide)
    return found | _conv("output_convs/shortcut_layer/conv1x1_b2", (1, 1), wide, config.num_features)


def _decoder(config: CodecConfig) -> Shapes:
    wide = config.bottleneck_bins * config.decoder_width
    found = _conv("input_layer/conv1x1_first", (1, 1), config.num_features, wide)
    found |= _conv("input_layer/shortcut_layer/conv1x1_b1", (1, 1), config.num_features, wide)
    found |= _conv("input_layer/shortcut_layer/conv1x1_b2", (1, 1), wide, wide)
    for block in config.decoder_blocks():
        kernel = block.resample_kernel
        first = "conv2d_3x3_a" if block.stride == (1, 1) else "conv2dtranspose_{}x{}".format(*kernel)
        found |= _conv(f"{block.name}/{first}", kernel, block.inputs, block.outputs)
        found |= _conv(f"{block.name}/conv2d_3x3", (3, 3), block.outputs, block.outputs)
        found |= _shortcut(block)
    outputs = config.spectrogram_channels // config.channel_splits
    return found | _conv("output_layer/base_conv_last", config.decoder_conv_size, config.decoder_depth, outputs)


def _shortcut(block: Block) -> Shapes:
    return _conv(f"{block.name}/shortcut_layer/conv1x1", (1, 1), block.inputs, block.outputs) if block.projected else {}


def _conv(name: str, size: Pair, inputs: int, outputs: int) -> Shapes:
    return {f"{name}/conv/kernel": (*size, inputs, outputs), f"{name}/conv/bias": (outputs,)}

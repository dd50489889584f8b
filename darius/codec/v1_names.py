"""Magenta RealTime v1's codec variables <-> our parameter tree. Knows names and layouts, not how files are read.

v1's variables have Keras names. A weight-normalised layer stores its raw kernel and the one already rescaled; the
latter is what it computes with. Transposed-convolution kernels are [time, frequency, out, in] and flipped against ours
in both axes; codebooks are [features, size].

Source: the variables of v1's SavedModels `ssv2_48k_stereo/{encoder,decoder,quantizer}` as documented by two independent
ports.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from darius.codec import weights
from darius.codec.config import CodecConfig
from darius.codec.network import Params
from darius.errors import BadCheckpoint

Variables = Mapping[str, NDArray[np.float32]]

_HINT = "Check that these are the SavedModels of ssv2_48k_stereo (encoder, decoder and quantizer)."
_LEAVES = {
    "kernel": ("weight_norm/rescaled/kernel", "conv/kernel"),
    "bias": ("weight_norm/bias", "conv/bias"),
}
_LAYERS = (
    (r"(encoder|decoder)/(\w+?_\d)/shortcut_layer/conv1x1", r"\1/\2/shortcut/conv1x1"),
    (r"encoder/output_convs/conv1x1_last", r"encoder/bottleneck/conv1x1_last/conv1x1"),
    (r"encoder/output_convs/shortcut_layer/conv1x1_b1", r"encoder/bottleneck/conv1x1_last/conv1x1_a"),
    (r"encoder/output_convs/shortcut_layer/conv1x1_b2", r"encoder/bottleneck/conv1x1_last/conv1x1_b"),
    (r"decoder/input_layer/conv1x1_first", r"decoder/input_layer/conv1x1_first/conv1x1"),
    (r"decoder/input_layer/shortcut_layer/conv1x1_b1", r"decoder/input_layer/conv1x1_first/conv1x1_a"),
    (r"decoder/input_layer/shortcut_layer/conv1x1_b2", r"decoder/input_layer/conv1x1_first/conv1x1_b"),
    (r"decoder/input_layers_residual_unit/(\w+)", r"decoder/input_layer/\1"),
    (r"decoder/output_layer/base_conv_last", r"decoder/input_layer/base_conv_last"),
)
"""Our layer (whole name) -> v1's; layers not here have the same name in both."""


def from_v1(variables: Variables, config: CodecConfig | None = None) -> Params:
    """Our nested float32 parameters from v1's variables.

    Args:
      variables: name -> array. The encoder's variables begin with `encoder/`, the decoder's with `decoder/` (then
        their own names, which may have more in front and `:0` behind); level i of the quantiser is
        `quantizer/<i>/embeddings`, [features, size].
      config: the codec they belong to, by default the full SpectroStream.

    Raises:
      BadCheckpoint: a variable is missing, there twice, or misshapen; it is named.
    """
    config = config or CodecConfig.spectrostream()
    flat = {}
    for name in weights.shapes(config):
        if name == weights.EMBEDDING:
            levels = [_find(variables, [f"quantizer/{i}/embeddings"]) for i in range(config.num_levels)]
            flat[name] = np.stack([level.T for level in levels])
        else:
            flat[name] = _turn(name, _find(variables, v1_names(name)))
    params = weights.nest({name: np.ascontiguousarray(value, np.float32) for name, value in flat.items()})
    weights.check(config, params)
    return params


def to_v1(params: Params) -> dict[str, NDArray[np.float32]]:
    """The inverse of `from_v1`: what v1 would have stored (rescaled kernels only)."""
    variables: dict[str, NDArray[np.float32]] = {}
    for name, value in weights.flatten(params).items():
        array = np.asarray(value, np.float32)
        if name == weights.EMBEDDING:
            variables |= {f"quantizer/{i}/embeddings": level.T for i, level in enumerate(array)}
        else:
            variables[v1_names(name)["base_conv_last" in name]] = _turn(name, array)
    return variables


def v1_names(name: str) -> list[str]:
    """Names that v1 may have for our tensor: in a weight-normalised layer, in a plain convolution."""
    layer, leaf = name.split("/conv/")
    for ours, theirs in _LAYERS:
        if re.fullmatch(ours, layer):
            layer = re.sub(ours, theirs, layer)
            break
    return [f"{layer}/{ending}" for ending in _LEAVES[leaf]]


def _turn(name: str, array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Between the two layouts of a transposed convolution's kernel (its own inverse); others stay."""
    if "conv2dtranspose" in name and name.endswith("/kernel"):
        return array[::-1, ::-1].swapaxes(2, 3)
    return array


def _find(variables: Variables, names: list[str]) -> NDArray[np.float32]:
    """The one variable of the same part whose name ends with one of `names` (without its part)."""
    for name in names:
        part, _, ending = name.partition("/")
        pattern = re.compile(rf"{part}/(.*/)?{re.escape(ending)}(:\d+)?")
        if found := [key for key in variables if pattern.fullmatch(key)]:
            if len(found) > 1:
                raise BadCheckpoint(f"The v1 codec has more than one variable {name}: {', '.join(found)}.", _HINT)
            return np.asarray(variables[found[0]])
    raise BadCheckpoint(f"The v1 codec lacks the variable {names[0]}.", _HINT)

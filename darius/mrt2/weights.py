"""Parameters of Magenta RealTime 2: the release's tensors -> what network and codec take; random ones. Knows no files.

A checkpoint's names are `params/depthformer/...` (the language model) and `params/soundstream/{decoder,quantizer}/...`;
the codec's encoder lies in a file of its own, `params/encoder/...`.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from darius.codec.weights import flatten, nest
from darius.errors import BadCheckpoint
from darius.mrt2.network import Network, Params

LANGUAGE_MODEL, CODEC, ENCODER = "params/depthformer/", "params/soundstream/", "params/encoder/"
_PLACES = 4096
_LOGITS = "decoder/depth_body/to_logits"
HINT = "Use mrt2_small.safetensors or mrt2_base.safetensors of google/magenta-realtime-2."

Flat = Mapping[str, Any]


def language_model(file: Flat) -> dict[str, Any]:
    """The language model's tensors of a checkpoint, by the names of `Network.shapes`, flat."""
    return {name.removeprefix(LANGUAGE_MODEL): value for name, value in file.items() if name.startswith(LANGUAGE_MODEL)}


def codec(file: Flat, encoder: Flat) -> dict[str, Any]:
    """The codec's parameters, nested as `darius.codec` takes them, of a checkpoint and the encoder's own file.

    Raises:
      BadCheckpoint: one of them has none.
    """
    found = {name.removeprefix(CODEC): value for name, value in file.items() if name.startswith(CODEC)}
    heard = {name.removeprefix("params/"): value for name, value in encoder.items() if name.startswith(ENCODER)}
    if not found or not heard:
        missing = "encoder" if found else "decoder"
        raise BadCheckpoint(f"The files of Magenta RealTime 2 hold no codec {missing}.", HINT)
    return nest({name: np.asarray(value, np.float32) for name, value in (found | heard).items()})


def check(network: Network, flat: Flat) -> None:
    """Raises BadCheckpoint naming the first tensor that is missing, misshapen or unknown."""
    wanted = flatten(network.shapes())
    for name, value in wanted.items():
        if name not in flat:
            raise BadCheckpoint(f"The checkpoint lacks the tensor {LANGUAGE_MODEL}{name}.", HINT)
        if tuple(np.shape(flat[name])) != tuple(value.shape):
            raise BadCheckpoint(
                f"The tensor {LANGUAGE_MODEL}{name} is {list(np.shape(flat[name]))}, not {list(value.shape)}.", HINT
            )
    if extra := sorted(set(flat) - set(wanted)):
        raise BadCheckpoint(f"The checkpoint has a tensor too many: {LANGUAGE_MODEL}{extra[0]}.", HINT)


def initialise(network: Network, seed: int = 0, *, device: Any = None) -> dict[str, Any]:
    """Random float32 parameters, flat, drawn on the device: kernels scaled by their fan-in, scales one, biases zero.

    All tensors are parts of one block of numbers, each beginning at a place of its own: billions of draws take minutes.
    """
    shapes = {name: value.shape for name, value in flatten(network.shapes()).items()}
    most = max(math.prod(shape) for shape in shapes.values())

    def draw(key: jax.Array) -> dict[str, jax.Array]:
        numbers = jax.random.normal(key, (most + _PLACES,))
        return {name: _random(numbers, name, shape) for name, shape in shapes.items()}

    key = jax.device_put(jax.random.key(seed), device)
    drawn: dict[str, Any] = jax.jit(draw)(key)
    return drawn


def pack(network: Network, flat: Flat, *, device: Any) -> Params:
    """Parameters on the device, matrices in the type that they are used in: the package casts them in every step.

    Norms, attention sinks and scales stay as they are.

    Returns:
      "layers": nested as the package's; "projections": kernels [levels, D, codes] and biases [levels, codes] of each
      level's own codes.
    """
    dtype = jnp.dtype(network.architecture.model.compute_dtype)
    drawn = any(isinstance(value, jax.Array) for value in flat.values())
    # What was read from a file is cast on the host: it need not fit on the device as it is.
    convert = jax.jit(_packed, static_argnums=(1, 2)) if drawn else _packed
    packed: Params = jax.device_put(convert(dict(flat), network, dtype), device)
    return packed


def _packed(flat: Flat, network: Network, dtype: Any) -> Params:
    cast = {name: _cast(name, value, dtype) for name, value in flat.items()}
    kernel, bias = cast.pop(f"{_LOGITS}/kernel"), cast.pop(f"{_LOGITS}/bias")
    architecture = network.architecture
    levels, size = architecture.levels, architecture.codebook_size
    own = slice(architecture.reserved, architecture.reserved + levels * size)
    projections = (kernel[:, own].reshape(-1, levels, size).swapaxes(0, 1), bias[own].reshape(levels, size))
    return {"layers": nest(cast), "projections": projections}


def _cast(name: str, value: Any, dtype: Any) -> Any:
    used = name.endswith(("/kernel", "/embedding")) or (name.endswith("/bias") and "_ln/" not in name)
    return value.astype(dtype if used else jnp.float32)


def _random(numbers: jax.Array, name: str, shape: tuple[int, ...]) -> jax.Array:
    leaf = name.rpartition("/")[2]
    if leaf == "scale":
        return jnp.ones(shape)
    if leaf in ("bias", "per_dim_scale"):
        return jnp.zeros(shape)
    if leaf == "kernel":
        # [in, out] of dense layers, [in, heads, dim] of attention's inputs, [out, heads, dim] of its outputs.
        fan_in = math.prod(shape[1:]) if "output_projection" in name else shape[0]
    else:
        fan_in = shape[-1]
    place = zlib.crc32(name.encode()) % _PLACES
    own = numbers[place : place + math.prod(shape)].reshape(shape)
    scaled: jax.Array = own * fan_in**-0.5
    return scaled

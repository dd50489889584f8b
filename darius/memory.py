"""How much memory of a device a model takes for so many streams, from the shapes alone; and what fits into a limit.

Knows sizes; knows no device and loads nothing. Upper estimates; docs/benchmarks.md has measured peaks beside them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from darius.errors import InvalidOption, OutOfMemory

if TYPE_CHECKING:
    from darius.codec.config import CodecConfig
    from darius.depthformer.config import DepthformerConfig
    from darius.depthformer.decode import DecodePlan

CODEC_SCRATCH = 133
"""Bytes that the codec needs while it makes a stream's sound, by bytes of that sound (float32): 0.1 GiB for 2 s,
measured on an H100 (the peaks of 16, 64 and 128 streams)."""
STATES = 4
"""Copies of a stream's codec state during a call: before, after, and both as words."""
PROGRAMS = 0.4 * 2**30
"""Bytes of compiled programs and libraries' workspaces on a GPU."""
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Account:
    """Bytes on the device.

    Attributes:
      weights: of language model and codec; paid once.
      streams: what grows with the streams: the encoder's output or keys and values of it, caches, codec states, sound.
      scratch: of the encoder or the codec, whichever needs more; they do not run at once.
      programs: see PROGRAMS.
    """

    weights: int
    streams: int
    scratch: int
    programs: int

    @property
    def total(self) -> int:
        return self.weights + self.streams + self.scratch + self.programs

    def to_dict(self) -> dict[str, int]:
        return {**dataclasses.asdict(self), "total": self.total}


def account(
    config: DepthformerConfig, codec: CodecConfig, streams: int, plan: DecodePlan, *, guided: bool = True
) -> Account:
    """What a model of these sizes takes while it plays so many streams together."""
    from darius.codec.codec import STREAMS
    from darius.depthformer import memory

    model = memory.account(config, streams, plan, guided=guided)
    sound = 4 * config.layout.chunk_frames * codec.frame_samples * codec.channels
    together = min(streams, STREAMS)
    return Account(
        weights=model.weights + codec_weights(codec, 4 if plan.dtype == "float32" else 2),
        streams=model.context + model.caches + streams * (STATES * state_bytes(codec, plan.dtype) + 2 * sound),
        scratch=max(model.scratch, together * CODEC_SCRATCH * sound * (2 if plan.dtype == "float32" else 1)),
        programs=int(PROGRAMS),
    )


def codec_weights(config: CodecConfig, size: int) -> int:
    """Bytes of a codec's weights, numbers of `size` bytes."""
    from darius.codec import weights

    return size * sum(math.prod(shape) for shape in weights.shapes(config).values())


def state_bytes(config: CodecConfig, dtype: str) -> int:
    """Bytes of one stream's codec state."""
    import jax
    import jax.numpy as jnp

    from darius.codec import streaming, weights

    def start(params: Any) -> Any:
        return streaming.start_decoding(config, params, 1)

    shapes = {name: jax.ShapeDtypeStruct(shape, jnp.dtype(dtype)) for name, shape in weights.shapes(config).items()}
    state = jax.eval_shape(start, weights.nest(shapes))
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


def read_limit(text: str) -> int:
    """Bytes of "6G", "6GiB", "500 MB" or plain digits; units are powers of 1024.

    Raises:
      InvalidOption: it is none of these.
    """
    number = text.strip().upper().removesuffix("B").removesuffix("I").strip()
    unit = number[-1:] if number[-1:] in UNITS else ""
    try:
        count = float(number.removesuffix(unit))
    except ValueError:
        count = -1.0
    if not 0 < count < math.inf:
        raise InvalidOption(f"A memory limit cannot be '{text}'.", "Give a size such as 6G or 800M.")
    return int(count * UNITS[unit])


def fitting(
    config: DepthformerConfig, codec: CodecConfig, plan: DecodePlan, limit: int, sizes: Sequence[int]
) -> list[int]:
    """Those batch sizes that fit into a limit of bytes.

    Raises:
      OutOfMemory: not even the smallest does.
    """
    fit = [size for size in sizes if account(config, codec, size, plan).total <= limit]
    if not fit:
        needs = account(config, codec, min(sizes), plan).total
        raise OutOfMemory(
            f"This model needs {needs / 2**30:.1f} GiB for {min(sizes)} stream, more than the limit of "
            f"{limit / 2**30:.1f} GiB.",
            "Raise --memory-limit, or choose a smaller model.",
        )
    return fit


def of_engine(engine: Any, streams: int) -> Account | None:
    """The account of a loaded engine; None for one that none is kept of."""
    from darius.depthformer.decode import Decoder

    if not isinstance(engine.decoder, Decoder):
        return None
    return account(engine.decoder.config, engine.codec.config, streams, engine.decoder.plan)


def most_together(engine: Any, limit: int, sizes: Sequence[int]) -> int | None:
    """The largest batch that fits into a limit of bytes; None for an engine that no account is kept of.

    Raises:
      OutOfMemory: not even the smallest does.
    """
    if of_engine(engine, 1) is None:
        return None
    return max(fitting(engine.decoder.config, engine.codec.config, engine.decoder.plan, limit, sizes))


def refuse_above(limit: int, engine: Any, sizes: Sequence[int]) -> None:
    """Raises OutOfMemory for the first of some batch sizes that does not fit into a limit of bytes."""
    for size in sizes:
        needs = of_engine(engine, size)
        if needs is not None and needs.total > limit:
            raise OutOfMemory(
                f"{size} streams need {needs.total / 2**30:.1f} GiB, more than the limit of {limit / 2**30:.1f} GiB.",
                "Raise --memory-limit, or take fewer streams.",
            )

"""From a process' start to its first chunk, with an empty and with a warm cache of compiled programs; in processes of
their own. The language model is read from a safetensors file, as a converted checkpoint is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from darius.errors import DariusError

CACHES = ("empty", "warm")


class ColdStartFailed(DariusError):
    """A process did not come to its first chunk."""


def measure(model: str, device: str, dtype: str, budget: float) -> Iterator[dict[str, Any]]:
    """Seconds since the start of the process at each step, for each state of the cache.

    Args:
      model: a name of `darius.load`; of "random:..." the weights are written into a file first.
      budget: seconds for all.

    Raises:
      ColdStartFailed: a process ended without a chunk, or took too long.
    """
    from darius import random_weights, suite

    until = time.monotonic() + budget
    with tempfile.TemporaryDirectory() as folder:
        size = random_weights.size_of(model)
        checkpoint = Path(folder) / "weights.safetensors"
        if size is not None:
            suite.write_checkpoint(checkpoint, size)
        # An empty JAX_COMPILATION_CACHE_DIR would mean that the user wants no programs kept.
        environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
        if size is not None:
            environment["DARIUS_CACHE"] = str(Path(folder) / "cache")
        for cache in CACHES:
            arguments = [model, str(checkpoint) if size else "", device, dtype, str(Path(folder) / "compiled")]
            yield {"cache": cache, **_child(arguments, environment, until - time.monotonic())}


def _child(arguments: list[str], environment: dict[str, str], seconds: float) -> dict[str, Any]:
    code = "import sys; from darius.suite import cold; cold.first_chunk(*sys.argv[1:])"
    began = time.time()
    command = [sys.executable, "-c", code, repr(began), *arguments]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=max(seconds, 1))
    except subprocess.TimeoutExpired:
        raise ColdStartFailed(f"There was no chunk after {seconds:.0f} s.") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ColdStartFailed(f"The process ended without a chunk: {last}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def first_chunk(began: str, model: str, checkpoint: str, device: str, dtype: str, compiled: str) -> None:
    """The child: prints seconds since `began` at each step."""
    steps = {"python": time.time() - float(began)}

    def step(name: str) -> None:
        steps[name] = time.time() - float(began)

    from darius import benchmark, session, warming
    from darius.devices import find_device, keep_compiled_programs

    keep_compiled_programs(Path(compiled))
    place = find_device(device)
    step("device")
    if checkpoint:
        engine: Any = _engine(model, Path(checkpoint), place, dtype, step)
    else:
        from darius.model import load

        engine = load(model, device=device, dtype=dtype)
    step("loaded")
    warming.get_ready(engine)
    step("ready")
    stream = session.start(engine, engine.nothing(), 0)
    step("begun")
    session.advance(engine, stream, [session.Knobs()])
    step("first_chunk")
    _, _, stream = session.advance(engine, stream, [session.Knobs()])
    step("second_chunk")
    sys.stdout.write(json.dumps({**steps, "peak_bytes": benchmark.peak_bytes(engine)}) + "\n")


def _engine(model: str, checkpoint: Path, place: Any, dtype: str, step: Any) -> Any:
    import jax

    from darius import random_weights
    from darius.checkpoints import safetensors_io
    from darius.depthformer.config import DepthformerConfig
    from darius.depthformer.decode import Decoder
    from darius.v1 import V1Engine

    numbers: Any = None if dtype == "auto" else dtype
    size = model.removeprefix(random_weights.PREFIX)
    config = DepthformerConfig.from_dict(safetensors_io.metadata(checkpoint)["config"])
    step("imported")
    decoder = Decoder(config, safetensors_io.load(checkpoint), dtype=numbers, device=place)
    jax.block_until_ready(decoder.packed)
    step("checkpoint")
    return V1Engine(decoder=decoder, codec=random_weights.parts_of(size).load_codec(place, numbers))

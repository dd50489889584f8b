"""Codes for many streams in one CUDA kernel (`draw_many.cu`), as `sampling` draws them. Knows no network.

Of XLA's own kernels, finding the top k by counting takes longer the more streams there are: 58 of 1,677 ms for 256.
"""

from __future__ import annotations

import importlib.resources

import jax
import jax.numpy as jnp

from darius.depthformer import cuda
from darius.depthformer.config import DepthformerConfig
from darius.depthformer.sampling import COLDEST, Controls

THREADS, EACH = 256, 4


def possible(config: DepthformerConfig, device: jax.Device) -> bool:
    """The kernel can run there, for codebooks of this size."""
    architecture = cuda.architecture(device)
    fits = config.layout.codebook_size <= THREADS * EACH
    return architecture is not None and int(architecture) >= 80 and fits and cuda.works(device)


def compiled(config: DepthformerConfig, device: jax.Device) -> dict[bool, str]:
    """The kernel's code without guidance and with it. Raises CompileFailed."""
    source = (importlib.resources.files("darius.depthformer") / "draw_many.cu").read_text()
    options = tuple(f"-D{name}={value}" for name, value in constants(config).items())
    architecture = f"--gpu-architecture=compute_{cuda.architecture(device)}"
    return {guided: cuda.ptx(source, (architecture, *options, *(["-DGUIDED"] * guided))) for guided in (False, True)}


def constants(config: DepthformerConfig) -> dict[str, int | str]:
    """Of the kernel."""
    return {"CODES": config.layout.codebook_size, "COLDEST": f"{COLDEST}f"}


def draw(code: str, logits: jax.Array, noise: jax.Array, controls: Controls, known: jax.Array) -> jax.Array:
    """int32 [B]: `known` where it is not -1, else drawn.

    Args:
      code: of `compiled`, with guidance if `logits` has a second half.
      logits: float32 [B or 2B, K]; noise: Gumbel, float32 [B, K].
    """
    streams = len(known)
    dials = [
        jnp.asarray(dial).astype(dtype)
        for dial, dtype in (
            (controls.guidance, jnp.float32),
            (controls.temperature, jnp.float32),
            (controls.top_k, jnp.int32),
        )
    ]
    result = jax.ShapeDtypeStruct((streams,), jnp.int32)
    operands = [logits, noise, *dials, known.astype(jnp.int32)]
    return cuda.call("draw_many", code, operands, [result], grid=streams, block=THREADS)[0]

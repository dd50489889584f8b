"""The full mrt2-small with random weights draws the codes of the package's own network. Two minutes, 3.6 GB."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darius.codec.weights import nest
from darius.mrt2 import conditioning, package, weights
from darius.mrt2.decoder import FrameDecoder
from darius.mrt2.network import Network
from darius.mrt2.sampling import Draws
from darius.session import Knobs

pytestmark = pytest.mark.acceptance

FRAMES = 4


def test_mrt2_small_draws_the_packages_codes() -> None:
    architecture = package.architecture("mrt2-small", dtype="float32")
    flat = weights.initialise(Network(architecture))
    knobs = Knobs(style=np.arange(12, dtype=np.int32) * 50, guidance=3.0, temperature=1.3, top_k=40)
    told = conditioning.tokens(architecture, [knobs], FRAMES)
    key, wanted = _package_codes(architecture, flat, told)
    decoder = FrameDecoder(architecture, flat)
    draws = Draws(np.array([1.3], np.float32), np.array([40], np.int32))
    codes, _ = decoder.play(decoder.begin_with(key), told, draws)
    assert np.array_equal(codes, wanted)


def _package_codes(
    architecture: package.Architecture, flat: dict[str, np.ndarray], told: np.ndarray
) -> tuple[jax.Array, np.ndarray]:
    """The first stream's key, and codes int32 [1, frames, levels], of the package's sampler stepped frame by frame."""
    sl = package.sequence_layers()
    network, params = architecture.model.depthformer_config().make(), {"params": nest(flat)}
    rngs = {"params": jax.random.PRNGKey(42), "random": jax.random.PRNGKey(0)}
    spec = jax.ShapeDtypeStruct((architecture.input_channels,), jnp.int32)

    @jax.jit
    def begin(params):
        return network.apply(
            params, rngs=rngs, method=lambda m: m.sampler.get_initial_state(1, spec, training=False, constants={})
        )

    @jax.jit
    def step(params, x, state):
        drawn = {"temperature": jnp.array([1.3]), "top_k": jnp.array([40])}
        return network.apply(
            params, rngs=rngs, method=lambda m: m.sampler.step(x, state, training=False, constants=drawn)
        )

    state = begin(params)
    key, codes = state[2][0], []
    for frame in range(told.shape[1]):
        output, state = step(params, sl.Sequence.from_values(told[:, frame : frame + 1]), state)
        codes.append((np.asarray(output.values)[:, 0] - architecture.reserved) % architecture.codebook_size)
    return key, np.stack(codes, axis=1)

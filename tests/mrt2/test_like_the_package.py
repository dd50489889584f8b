"""Our engine draws the codes and makes the samples of the package's own system, from the same files and keys."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darius import session
from darius.mrt2 import conditioning, sampling
from darius.mrt2.engine import MRT2Engine
from mrt2.small_mrt2 import reference_system, small_engine

STYLE = np.arange(12, dtype=np.int32) * 50
FRAMES = 30


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        yield reference_system(patch, tmp_path_factory.mktemp("home"))


def begin_as(system: Any, engine: MRT2Engine) -> session.Streams:
    """A stream with the key that the package's system gives its own."""
    _, _, (key, *_), _ = system._jit_init_state(system._params, {})[0]
    stream = session.start(engine, engine.nothing(), 0)
    return dataclasses.replace(stream, memory=stream.memory._replace(key=key))


def as_package(samples: np.ndarray) -> np.ndarray:
    """Our samples as the package hands them out: half as loud, 16 bits."""
    return np.round(np.clip(0.5 * samples, -1, 1) * 32767.5 - 0.5)


def heard_of(system: Any, knobs: session.Knobs, frames: int, state: Any = None) -> tuple[np.ndarray, Any]:
    told = {"mulan_tokens_25hz": knobs.style}
    if knobs.notes is not None:
        told["pianoroll_with_onsets_tokens"] = knobs.notes[0].astype(np.int32)
    if knobs.drums is not None:
        told["drum_pianoroll_tokens"] = [int(knobs.drums)]
    scales = {"musiccoca": knobs.guidance, "notes": knobs.notes_guidance, "drums": knobs.drums_guidance}
    scales = {name: scale for name, scale in scales.items() if scale is not None}
    waveform, state = system.generate(
        told, scales, temperature=knobs.temperature, top_k=knobs.top_k, frames=frames, state=state
    )
    return np.round(waveform.samples * 32768), state


def test_the_same_samples(system: Any) -> None:
    """Equal to the last bit of 16 but where two float32 codecs fall on two sides of a rounding edge."""
    engine = small_engine()
    knobs = session.Knobs(style=STYLE, guidance=3.0, temperature=1.3, top_k=40)
    theirs, _ = heard_of(system, knobs, FRAMES)
    samples, _, _ = session.advance(engine, begin_as(system, engine), [knobs], frames=FRAMES)
    difference = np.abs(as_package(samples[0]) - theirs)
    assert np.abs(theirs).max() > 1000
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.002


def test_the_same_under_changing_controls(system: Any) -> None:
    engine = small_engine()
    notes = np.full((5, 128), -1, np.int8)
    notes[:, 60] = 2
    turns = [
        session.Knobs(style=STYLE, guidance=3.0, temperature=1.0, top_k=8),
        session.Knobs(style=STYLE[::-1], guidance=-0.5, temperature=2.0, top_k=1000, drums=True, drums_guidance=4.0),
        session.Knobs(guidance=7.0, temperature=0.5, top_k=3, notes=notes, notes_guidance=2.3, drums=False),
    ]
    ours, state, stream = [], None, begin_as(system, engine)
    for knobs in turns:
        theirs, state = heard_of(system, knobs, 5, state)
        samples, _, stream = session.advance(engine, stream, [knobs], frames=5)
        ours.append(samples)
        assert np.abs(as_package(samples[0]) - theirs).max() <= 1


@pytest.mark.parametrize("scale", [-3.0, -1.0, -0.91, 0.0, 0.1, 1.0, 2.5, 2.7, 6.95, 7.0, 12.0])
def test_guidance_scales_are_the_packages_tokens(scale: float) -> None:
    from magenta_rt.jax.system import discretize_cfg

    for step, count in ((0.2, 41), (1.0, 9)):
        assert conditioning.scale_tokens([scale], step, count).tolist() == [discretize_cfg(scale, step, count - 1)]


def test_noise_and_keys_are_those_of_jax() -> None:
    """With the generator and its counting that JAX has by default."""
    assert jax.config.jax_default_prng_impl == "threefry2x32" and jax.config.jax_threefry_partitionable
    seeds = [0, 7, 2**32 - 1]
    theirs = jnp.stack([jax.random.PRNGKey(np.uint32(seed)) for seed in seeds])
    ours = sampling.first_key(np.array(seeds, np.uint32))
    assert np.array_equal(ours, theirs)
    later = sampling.next_key(ours, jnp.array([0, 5, 1000]))
    assert np.array_equal(later, [jax.random.fold_in(k, n) for k, n in zip(theirs, (0, 5, 1000), strict=True)])
    noise = sampling.gumbel(ours, first=1030, count=1024)
    for row, key in zip(noise, theirs, strict=True):
        wanted = jax.random.gumbel(key, (12294,), jnp.float32)[1030:2054]
        np.testing.assert_allclose(row, wanted, rtol=1e-5, atol=1e-6)

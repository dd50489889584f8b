"""Getting ready: what an engine's first chunk needs is there afterwards."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jam.small_model import small_model

from darius import session, warming
from darius.ahead import Ahead

COMPILED = "/jax/core/compile/backend_compile_duration"
LARGE = ("(decode)", "(_decode_block)", "(_encode_block)")


@pytest.fixture
def compiled() -> Iterator[list[str]]:
    """Names of what has been compiled so far."""
    names: list[str] = []
    listen = lambda event, _, **about: names.append(str(about.get("fun_name"))) if event == COMPILED else None  # noqa: E731
    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)


def first_chunk(model: Any, knobs: session.Knobs) -> Any:
    return session.advance(model, session.start(model, model.nothing(), 0, knobs), [knobs])


def test_with_its_programs_a_first_chunk_compiles_neither_language_model_nor_codec_and_sounds_the_same(
    compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, knobs = small_model(prefix_frames=2), session.Knobs()
    warming.side_by_side(model.programs(1, knobs, model.chunk_frames))
    for name in LARGE:
        assert any(name in each for each in compiled)
    compiled.clear()
    samples, codes, _ = first_chunk(model, knobs)
    assert not [each for each in compiled if any(name in each for name in LARGE)]
    monkeypatch.setattr(Ahead, "__call__", lambda self, *args, **named: self._jitted(*args, **named))
    expected, expected_codes, _ = first_chunk(model, knobs)
    np.testing.assert_array_equal(codes, expected_codes)
    np.testing.assert_array_equal(samples, expected)
    assert samples.any()


def test_a_program_is_compiled_once_and_serves_arrays_from_anywhere(compiled: list[str]) -> None:
    double = Ahead(jax.jit(lambda x, *, times, plus: x * times + plus, static_argnames="times"), ["times"])
    shape = jax.ShapeDtypeStruct((3,), np.float32)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: double.compile(shape, times=2, plus=1), range(4)))
    assert len(compiled) == 1
    host, weak = np.ones(3, np.float32), jnp.broadcast_to(jnp.asarray(1.0), 3)
    compiled.clear()
    for value in (host, jax.device_put(host, jax.devices()[0]), weak):
        assert double(value, times=2, plus=1).tolist() == [3, 3, 3]
    assert not compiled
    assert double(np.ones(2, np.float32), times=3, plus=0).tolist() == [3, 3]
    assert jax.jit(lambda x: double(x, times=2, plus=1))(host).tolist() == [3, 3, 3]


def test_what_could_not_be_compiled_is_tried_again_and_says_why_each_time() -> None:
    broken = Ahead(jax.jit(lambda x: x.nothing_of_the_kind()))
    for _ in range(2):
        with pytest.raises(AttributeError):
            broken.compile(np.ones(1))


def test_on_a_cpu_nothing_is_played_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model()
    monkeypatch.setattr(session, "advance", lambda *_: pytest.fail("it was"))
    warming.get_ready(model)

"""Getting ready: what an engine's first chunk needs is there afterwards."""

import jax
import pytest
from jam.small_model import small_model

from darius import session, warming

COMPILED = "/jax/core/compile/backend_compile_duration"


def test_after_its_parts_were_made_a_first_chunk_compiles_neither_language_model_nor_codec() -> None:
    model, knobs = small_model(), session.Knobs()
    compiled: list[str] = []
    listen = lambda event, _, **about: compiled.append(str(about.get("fun_name"))) if event == COMPILED else None  # noqa: E731
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for part in warming.parts(model, knobs):
            part()
        parts = list(compiled)
        stream = session.start(model, model.nothing(), 0, knobs)
        samples, _, _ = session.advance(model, stream, [knobs])
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert samples.any()
    for large in ("(decode)", "(_decode_block)", "(_encode_block)"):
        assert any(large in name for name in parts)
        assert not any(large in name for name in compiled[len(parts) :])


def test_on_a_cpu_nothing_is_played_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "parts", lambda *_: pytest.fail("it was"))
    warming.get_ready(small_model())

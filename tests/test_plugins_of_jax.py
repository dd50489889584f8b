"""A part of JAX for cards that are not there: its complaint is a line, not a stack that nobody can read."""

from __future__ import annotations

import logging

import pytest

from darius.devices import find_device


def test_a_plug_in_that_cannot_begin_is_told_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    find_device("cpu")
    caplog.clear()
    logger = logging.getLogger("jax._src.xla_bridge")
    with caplog.at_level(logging.ERROR, logger=logger.name):
        try:
            raise RuntimeError("operation cuInit(0) failed:\n  no such card")
        except RuntimeError:
            logger.exception("Exception when calling %s.initialize()", "some_plugin")
    (record,) = caplog.records
    assert record.getMessage() == (
        "Exception when calling some_plugin.initialize(): operation cuInit(0) failed: no such card"
    )
    assert record.exc_info is None and "Traceback" not in caplog.text

"""What went over a page's WebSocket, as values. Knows the protocol; knows no page."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import soundfile as sf


def messages(page: Any, *, sent: bool, kind: str | None = None) -> list[dict[str, Any]]:
    """The JSON messages of one direction, in order, of one type if given."""
    found = [
        json.loads(payload) for ours, payload in list(page.socket_frames) if ours == sent and isinstance(payload, str)
    ]
    return [message for message in found if kind in (None, message["type"])]


def chunks(page: Any) -> list[np.ndarray]:
    """The sound of every chunk that the server sent, float32 [n, 2]."""
    wavs = [payload for ours, payload in list(page.socket_frames) if not ours and isinstance(payload, bytes)]
    return [np.asarray(sf.read(io.BytesIO(wav), dtype="float32")[0]) for wav in wavs]


def wait_until(page: Any, true: Callable[[], Any], seconds: float = 60.0) -> None:
    """Lets the page run until a condition holds."""
    for _ in range(round(seconds * 10)):
        if true():
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"not within {seconds:.0f} s; the page says: {page.locator('.notices').inner_text()!r}")

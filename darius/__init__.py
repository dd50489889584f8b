"""Darius: play, serve and finetune Magenta RealTime.

    import darius
    music = darius.load("tiny").continue_loop("loop.wav", bars=8)
    music.save("more.wav")

Names are imported when first used, so that `import darius` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from darius._version import __version__

if TYPE_CHECKING:
    from darius.audio.waveform import Waveform
    from darius.continuation import Continuation, ContinuationOptions
    from darius.engine import Model
    from darius.errors import DariusError
    from darius.model import load

__all__ = ["Continuation", "ContinuationOptions", "DariusError", "Model", "Waveform", "__version__", "load"]

_HOMES = {
    "Continuation": "darius.continuation",
    "ContinuationOptions": "darius.continuation",
    "DariusError": "darius.errors",
    "Model": "darius.engine",
    "Waveform": "darius.audio.waveform",
    "load": "darius.model",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'darius' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__

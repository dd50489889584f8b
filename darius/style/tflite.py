"""One signature of a .tflite file as a function of arrays. Knows no style model.

Runs on `ai_edge_litert` (60 MB) where it is installed, else on TensorFlow's own interpreter.
"""

from __future__ import annotations

import importlib
import operator
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darius.errors import BadCheckpoint, MissingDependency


class TFLiteSignature:
    """A callable: arrays by input name -> arrays by output name. One call at a time; safe to share among threads.

    Args:
      path: the .tflite file.
      name: the signature in it.
      threads: CPU threads for one call.

    Raises:
      MissingDependency: no TFLite runtime is installed.
      BadCheckpoint: the file is damaged, or has no such signature.
    """

    def __init__(self, path: Path, name: str, *, threads: int = 2) -> None:
        interpreter_class = _interpreter_class()
        try:
            self._interpreter = interpreter_class(model_path=str(path), num_threads=threads)
            self._runner = self._interpreter.get_signature_runner(name)
        except (ValueError, RuntimeError) as error:
            raise BadCheckpoint(
                f"{path.name} is damaged or has no signature `{name}`.", "Convert the model again."
            ) from error
        self._lock = threading.Lock()

    def __call__(self, **inputs: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """Outputs by name."""
        with self._lock:
            outputs = self._runner(**inputs)
            # The interpreter may hand out its own memory, which the next call overwrites.
            return {name: np.array(value) for name, value in outputs.items()}


def _interpreter_class() -> Any:
    for module, attribute in (("ai_edge_litert.interpreter", "Interpreter"), ("tensorflow", "lite.Interpreter")):
        try:
            return operator.attrgetter(attribute)(importlib.import_module(module))
        except ImportError:
            continue
    raise MissingDependency(
        "MusicCoCa's converted files need a TFLite runtime, which is not installed.",
        "Run `pip install ai-edge-litert`.",
    )

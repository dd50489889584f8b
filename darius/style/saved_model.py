"""MusicCoCa's SavedModels through TensorFlow: named functions, the quantiser's codebooks. Knows no text or audio."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darius.errors import BadCheckpoint, MissingDependency
from darius.style.interface import STYLE_LEVELS

MIN_TENSORFLOW = (2, 20)


def tensorflow() -> Any:
    """The module, new enough for MusicCoCa's StableHLO graph, and kept off the GPUs.

    Raises:
      MissingDependency: TensorFlow is not installed, or older than 2.20.
    """
    hint = "Run `pip install 'tensorflow>=2.20'`, or use files made by `darius models convert`, which need none."
    try:
        import tensorflow as tf
    except ImportError as error:
        raise MissingDependency(
            "TensorFlow is not installed, and the original files run only with it.", hint
        ) from error
    version = tuple(int(part) for part in tf.__version__.split(".")[:2])
    if version < MIN_TENSORFLOW:
        raise MissingDependency(f"MusicCoCa's graph needs TensorFlow 2.20 or later; here is {tf.__version__}.", hint)
    try:
        # A visible GPU would be taken as a whole, beside JAX, for two small graphs that run on the CPU.
        tf.config.set_visible_devices([], "GPU")
    except RuntimeError:
        # Someone else has already set TensorFlow up in this process; their choice stands.
        return tf
    return tf


def load_signatures(folder: Path, names: Iterable[str]) -> dict[str, Callable[..., dict[str, Any]]]:
    """Named functions of a SavedModel, on the CPU: arrays by input name -> tensors by output name.

    Raises:
      MissingDependency: as `tensorflow`.
      BadCheckpoint: the folder is no SavedModel, or lacks one of the signatures.
    """
    tf = tensorflow()
    try:
        with tf.device("/cpu:0"):
            module = tf.saved_model.load(str(folder))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise BadCheckpoint(f"The SavedModel {folder} cannot be loaded.", "Download it again.") from error
    return {name: _function(tf, module, name, folder) for name in names}


def read_codebooks(folder: Path) -> NDArray[np.float32]:
    """The style quantiser's codebooks [levels, codes, dim], from the checkpoint inside its SavedModel.

    The variables were written in the order of their names as strings ("0", "1", "10", "11", "2", ...), so their numbers
    are ranks in that order. Source: `MUSICCOCA_RVQ_VAR_ORDER` of Magenta RealTime v1.

    Raises:
      MissingDependency: as `tensorflow`.
      BadCheckpoint: a codebook is missing, or they differ in shape.
    """
    tf = tensorflow()
    ranks = sorted(range(STYLE_LEVELS), key=str)
    path = str(folder / "variables" / "variables")
    try:
        reader = tf.train.load_checkpoint(path)
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise BadCheckpoint(f"The style quantiser {folder} cannot be read.", "Download it again.") from error
    books = []
    for level in range(STYLE_LEVELS):
        name = f"variables/{ranks.index(level)}/.ATTRIBUTES/VARIABLE_VALUE"
        if not reader.has_tensor(name):
            raise BadCheckpoint(f"The style quantiser {folder} has no tensor `{name}`.", "Download it again.")
        books.append(np.asarray(reader.get_tensor(name), np.float32).T)
    if len({book.shape for book in books}) != 1:
        raise BadCheckpoint(f"The codebooks in {folder} differ in shape.", "Download it again.")
    return np.ascontiguousarray(np.stack(books))


def _function(tf: Any, module: Any, name: str, folder: Path) -> Callable[..., dict[str, Any]]:
    signatures = getattr(module, "signatures", {})
    if name not in signatures:
        raise BadCheckpoint(
            f"The SavedModel {folder} has no signature `{name}`.", "Use musiccoca_mv212f_cpu_novocab of v1."
        )
    function = signatures[name]

    def call(**inputs: NDArray[Any]) -> dict[str, Any]:
        with tf.device("/cpu:0"):
            outputs: dict[str, Any] = function(**{key: tf.constant(value) for key, value in inputs.items()})
        return outputs

    # The module owns the variables that the function reads: it has to live as long as the function.
    call.module = module  # type: ignore[attr-defined]
    return call

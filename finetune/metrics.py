"""What is known of a run's progress: readings a step, kept in `metrics.jsonl` and TensorBoard files, drawn as curves.

Knows numbers and files; knows no networks. A run that goes on from a checkpoint forgets what came after it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from darius.audio.files import atomic
from darius.errors import MissingDependency
from finetune.loss import Sums

Row = dict[str, Any]
"""One line of the log: "step" and "kind" ("train", "eval" or "sample"), and numbers by name."""


def reading(sums: Sums, tokens: int) -> Row:
    """Means of a batch of so many target tokens: loss in nats a token (all levels, and each), z-loss, accuracy."""
    entropy, penalty, right = (np.asarray(part, np.float64) for part in sums)
    by_level = tokens / len(entropy)
    return {
        "loss": float(entropy.sum() / tokens),
        "z_loss": float(penalty.sum() / tokens),
        "accuracy": float(right.sum() / tokens),
        "level_loss": [round(float(value), 6) for value in entropy / by_level],
        "level_accuracy": [round(float(value), 6) for value in right / by_level],
    }


def read(path: Path) -> list[Row]:
    """The rows of a log; a line that was cut off while it was written is left out."""
    rows: list[Row] = []
    if not path.is_file():
        return rows
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


class Log:
    """Writes rows as they come.

    Args:
      path: of `metrics.jsonl`.
      events: the folder for TensorBoard.
      step: where the run stands; rows after it are dropped.

    Raises:
      MissingDependency: the TensorBoard writer is not installed.
    """

    def __init__(self, path: Path, events: Path, *, step: int) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise MissingDependency(
                "Finetuning is not installed: the package tensorboardX is missing.",
                "Run `pip install 'darius[finetune]'`.",
            ) from None
        kept = [row for row in read(path) if row["step"] <= step]
        with atomic(path) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        self._file = path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(events), purge_step=step + 1 if kept else None, filename_suffix=f".{step}")

    def write(self, row: Row) -> None:
        """Appends a row at once, so that whoever watches sees it."""
        self._file.write(json.dumps(_finite(row)) + "\n")
        self._file.flush()
        for name, value in scalars(row).items():
            self._board.add_scalar(name, value, row["step"])

    def write_sound(self, name: str, samples: np.ndarray[Any, Any], rate: int, step: int) -> None:
        """Adds a sound float32 [n, channels] to TensorBoard."""
        mono = samples.mean(axis=1, keepdims=True).clip(-1.0, 1.0)
        self._board.add_audio(name, mono, step, sample_rate=rate)

    def settle(self) -> None:
        """Writes out what TensorBoard's writer holds back."""
        self._board.flush()

    def close(self) -> None:
        self._file.close()
        self._board.close()


def scalars(row: Mapping[str, Any]) -> dict[str, float]:
    """A row as TensorBoard's scalars: "train/loss", "train/level_accuracy/00", ..."""
    found: dict[str, float] = {}
    for name, value in row.items():
        if isinstance(value, list):
            found |= {f"{row['kind']}/{name}/{index:02d}": float(part) for index, part in enumerate(value)}
        elif name not in ("step", "kind") and isinstance(value, int | float) and math.isfinite(value):
            found[f"{row['kind']}/{name}"] = float(value)
    return found


def draw(rows: Sequence[Row], path: Path, *, title: str) -> None:
    """Curves of loss, accuracy and gradient norm as a PNG.

    Raises:
      MissingDependency: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependency("Drawing needs matplotlib.", "Run `pip install 'darius[finetune]'`.") from None
    figure = Figure(figsize=(10, 8), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(2, 2)
    plots = (("loss", "nats a token"), ("accuracy", "share of right codes"), ("gradient_norm", "norm of the gradient"))
    for axis, (name, label) in zip(axes.flat, plots, strict=False):
        for kind in ("train", "eval"):
            points = [(row["step"], row[name]) for row in rows if row["kind"] == kind and row.get(name) is not None]
            if points:
                steps, values = zip(*points, strict=True)
                axis.plot(steps, values, marker="o" if kind == "eval" else "", linewidth=1, label=kind)
                axis.legend()
        axis.set(xlabel="step", ylabel=label)
    # T5X tells no levels.
    _draw_levels(axes.flat[3], [row for row in rows if row["kind"] == "train" and "level_accuracy" in row])
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _draw_levels(axis: Any, rows: Sequence[Row]) -> None:
    axis.set(xlabel="RVQ level", ylabel="share of right codes")
    count = min(20, (len(rows) + 1) // 2)
    for part, label in ((rows[:count], "first steps"), (rows[len(rows) - count :], "last steps")):
        if part:
            axis.plot(np.mean([row["level_accuracy"] for row in part], axis=0), marker="o", label=label)
    if rows:
        axis.legend()


def _finite(row: Row) -> Row:
    """JSON knows no NaN."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}

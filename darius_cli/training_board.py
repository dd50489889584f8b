"""A training run on the terminal: a live board, or plain lines where stderr is no terminal. Knows no training."""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Group

    from finetune.loop import View

BARS = "▁▂▃▄▅▆▇█"
LINE_SECONDS = 10.0
"""Plain lines come no more often, but for what is not a step."""


@contextlib.contextmanager
def board(*, quiet: bool = False) -> Iterator[Callable[[View], None]]:
    """Shows views of a run as they come.

    Yields:
      report(view).
    """
    if quiet:
        yield lambda view: None
    elif not sys.stderr.isatty():
        yield _Lines()
    else:
        from rich.console import Console
        from rich.live import Live

        losses: deque[float] = deque(maxlen=2000)
        with Live(console=Console(stderr=True), refresh_per_second=4) as live:

            def report(view: View) -> None:
                if view.doing == "training":
                    losses.append(view.rows["train"]["loss"])
                live.update(_render(view, list(losses)))

            yield report


class _Lines:
    """One line a stage, and one every LINE_SECONDS of training."""

    def __init__(self) -> None:
        self._last = -LINE_SECONDS

    def __call__(self, view: View) -> None:
        if view.doing == "training" and time.monotonic() - self._last < LINE_SECONDS and view.step < view.last_step:
            return
        self._last = time.monotonic() if view.doing == "training" else self._last
        facts = "".join(f"  {name} {value}" for name, value in _facts(view)) if view.doing == "training" else ""
        typer.echo(f"{view.doing:<10} step {view.step} of {view.last_step}{facts}", err=True)


def _facts(view: View) -> list[tuple[str, str]]:
    """Names and values of the last readings."""
    found: list[tuple[str, str]] = []
    train, held_out, sample = (view.rows.get(kind) for kind in ("train", "eval", "sample"))
    if train is not None:
        found += [
            ("loss", f"{train['loss']:.3f}"),
            ("right", f"{train['accuracy']:.1%}"),
            *([("gradient", f"{train['gradient_norm']:.2f}")] if "gradient_norm" in train else []),
            ("rate", f"{train['learning_rate']:.2e}"),
            ("seconds a step", f"{view.seconds_a_step:.2f}"),
        ]
    if held_out is not None:
        found.append(("held out", f"{held_out['loss']:.3f} at step {held_out['step']}"))
    if sample is not None:
        found.append(("silence", f"{sample['silent']:.0%} at step {sample['step']}"))
    return found


def _render(view: View, losses: list[float]) -> Group:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    done, whole = view.step - view.first_step, view.last_step - view.first_step
    table = Table.grid(padding=(0, 2))
    table.add_row("step", f"{view.step} ({done} of {whole}), {view.doing}; {_left(view)}")
    for name, value in _facts(view):
        table.add_row(name, value)
    if levels := view.rows.get("train", {}).get("level_accuracy"):
        table.add_row("levels right", sparkline(levels, low=0.0))
    table.add_row("loss so far", sparkline(_thinned(losses, 60)))
    if view.checkpoint:
        table.add_row("checkpoint", view.checkpoint)
    return Group(ProgressBar(total=max(whole, 1), completed=done, width=60), table)


def _left(view: View) -> str:
    seconds = view.seconds_a_step * (view.last_step - view.step)
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min to go" if hours else f"{minutes} min to go"


def _thinned(values: list[float], most: int) -> list[float]:
    """Means of equal parts."""
    if len(values) <= most:
        return values
    edges = [round(index * len(values) / most) for index in range(most + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]


def sparkline(values: list[float], *, low: float | None = None) -> str:
    """A line of blocks; numbers that are none show as spaces."""
    finite = [value for value in values if value == value and abs(value) != float("inf")]
    if not finite:
        return ""
    bottom = min(finite) if low is None else low
    span = max(max(finite) - bottom, 1e-9)
    return "".join(BARS[min(int((v - bottom) / span * 8), 7)] if v in finite else " " for v in values)


def summary(result: Any) -> dict[str, Any]:
    """A finished run as plain values."""
    kept = {name: result.last.get(name) for name in ("loss", "accuracy", "gradient_norm", "learning_rate")}
    return {"run": str(result.run), "checkpoint": str(result.checkpoint), "step": result.step, **kept}

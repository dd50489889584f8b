"""A picture of some music: the waveform with its bar lines above, a mel spectrogram below."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from darius.audio import files
from darius.audio.bars import BarGrid, Bpm, exact_bpm
from darius.audio.mel import hertz_to_mel, log_mel
from darius.audio.waveform import Waveform
from darius.errors import MissingDependency

_COLUMNS = 1600
_TOP_HERTZ = 16_000.0
_BOTTOM_HERTZ = 20.0
_RANGE_DB = 75.0
_MOST_NAMES = 40
_TICKS = (100, 300, 1000, 3000, 10_000)
_INK, _WAVE, _LOOP = "#22262b", "#2f6f8f", "#c8553d"


def plot_waveform(
    waveform: Waveform,
    path: str | os.PathLike[str],
    *,
    bpm: Bpm | None = None,
    beats_per_bar: int = 4,
    loop_samples: int = 0,
    title: str = "",
    overwrite: bool = True,
) -> Path:
    """Draws a PNG of 1600 x 800 points.

    Args:
      bpm, beats_per_bar: for the bar lines, the first at sample 0; none are drawn without a tempo.
      loop_samples: where the loop ends and its continuation begins; 0 if there is no loop in front.
      overwrite: redraw a picture that exists.

    Raises:
      MissingDependency: matplotlib is not installed.
      InvalidOption, OutputExists, OutputFailed: see `files.check_output`.
    """
    path = files.check_output(path, overwrite=overwrite, suffixes=(".png",))
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependency("Pictures need matplotlib.", "Install it with: pip install 'darius[plot]'") from error

    # The object interface, without pyplot: no global state and no window system.
    figure = Figure(figsize=(16, 8), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    wave, spectrum = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    _draw_wave(wave, waveform)
    _draw_mel(figure, spectrum, waveform)
    lines = [] if bpm is None else _bar_lines(waveform, BarGrid(bpm=exact_bpm(bpm), beats_per_bar=beats_per_bar))
    for axes in (wave, spectrum):
        for line in lines:
            axes.axvline(line, color="#9aa3ad", linewidth=0.8, alpha=0.8)
        if loop_samples:
            axes.axvline(loop_samples / waveform.rate, color=_LOOP, linewidth=2.0)
    _name_bars(wave, lines, waveform.duration)
    if loop_samples:
        _name_parts(wave, loop_samples / waveform.rate)
    wave.set_title(title, loc="left", color=_INK, pad=18)
    with files.atomic(path) as temporary:
        figure.savefig(temporary, format="png")
    return path


def _draw_wave(axes: Any, waveform: Waveform) -> None:
    """Highest and lowest sample of each column, over all channels."""
    step = max(1, -(-len(waveform) // _COLUMNS))
    starts = np.arange(0, len(waveform), step)
    high = np.maximum.reduceat(waveform.samples.max(axis=1), starts)
    low = np.minimum.reduceat(waveform.samples.min(axis=1), starts)
    axes.fill_between(starts / waveform.rate, low, high, step="post", color=_WAVE, linewidth=0)
    axes.axhline(0.0, color=_WAVE, linewidth=0.5)
    axes.set_xlim(0.0, waveform.duration)
    most = max(1.0, waveform.peak)
    axes.set_ylim(-most, most)
    axes.set_ylabel("amplitude")


def _draw_mel(figure: Any, axes: Any, waveform: Waveform) -> None:
    hop = max(256, -(-len(waveform) // _COLUMNS))
    top = min(_TOP_HERTZ, waveform.rate / 2)
    mels = log_mel(waveform.samples, waveform.rate, hop=hop, f_min=_BOTTOM_HERTZ, f_max=top)
    half = 0.5 * hop / waveform.rate
    # Row t of the spectrogram is centred on t * hop.
    extent = (-half, (len(mels) - 1) * hop / waveform.rate + half, hertz_to_mel(_BOTTOM_HERTZ), hertz_to_mel(top))
    loudest = float(mels.max())
    image = axes.imshow(
        mels.T,
        origin="lower",
        aspect="auto",
        extent=tuple(float(edge) for edge in extent),
        cmap="magma",
        vmin=loudest - _RANGE_DB,
        vmax=loudest,
        interpolation="nearest",
    )
    ticks = [tick for tick in _TICKS if tick < top]
    axes.set_yticks([float(hertz_to_mel(tick)) for tick in ticks], [f"{tick:,}" for tick in ticks])
    axes.set_xlim(0.0, waveform.duration)
    axes.set_ylabel("Hz (mel scale)")
    axes.set_xlabel("seconds")
    figure.colorbar(image, ax=axes, label="dB", pad=0.01)


def _bar_lines(waveform: Waveform, grid: BarGrid) -> list[float]:
    """Seconds of every bar line inside the waveform."""
    bars = int(waveform.duration / grid.seconds_per_bar + 1e-3)
    return [float(grid.seconds_per_bar * bar) for bar in range(bars + 1)]


def _name_bars(axes: Any, lines: Sequence[float], duration: float) -> None:
    """Numbers above the bars: all of them, or every second, fourth ... where they are many."""
    every = 1
    while len(lines) / every > _MOST_NAMES:
        every *= 2
    for bar, place in list(enumerate(lines, start=1))[::every]:
        if place < duration - 1e-3:
            at_top = ("data", "axes fraction")
            axes.annotate(f"{bar}", (place, 1.0), (2, 3), xycoords=at_top, textcoords="offset points")


def _name_parts(axes: Any, loop_end: float) -> None:
    """ "loop" to the left of its end, "continuation" to the right."""
    for name, side, offset in (("loop", "right", -6), ("continuation", "left", 6)):
        axes.annotate(
            name,
            (loop_end, 0.0),
            (offset, 5),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha=side,
            color=_LOOP,
        )

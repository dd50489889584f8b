"""A picture of some music: the waveform with its bar lines above, a mel spectrogram below."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from darius.audio import files
from darius.audio.mel import hertz_to_mel, log_mel
from darius.audio.waveform import Waveform
from darius.errors import MissingDependency

_COLUMNS = 1600
_TOP_HERTZ = 16_000.0
_BOTTOM_HERTZ = 20.0
_RANGE_DB = 75.0
_TICKS = (100, 300, 1000, 3000, 10_000)
_INK, _WAVE, _LOOP = "#22262b", "#2f6f8f", "#c8553d"


def plot(
    path: str | os.PathLike[str],
    waveform: Waveform,
    *,
    bar_lines: Sequence[int] = (),
    loop_end: int | None = None,
    title: str = "",
    overwrite: bool = False,
) -> Path:
    """Draws a PNG of 1600 x 800 points.

    Args:
      bar_lines: sample positions of the bar lines, as `BarGrid.lines` gives them.
      loop_end: the sample where the loop ends and its continuation begins, when both are in the waveform.

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
    for axes in (wave, spectrum):
        _draw_bars(axes, bar_lines, waveform.rate)
        if loop_end is not None:
            axes.axvline(loop_end / waveform.rate, color=_LOOP, linewidth=2.0)
    _name_bars(wave, bar_lines, waveform.rate)
    if loop_end is not None:
        _name_parts(wave, loop_end / waveform.rate)
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


def _draw_bars(axes: Any, bar_lines: Sequence[int], rate: int) -> None:
    for line in bar_lines:
        axes.axvline(line / rate, color="#9aa3ad", linewidth=0.8, alpha=0.8)


def _name_bars(axes: Any, bar_lines: Sequence[int], rate: int) -> None:
    """Numbers above the bars: all of them, or every second, fourth ... where they are many."""
    bars = len(bar_lines) - 1
    every = 1
    while bars / every > 32:
        every *= 2
    for bar in range(0, max(0, bars), every):
        place = bar_lines[bar] / rate
        axes.annotate(
            f"{bar + 1}", (place, 1.0), (2, 3), xycoords=("data", "axes fraction"), textcoords="offset points"
        )


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

"""Batches of training windows, each a function of (seed, step): a run that goes on draws what it would have drawn.

Every epoch goes through all clips once, in an order of its own; where in a clip a window lies is drawn anew each time.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from darius.errors import BadDataset
from darius.tokens import TokenLayout
from finetune import windows
from finetune.records import Example, iterate_examples

_ORDER = 0x0DE5  # tells the epochs' random numbers from the windows'


class Windows(NamedTuple):
    """Ids int32: inputs [rows, encoder_length] and targets [rows, decoder_length]."""

    inputs: NDArray[np.int32]
    targets: NDArray[np.int32]


def load(path: Path, layout: TokenLayout) -> list[Example]:
    """A file's clips, of which only the levels that this model uses are kept in memory.

    Raises:
      BadDataset: damaged, empty, or made for another model.
    """
    examples = [
        Example(
            acoustic_tokens=np.ascontiguousarray(example.acoustic_tokens[:, : layout.codec_levels]),
            style_tokens=example.style_tokens,
        )
        for example in iterate_examples(path)
    ]
    if not examples:
        raise BadDataset(f"{path} has no examples.", "Prepare the data again.")
    for example in (examples[0], examples[-1]):
        windows.last_window(example, layout)  # says at once what does not fit this model
    return examples


class Sampler:
    """Draws batches from clips.

    Args:
      rows: windows in a batch.
      seed: of everything that is drawn.
      first_step: the step at which the run began.
    """

    def __init__(
        self, examples: Sequence[Example], layout: TokenLayout, *, rows: int, seed: int, first_step: int
    ) -> None:
        self._examples, self._layout, self._rows, self._seed = examples, layout, rows, seed
        self._first = first_step
        self._order = functools.lru_cache(maxsize=4)(self._shuffled)

    def at(self, step: int) -> Windows:
        """The batch of a step, the same each time."""
        drawn = [self._window(step, row) for row in range(self._rows)]
        return Windows(*(np.stack(part) for part in zip(*drawn, strict=True)))

    def _window(self, step: int, row: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        epoch, place = divmod((step - self._first) * self._rows + row, len(self._examples))
        example = self._examples[int(self._order(epoch)[place])]
        return windows.cut_window(example, self._layout, np.random.default_rng((self._seed, step, row)))

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng((self._seed, _ORDER, epoch)).permutation(len(self._examples))


def last_windows(examples: Sequence[Example], layout: TokenLayout, *, rows: int, most: int = 64) -> list[Windows]:
    """The windows at the ends of clips, to evaluate: as many batches as `most` windows fill, at least one.

    The last batch is filled up from the beginning, so that all have the same shape.
    """
    chosen = [windows.last_window(example, layout) for example in examples[:most]]
    count = -(-len(chosen) // rows)
    filled = [chosen[index % len(chosen)] for index in range(count * rows)]
    return [
        Windows(*(np.stack(part) for part in zip(*filled[start : start + rows], strict=True)))
        for start in range(0, len(filled), rows)
    ]

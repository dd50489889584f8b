"""Attention by position: weights of sinusoid pairs whose sum is high inside a window and low everywhere else."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

GAP = 8.0
"""How far the scores outside the window should lie below those inside (nats)."""

FLAT = 1600.0
"""How much it matters that the scores inside are equal."""


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A head that attends to places around `centre`: score(d) = sum_i weights[i] * cos(frequency[pairs[i]] * d)."""

    centre: float
    pairs: NDArray[np.int64]
    weights: NDArray[np.float64]

    def scores(self, frequencies: NDArray[np.float64], distance: NDArray[Any]) -> NDArray[np.float64]:
        """Scores of keys at these distances from the query (any shape)."""
        turn = (np.asarray(distance) - self.centre)[..., None] * frequencies[self.pairs]
        return np.asarray(np.cos(turn) @ self.weights)


def position_kernel(frequencies: NDArray[np.float64], centre: float, reach: float, head_dim: int) -> Kernel:
    """The kernel of a window of `reach` positions to either side of `centre`; a pair takes two of the head's dims."""
    pairs = np.arange(head_dim // 2)
    return Kernel(centre, pairs, _fit(tuple(frequencies[pairs]), reach))


@functools.cache
def _fit(frequencies: tuple[float, ...], reach: float, longest: int = 1006) -> NDArray[np.float64]:
    """Non-negative weights, by least squares: flat inside, at least GAP lower outside."""
    from scipy.optimize import minimize

    distance = np.arange(longest) + (reach % 1.0)
    inside = distance <= reach
    edge = np.clip((distance - reach) / 2, 0, 1) * ~inside
    cosines = np.cos(distance[:, None] * np.asarray(frequencies))

    def loss(log_weights: NDArray[np.float64]) -> tuple[float, Any]:
        values = np.exp(log_weights)
        scores = cosines @ values
        top = scores[inside].mean()
        over = edge * np.maximum(scores - (top - GAP), 0)
        uneven = FLAT / inside.sum() ** 2 * inside * (scores - top)
        total = (
            np.sum(over * np.maximum(scores - (top - GAP), 0)) / 3
            + np.sum(uneven * (scores - top))
            + 1e-3 * np.sum(values**2)
        )
        slope = 2 * over / 3 + 2 * uneven - (2 * over.sum() / 3) * inside / inside.sum()
        return float(total), (cosines.T @ slope + 2e-3 * values) * values

    start = np.log(np.full(len(frequencies), GAP / len(frequencies)))
    return np.exp(minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x)

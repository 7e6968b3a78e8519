"""A Gaussian process regression that is already fitted: the mean of a row, and how like the training data it is.

Fitting it is one linear system (`training.py`), evaluating it one matrix product. Far from all training rows the
mean goes back to the training mean, here the physical baseline, where trees would answer with their nearest leaf.
`likeness` is the largest kernel value to any training row: 1 for the same machine, 0 for nothing like it.
Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, chapter 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
AT_ONCE = 2048


@dataclass(frozen=True, slots=True)
class Process:
    """`points` are training rows divided by the length scales; `weights` are the dual coefficients."""

    scale: Floats
    points: Floats
    weights: Floats
    mean: float

    def predict(self, rows: Floats) -> tuple[Floats, Floats]:
        """Mean and likeness of each row."""
        parts = [self._some(rows[start : start + AT_ONCE]) for start in range(0, len(rows), AT_ONCE)]
        both = np.concatenate(parts, axis=1) if parts else np.empty((2, 0))
        return both[0], both[1]

    def _some(self, rows: Floats) -> Floats:
        scaled = rows / self.scale
        squares = (scaled**2).sum(axis=1)[:, None] + (self.points**2).sum(axis=1)[None, :]
        kernel = np.exp(-0.5 * np.maximum(squares - 2 * scaled @ self.points.T, 0.0))
        return np.vstack([self.mean + kernel @ self.weights, kernel.max(axis=1)])

    def document(self) -> dict[str, Any]:
        """For the model file."""
        return {
            "scale": self.scale.tolist(),
            "points": self.points.tolist(),
            "weights": self.weights.tolist(),
            "mean": self.mean,
        }

    @staticmethod
    def of_document(document: Mapping[str, Any]) -> Process:
        """From the model file."""
        scale, points, weights = (np.array(document[name], dtype=np.float64) for name in ("scale", "points", "weights"))
        return Process(scale, points, weights, float(document["mean"]))

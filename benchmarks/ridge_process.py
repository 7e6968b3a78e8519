"""A Gaussian process over what a ridge regression leaves, for evaluations of held-out groups.

Columns and logarithms of watts go in, logarithms of the rows asked for come out. More than `rows` known rows are
thinned with a fixed seed, by the root of their group's number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def root_weights(group: NDArray[np.str_]) -> Floats:
    """A group of many rows counts for more than one of few, but not in proportion."""
    _, place, count = np.unique(group, return_inverse=True, return_counts=True)
    return np.asarray(1 / np.sqrt(count[place]))


@dataclass(frozen=True, slots=True)
class RidgeProcess:
    """Length of the kernel and penalties, all for columns that are scaled to a deviation of 1."""

    length: float
    noise: float
    ridge: float
    rows: int

    def __call__(self, columns: Floats, logs: Floats, group: NDArray[np.str_], train: Bools, test: Bools) -> Floats:
        """The logarithms of the rows of `test`, learned on those of `train`."""
        mean, scale = columns[train].mean(axis=0), columns[train].std(axis=0) + 1e-9
        some, weight = np.flatnonzero(train), root_weights(group[train])
        if len(some) > self.rows:
            some = np.random.default_rng(1).choice(some, self.rows, replace=False, p=weight / weight.sum())
        known, asked = (columns[some] - mean) / scale, (columns[test] - mean) / scale
        middle = logs[some].mean()
        above = logs[some] - middle
        slope = np.linalg.solve(known.T @ known + self.ridge * np.eye(known.shape[1]), known.T @ above)
        noise = self.noise * np.eye(len(known))
        left = np.linalg.solve(self._kernel(known, known) + noise, above - known @ slope)
        return np.asarray(middle + asked @ slope + self._kernel(asked, known) @ left)

    def _kernel(self, one: Floats, other: Floats) -> Floats:
        squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * one @ other.T
        return np.asarray(np.exp(-0.5 * np.maximum(squares, 0) / self.length**2))

"""Boosted trees evaluated with numpy alone, so that the live path needs no XGBoost (docs/adr/0012 has its cost).

Every tree is stored as a whole binary tree of the same depth: for each inner node a column and a threshold, for each
leaf a value. A row goes left where it is smaller than the threshold, in single precision, as XGBoost does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
AT_ONCE = 2048
"""Rows evaluated at a time: bounds the memory."""


@dataclass(frozen=True, slots=True)
class Trees:
    """A boosted ensemble; arrays of (trees, nodes)."""

    base: float
    column: NDArray[np.intp]
    threshold: NDArray[np.float32]
    leaf: Floats

    def predict(self, rows: Floats) -> Floats:
        """One value for each row."""
        parts = [self._some(rows[start : start + AT_ONCE]) for start in range(0, len(rows), AT_ONCE)]
        return np.concatenate(parts) if parts else np.empty(0)

    def _some(self, rows: Floats) -> Floats:
        narrow = rows.astype(np.float32)
        tree = np.arange(len(self.column))[None, :]
        row = np.arange(len(rows))[:, None]
        node = np.zeros((len(rows), len(self.column)), dtype=np.intp)
        inner = self.column.shape[1]
        while node[0, 0] < inner:
            right = narrow[row, self.column[tree, node]] >= self.threshold[tree, node]
            node = 2 * node + 1 + right
        return np.asarray(self.base + self.leaf[tree, node - inner].sum(axis=1))

    def document(self) -> dict[str, Any]:
        """For the model file; thresholds keep all digits of single precision."""
        return {
            "base": self.base,
            "column": self.column.tolist(),
            "threshold": [[float(f"{value:.9g}") for value in tree] for tree in self.threshold],
            "leaf": [[float(f"{value:.5g}") for value in tree] for tree in self.leaf],
        }

    @staticmethod
    def of_document(document: Mapping[str, Any]) -> Trees:
        """From the model file."""
        return Trees(
            float(document["base"]),
            np.array(document["column"], dtype=np.intp),
            np.array(document["threshold"], dtype=np.float32),
            np.array(document["leaf"], dtype=np.float64),
        )


def of_xgboost(model: Mapping[str, Any], depth: int) -> Trees:
    """From XGBoost's own JSON (`Booster.save_raw("json")`); shallower trees are filled up."""
    learner = model["learner"]
    base = float(str(learner["learner_model_param"]["base_score"]).strip("[]"))
    made = [_whole(tree, depth) for tree in learner["gradient_booster"]["model"]["trees"]]
    column, threshold, leaf = (np.array(part) for part in zip(*made, strict=True))
    return Trees(base, column.astype(np.intp), threshold.astype(np.float32), leaf.astype(np.float64))


def _whole(tree: Mapping[str, Any], depth: int) -> tuple[list[int], list[float], list[float]]:
    """A tree as one of full depth: below a leaf, both sides lead to its value."""
    inner = 2**depth - 1
    at = [0] + [-1] * (2 * inner)
    column, threshold, leaf = [0] * inner, [0.0] * inner, [0.0] * (inner + 1)
    for place in range(2 * inner + 1):
        node = at[place]
        left, right = tree["left_children"][node], tree["right_children"][node]
        if place >= inner:
            leaf[place - inner] = tree["split_conditions"][node]
        elif left < 0:
            at[2 * place + 1] = at[2 * place + 2] = node
        else:
            column[place], threshold[place] = tree["split_indices"][node], tree["split_conditions"][node]
            at[2 * place + 1], at[2 * place + 2] = left, right
    return column, threshold, leaf

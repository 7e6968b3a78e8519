"""The two fitted regressions (idle and full watts) and the guess of a TDP: from machines to the logarithm of watts.

Both predict a ratio to a physical baseline, sockets x TDP: newer and larger machines than those seen are carried by
their TDP. Each is the mean of boosted trees (sharp where there is data, monotone in cores, threads and memory) and a
Gaussian process (goes back to the baseline where there is none). `training.py` fits them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from energy_orchestrator.analyze.estimator.hardware import Machines, design, known_tdp, tdp_design
from energy_orchestrator.analyze.estimator.process import Process
from energy_orchestrator.analyze.estimator.trees import Trees

Floats = NDArray[np.float64]
PARTS = ("idle", "full")


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear regression within the range of its training rows."""

    intercept: float
    weights: Floats
    low: Floats
    high: Floats

    def predict(self, rows: Floats) -> Floats:
        """One value for each row; columns are held to the range seen."""
        return np.asarray(self.intercept + np.clip(rows, self.low, self.high) @ self.weights)


@dataclass(frozen=True, slots=True)
class Regression:
    """Everything fitted. `low` and `high` bound the training rows' columns; `latest` is their newest generation."""

    tdp: Linear
    trees: Mapping[str, Trees]
    process: Mapping[str, Process]
    low: Floats
    high: Floats
    latest: float
    tdp_table: Mapping[str, float]

    def predict(self, machines: Machines) -> Prediction:
        """Logarithm of watts at both ends, of complete machines."""
        known = known_tdp(machines, self.tdp_table)
        guess = np.exp(self.tdp.predict(tdp_design(machines, self.latest)))
        tdp = np.where(np.isfinite(known), known, guess)
        rows = design(machines, tdp, self.latest)
        held = np.clip(rows, self.low, self.high)
        base = np.log(machines.sockets * tdp)
        logs, likeness = {}, np.ones(len(rows))
        for part in PARTS:
            smooth, like = self.process[part].predict(rows)
            logs[part] = base + 0.5 * (self.trees[part].predict(held) + smooth)
            likeness = np.minimum(likeness, like)
        far = np.maximum(self.low - rows, rows - self.high).max(axis=1)
        return Prediction(logs["idle"], logs["full"], likeness, ~np.isfinite(known), tdp, rows, far)

    def document(self) -> dict[str, Any]:
        """For the model file; the TDP list is kept apart."""
        linear = {name: getattr(self.tdp, name) for name in ("intercept", "weights", "low", "high")}
        parts = {
            part: {"trees": self.trees[part].document(), "process": self.process[part].document()} for part in PARTS
        }
        return {"tdp": linear, "parts": parts, "low": self.low, "high": self.high, "latest": self.latest}

    @staticmethod
    def of_document(document: Mapping[str, Any], tdp_table: Mapping[str, float]) -> Regression:
        """From the model file."""
        linear = document["tdp"]
        parts = document["parts"]
        return Regression(
            Linear(float(linear["intercept"]), *(np.array(linear[name]) for name in ("weights", "low", "high"))),
            {part: Trees.of_document(parts[part]["trees"]) for part in PARTS},
            {part: Process.of_document(parts[part]["process"]) for part in PARTS},
            np.array(document["low"]),
            np.array(document["high"]),
            float(document["latest"]),
            tdp_table,
        )


@dataclass(frozen=True, slots=True)
class Prediction:
    """Of each machine: logarithm of watts at both ends, and what the intervals need to know."""

    log_idle: Floats
    log_full: Floats
    likeness: Floats
    tdp_guessed: NDArray[np.bool_]
    tdp: Floats
    rows: Floats
    beyond: Floats
    """How far outside the training range the worst column lies, in that column's unit; at most 0 inside."""

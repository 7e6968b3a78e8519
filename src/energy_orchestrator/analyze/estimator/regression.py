"""The two fitted regressions (idle and full watts) and the guess of a TDP: from machines to the logarithm of watts.

Both predict a ratio to a physical baseline, sockets x TDP: newer and larger machines than those seen are carried by
their TDP. Each is a weighted mean of boosted trees (sharp where there is data, monotone in cores, threads and memory)
and a Gaussian process (goes back to the mean of all where there is none). Of a CPU newer than all trained on the trees
alone speak: they hold on to the newest ratio to the TDP, where the process would go back to that of twenty years. That
was chosen on the shifts in time that end by 2022 (docs/accuracy.md). `training.py` fits them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from energy_orchestrator.analyze.estimator.hardware import COLUMNS, Machines, design, known_tdp, tdp_design
from energy_orchestrator.analyze.estimator.process import Process
from energy_orchestrator.analyze.estimator.tdp_list import TdpList
from energy_orchestrator.analyze.estimator.trees import Trees

Floats = NDArray[np.float64]
PARTS = ("idle", "full")
SMOOTH = {"idle": 0.5, "full": 0.7}
"""Part of the process in the mean, the rest is the trees'. Full: chosen on the development CPUs with the process's
lengths fitted inside each training fold, where 0.7 was best of 0.5, 0.7 and 1."""
NEWER_BY_YEARS = 0.3
RECENT_YEARS = 3.0
"""Before the newest generation; a guessed TDP errs more there."""


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
    tdp_list: TdpList

    def predict(self, machines: Machines) -> Prediction:
        """Logarithm of watts at both ends, of complete machines."""
        known, near, tdp = socket_tdp(machines, self.tdp_list, self.tdp, self.latest)
        rows = design(machines, tdp, self.latest)
        held = np.clip(rows, self.low, self.high)
        base = np.log(machines.sockets * tdp)
        logs, likeness, born = {}, np.ones(len(rows)), rows[:, COLUMNS.index("generation")]
        newer = born > self.latest + NEWER_BY_YEARS
        for part in PARTS:
            smooth, like = self.process[part].predict(rows)
            share = np.where(newer, 0.0, SMOOTH[part])
            logs[part] = base + (1 - share) * self.trees[part].predict(held) + share * smooth
            likeness = np.minimum(likeness, like)
        recent = born > self.latest - RECENT_YEARS
        far = np.maximum(self.low - rows, rows - self.high).max(axis=1)
        return Prediction(logs["idle"], logs["full"], likeness, ~known, near, tdp, rows, far, recent)

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
            TdpList(tdp_table),
        )


def socket_tdp(
    machines: Machines, tdp_list: TdpList, guess: Linear, latest: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], Floats]:
    """Whether the TDP of each is given or listed, whether a listed CPU of a near name stands in, and its watts."""
    known = known_tdp(machines, tdp_list.table)
    near = np.where(np.isfinite(known), np.nan, tdp_list.near(machines.cpu))
    guessed = np.exp(guess.predict(tdp_design(machines, latest)))
    listed, stands_in = np.isfinite(known), np.isfinite(near)
    return listed, stands_in, np.where(listed, known, np.where(stands_in, near, guessed))


@dataclass(frozen=True, slots=True)
class Prediction:
    """Of each machine: logarithm of watts at both ends, and what the intervals need to know."""

    log_idle: Floats
    log_full: Floats
    likeness: Floats
    tdp_guessed: NDArray[np.bool_]
    """Neither given nor listed, which is so where a near name stands in, too."""
    tdp_near: NDArray[np.bool_]
    tdp: Floats
    rows: Floats
    beyond: Floats
    """How far outside the training range the worst column lies, in that column's unit; at most 0 inside."""
    recent: NDArray[np.bool_]

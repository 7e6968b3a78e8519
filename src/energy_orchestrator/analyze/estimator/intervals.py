"""Conformal intervals by group: half-widths of the logarithm that held the truth for 90 % of CPU models held out.

Groups (Mondrian): machines like the training data, machines unlike it (and, where the TDP is guessed, of recent
generations), small machines (predicted below `SMALL_WATTS` at full load, where a board or a fan counts), each with the
TDP looked up or guessed. Machines newer than all trained on have a width of their own, from the errors that models
trained to earlier years made on what came after (`training.py`).
The errors come from cross-validation with whole CPU models held out (cross-conformal), so they are those of unseen
CPUs. In each group the half-width is the (n+1) 0.9-th smallest error. Sources: Vovk, Gammerman and Shafer,
Algorithmic Learning in a Random World, 2005, section 4.5; Vovk, Cross-conformal predictors, 2015.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from energy_orchestrator.analyze.estimator.regression import Prediction

Floats = NDArray[np.float64]

LEVEL = 0.9
SMALL_WATTS = 130.0
CLASSES = ("like", "unlike", "small", "like, tdp guessed", "unlike, tdp guessed", "small, tdp guessed")
KINDS = 3
UNSEEN_WIDENING = 1.3
"""Of the widest group, for newer machines, where no earlier years tell; assumed."""
UNLIKE_SHARE = 0.2
"""Of the training machines, held out, that count as unlike the others."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """Half-widths by class at both ends, correlation of the two errors, and what a reading's interval is times."""

    likeness: float
    idle: Floats
    full: Floats
    together: float
    after_reading: float
    least_likeness: float
    newer: Floats
    """Of idle and full, of machines newer than all trained on."""

    def half_widths(self, prediction: Prediction) -> tuple[Floats, Floats]:
        """Of idle and full of each machine, by its class."""
        unlike = (prediction.likeness < self.likeness) | (prediction.recent & prediction.tdp_guessed)
        group = _kind(unlike, prediction.log_full) + KINDS * prediction.tdp_guessed.astype(np.intp)
        return self.idle[group], self.full[group]

    def document(self) -> dict[str, Any]:
        """For the model file."""
        names = ("likeness", "idle", "full", "together", "after_reading", "least_likeness", "newer")
        return {name: getattr(self, name) for name in names}

    @staticmethod
    def of_document(document: Mapping[str, Any]) -> Intervals:
        """From the model file."""
        return Intervals(
            float(document["likeness"]),
            np.array(document["idle"], dtype=np.float64),
            np.array(document["full"], dtype=np.float64),
            float(document["together"]),
            float(document["after_reading"]),
            float(document["least_likeness"]),
            np.array(document["newer"], dtype=np.float64),
        )


def _kind(unlike: NDArray[np.bool_], log_full: Floats) -> NDArray[np.intp]:
    return np.where(log_full < math.log(SMALL_WATTS), 2, np.where(unlike, 1, 0))


def half_width(errors: Floats) -> float:
    """The conformal half-width of absolute errors: infinite sample corrected, the largest where there are too few."""
    ordered = np.sort(np.abs(errors))
    return float(ordered[min(math.ceil((len(ordered) + 1) * LEVEL), len(ordered)) - 1])


@dataclass(frozen=True, slots=True)
class Errors:
    """Errors of the logarithm held out, (idle, full), and what decides the class."""

    idle: Floats
    full: Floats
    likeness: Floats
    log_full: Floats
    recent: NDArray[np.bool_]
    """Counts as unlike; all false where the TDP is known."""

    def widths(self, limit: float) -> tuple[Floats, Floats]:
        """Half-widths of idle and full in each kind; a kind without machines gets the width of all."""
        kind = _kind((self.likeness < limit) | self.recent, self.log_full)
        parts = [kind == index if (kind == index).any() else np.ones(len(kind), dtype=bool) for index in range(KINDS)]
        idle, full = ([half_width(error[part]) for part in parts] for error in (self.idle, self.full))
        return np.array(idle), np.array(full)


def conformal(known: Errors, guessed: Errors) -> Intervals:
    """Intervals from errors with the TDP known and with the TDP guessed."""
    limit = float(np.quantile(known.likeness, UNLIKE_SHARE))
    least = float(np.quantile(known.likeness, 0.02))
    both = known.widths(limit), guessed.widths(limit)
    idle, full = (np.concatenate([part[index] for part in both]) for index in (0, 1))
    together = float(np.corrcoef(np.clip(known.idle, -1, 1), np.clip(known.full, -1, 1))[0, 1])
    newer = UNSEEN_WIDENING * np.array([idle.max(), full.max()])
    return Intervals(limit, idle, full, together, 1.0, least, newer)

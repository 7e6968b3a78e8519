"""Joules per operation of a workload on a type of node where it was not measured.

In go joules per operation measured on some types, and what is known of each type; out comes a figure with a 90 %
interval, or none with a reason. The logarithm is a sum: the workload's, plus what the node's profile says (a ridge
regression: its columns, and minus the logarithm of SPECpower's operations per watt where that is known, the physical
baseline), plus the node's own deviation, learned from the other workloads measured there. One ridge regression fits all
of it at once; trees do worse on hardware that they never saw. A workload that was measured nowhere gets the middle of
its nearest neighbours by fingerprint, if their operation is the same, with the width that neighbours had for others.

Widths are conformal, from the table itself: each cell, each node and each workload is left out in turn (the block
formula of ridge regression: Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 2009, section 7.10).
An interval wider than `WIDEST` says nothing and is not given. Pure.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from energy_orchestrator.analyze.estimator.intervals import half_width
from energy_orchestrator.model.units import Bounded

Floats = NDArray[np.float64]

WIDEST = math.log(10.0)
LEAST_ERRORS = 10
"""Left-out errors that a width must rest on: with fewer, the ninth tenth is the largest of a handful."""
WORKLOAD_PENALTY, PROFILE_PENALTY, NODE_PENALTY = 0.01, 1.0, 0.3
"""In units of the residual's variance over the part's: set by judgement, a node differing from its profile about twice
as much as a cell from both. docs/accuracy.md tests them as they are."""


@dataclass(frozen=True, slots=True)
class MeasuredOperation:
    """What one operation of a workload took on a type of node. `operation` names what is counted."""

    workload: str
    operation: str
    node: str
    joules: float


@dataclass(frozen=True, slots=True)
class NodeProfile:
    """What is known of a type of node: columns by name (logarithms of sizes), and SPECpower's operations per watt."""

    columns: Mapping[str, float] = field(default_factory=dict)
    operations_per_watt: float | None = None


@dataclass(frozen=True, slots=True)
class PredictedOperation:
    """Joules per operation with its 90 % interval; None with the reason. The reason is there in both cases."""

    value: Bounded | None
    reason: str


class OperationsModel:
    """Fitted to a table of measured operations; `predict` answers for pairs that the table lacks."""

    def __init__(self, measured: Sequence[MeasuredOperation], profiles: Mapping[str, NodeProfile]) -> None:
        """Cells whose joules are not above zero are left out."""
        self._cells = [cell for cell in measured if math.isfinite(cell.joules) and cell.joules > 0]
        self._profiles = profiles
        self._kinds = sorted({_kind(cell) for cell in self._cells})
        self._times = Counter(cell.node for cell in self._cells)
        self._nodes = sorted(self._times)
        names = sorted({name for profile in profiles.values() for name in profile.columns})
        self._middle = {name: _middle(name, profiles, self._nodes) for name in names}
        rows = {node: self._row(None, node) for node in self._nodes}
        width = len(self._kinds) + len(self._middle) + len(self._nodes)
        self._design = np.array([rows[cell.node] for cell in self._cells]).reshape(len(self._cells), width)
        places = {kind: place for place, kind in enumerate(self._kinds)}
        for index, cell in enumerate(self._cells):
            self._design[index, places[_kind(cell)]] = 1.0
        self._target = np.array([math.log(cell.joules) + self._physical(cell.node) for cell in self._cells])
        self._fit()

    def predict(
        self, workload: str, operation: str, node: str, neighbours: Sequence[tuple[str, float]] = ()
    ) -> PredictedOperation:
        """Args:
        neighbours: workloads alike by fingerprint and how alike (0 to 1), for a workload that was measured nowhere.
        """
        if not self._cells:
            return PredictedOperation(None, "nothing has been measured yet")
        profile = self._profiles.get(node, NodeProfile())
        if node not in self._nodes and not profile.columns and profile.operations_per_watt is None:
            return PredictedOperation(None, f"nothing is known of {node}: no profile, nothing measured there")
        if (workload, operation) in self._kinds:
            return self._answer((workload, operation), node)
        alike = [(name, weight) for name, weight in neighbours if (name, operation) in self._kinds and weight > 0]
        if not alike:
            return PredictedOperation(
                None, f"{workload} was measured nowhere, nor was one like it by the same operation"
            )
        names = ", ".join(name for name, _ in alike)
        return self._of_neighbours(
            operation, node, alike, f"{workload} was measured nowhere; from those like it: {names}"
        )

    def widths(self) -> dict[str, float | None]:
        """Half-widths of the logarithm by case; None where too few were left out to tell."""
        return dict(self._widths)

    def _answer(self, kind: tuple[str, str], node: str) -> PredictedOperation:
        known = self._times[node]
        what = (
            f"{known} other{'s' if known > 1 else ''} on this one" if known else "of this one only the profile is known"
        )
        log = float(self._row(kind, node) @ self._weights) + self._base - self._physical(node)
        return _bounded(log, self._width_on(node), f"measured on other types of node; {what}")

    def _width_on(self, node: str) -> float | None:
        """Between that of a node unseen and that of one well known: each cell measured there takes its share of the
        node's own deviation, as it does in the regression."""
        seen, unseen = self._widths["node measured"], self._widths["node unseen"]
        known = self._times[node]
        if not known or seen is None or unseen is None:
            return seen if known else unseen
        return math.sqrt(seen**2 + max(unseen**2 - seen**2, 0.0) * NODE_PENALTY / (NODE_PENALTY + known))

    def _of_neighbours(
        self, operation: str, node: str, alike: Sequence[tuple[str, float]], reason: str
    ) -> PredictedOperation:
        logs = np.array([self._row((name, operation), node) @ self._weights for name, _ in alike])
        log = float(np.average(logs, weights=[weight for _, weight in alike])) + self._base - self._physical(node)
        both = [self._widths["neighbours"], self._width_on(node)]
        width = None if None in both else math.hypot(*(part for part in both if part is not None))
        return _bounded(log, width, reason)

    def _physical(self, node: str) -> float:
        per_watt = self._profiles.get(node, NodeProfile()).operations_per_watt
        return math.log(per_watt) if per_watt else self._usual_physical()

    def _usual_physical(self) -> float:
        known = [profile.operations_per_watt for profile in self._profiles.values() if profile.operations_per_watt]
        return float(np.mean(np.log(known))) if known else 0.0

    def _row(self, kind: tuple[str, str] | None, node: str) -> Floats:
        columns = self._profiles.get(node, NodeProfile()).columns
        told = [(columns.get(name, mean) - mean) / scale for name, (mean, scale) in self._middle.items()]
        return np.array(
            [*(float(kind == each) for each in self._kinds), *told, *(float(node == each) for each in self._nodes)]
        )

    def _fit(self) -> None:
        sizes = (len(self._kinds), len(self._middle), len(self._nodes))
        penalty = np.repeat([WORKLOAD_PENALTY, PROFILE_PENALTY, NODE_PENALTY], sizes)
        self._base = float(self._target.mean()) if len(self._target) else 0.0
        normal = self._design.T @ self._design + np.diag(penalty)
        inverse = np.linalg.inv(normal) if len(self._cells) else normal
        self._weights = inverse @ self._design.T @ (self._target - self._base)
        rest = self._target - self._base - self._design @ self._weights
        nodes = np.array([cell.node for cell in self._cells])
        by_node = [np.flatnonzero(nodes == node) for node in self._nodes]
        by_cell = [rows[place : place + 1] for rows in by_node if len(rows) > 1 for place in range(len(rows))]
        self._widths: dict[str, float | None] = {
            "node measured": _width(self._left_out(inverse, rest, by_cell)),
            "node unseen": _width(self._left_out(inverse, rest, by_node)),
            "neighbours": _width(self._like_neighbours()),
        }

    def _left_out(self, inverse: Floats, rest: Floats, parts: Sequence[NDArray[np.intp]]) -> Floats:
        """Errors of the cells of each part as if the fit had not seen it, where the workload is measured elsewhere."""
        kinds = [_kind(cell) for cell in self._cells]
        times, found = Counter(kinds), []
        for rows in parts:
            some = self._design[rows]
            error = np.linalg.solve(np.eye(len(rows)) - some @ inverse @ some.T, rest[rows])
            inside = Counter(kinds[index] for index in rows)
            found += [
                miss for miss, index in zip(error, rows, strict=True) if times[kinds[index]] > inside[kinds[index]]
            ]
        return np.array(found)

    def _like_neighbours(self) -> Floats:
        """How far workloads of one operation lie from the middle of the others: what a neighbour may miss by."""
        found = []
        for operation in sorted({kind[1] for kind in self._kinds}):
            own = np.array([self._weights[place] for place, kind in enumerate(self._kinds) if kind[1] == operation])
            found += [own[place] - np.delete(own, place).mean() for place in range(len(own)) if len(own) > 1]
        return np.array(found)


def _kind(cell: MeasuredOperation) -> tuple[str, str]:
    return cell.workload, cell.operation


def _middle(name: str, profiles: Mapping[str, NodeProfile], nodes: Sequence[str]) -> tuple[float, float]:
    told = [profiles[node].columns[name] for node in nodes if node in profiles and name in profiles[node].columns]
    return (float(np.mean(told)), float(np.std(told)) or 1.0) if told else (0.0, 1.0)


def _width(errors: Floats) -> float | None:
    return half_width(errors) if len(errors) >= LEAST_ERRORS else None


def _bounded(log: float, width: float | None, reason: str) -> PredictedOperation:
    if width is None:
        return PredictedOperation(None, f"{reason}; too little is measured to say how far off that may be")
    if width > WIDEST:
        return PredictedOperation(None, f"{reason}; others so predicted were off by a factor of {math.exp(width):.0f}")
    value = math.exp(log)
    return PredictedOperation(Bounded(value, value * math.exp(-width), value * math.exp(width)), reason)

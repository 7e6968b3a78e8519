"""Who is like whom, for advice: from the kept fingerprints, for the few workloads that a strategy compares.

Only workloads with a function of the table of `code_path` are compared with each other, by the cosine of their vectors:
those of one group, and those near each other without one (a program that runs the better implementation has other
functions on its stacks, and may stand in a group of its own). Energy per operation comes from the same windows as
everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from energy_orchestrator.analyze.fingerprint.fleet import NEAR
from energy_orchestrator.model.fingerprint import Fingerprint
from energy_orchestrator.model.sample import MeasuredWindow
from energy_orchestrator.recommend.observation import Alike
from energy_orchestrator.services import series_queries
from energy_orchestrator.services.measurements import SeriesMeasurements
from energy_orchestrator.services.series import Series, rows_of
from energy_orchestrator.store.fingerprint_port import FingerprintStore

MOST_COMPARED = 300
"""By the greatest share: the square of it is computed, and J/op of each is asked for."""
MOST_ALIKE = 20
HotShares = Mapping[str, Sequence[tuple[str, float]]]
Costs = Mapping[str, tuple[float | None, str | None]]
"""By workload J/op and the name of the operation."""


@dataclass(frozen=True, slots=True)
class Compared:
    """By workload: the like ones, and its own energy per operation with the name of the operation."""

    alike: Mapping[str, Sequence[Alike]] = field(default_factory=dict)
    per_operation: Costs = field(default_factory=dict)


class Likeness:
    """Without a store nobody is like anybody."""

    def __init__(
        self, series: Series, measurements: SeriesMeasurements, store: FingerprintStore | None, version: str
    ) -> None:
        self._series = series
        self._measurements = measurements
        self._store = store
        self._version = version

    def groups(self, tenant: str, workloads: Collection[str]) -> dict[str, int]:
        """The group of each that has one."""
        return self._store.clusters_of(tenant, workloads) if self._store is not None else {}

    def compared(self, tenant: str, hot: HotShares, start: datetime, end: datetime) -> Compared:
        """The workloads of `hot` among themselves."""
        if self._store is None or len(hot) < 2:
            return Compared()
        most = sorted(hot, key=lambda name: (-max(share for _, share in hot[name]), name))[:MOST_COMPARED]
        rows = self._store.some(tenant, self._version, most)
        if len(rows) < 2:
            return Compared()
        costs = self._per_operation(tenant, [row.workload for row in rows], start, end)
        vectors = np.array([row.vector for row in rows])
        return Compared(
            {
                row.workload: _alike(
                    row, [it for it in zip(rows, cosines, strict=True) if it[0] is not row], hot, costs
                )
                for row, cosines in zip(rows, (vectors @ vectors.T).tolist(), strict=True)
            },
            costs,
        )

    def _per_operation(self, tenant: str, workloads: Sequence[str], start: datetime, end: datetime) -> Costs:
        parameters = {"tenant": tenant, "workloads": list(workloads), "start": start, "end": end}
        found = rows_of(self._series, series_queries.OPERATION_NAMES, parameters)
        operation = {row["workload"]: row["operation"] for row in found}
        windows = self._measurements.windows_of(tenant, sorted(operation), start, end)
        return {workload: (_mean(them), operation[workload]) for workload, them in windows}


def _alike(mine: Fingerprint, others: Sequence[tuple[Fingerprint, float]], hot: HotShares, costs: Costs) -> list[Alike]:
    found = []
    for other, likeness in others:
        same_group = mine.cluster is not None and mine.cluster == other.cluster
        if same_group or likeness >= NEAR:
            cost, operation = costs.get(other.workload, (None, None))
            found.append(Alike(other.workload, likeness, same_group, hot[other.workload], cost, operation))
    return sorted(found, key=lambda it: (-it.likeness, it.workload))[:MOST_ALIKE]


def _mean(windows: Sequence[MeasuredWindow]) -> float | None:
    """J/op of all windows that have both, by their operations."""
    known = [(it.joules_per_operation, it.operations) for it in windows if it.joules_per_operation and it.operations]
    done = math.fsum(operations for _, operations in known)
    return math.fsum(per * operations for per, operations in known) / done if done else None

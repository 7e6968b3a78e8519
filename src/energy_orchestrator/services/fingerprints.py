"""Fingerprints of what runs: made from the stacks and samples of the last hour, kept in the records.

They are made when they are asked for, at most once a minute, so they cost nothing where nobody looks. The ids of groups
go on from what is in the store. The arithmetic is in `analyze/fingerprint`.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from energy_orchestrator.analyze.fingerprint import FingerprintModel, Profile
from energy_orchestrator.analyze.fingerprint.clusters import Clustering, group, with_stable_ids
from energy_orchestrator.analyze.fingerprint.neighbours import Traits, reason, traits
from energy_orchestrator.api.control_plane import FingerprintView, NeighbourView
from energy_orchestrator.errors import NotFoundError
from energy_orchestrator.model.fingerprint import Fingerprint
from energy_orchestrator.services import series_queries
from energy_orchestrator.services.measurements import Series
from energy_orchestrator.store.fingerprint_port import FingerprintStore

SPAN = timedelta(hours=1)
MADE_EVERY = timedelta(minutes=1)
USES = ("cpu_seconds", "resident_bytes", "threads", "voluntary_switches")


class Fingerprints:
    """See the module. Thread-safe."""

    def __init__(
        self, series: Series, store: FingerprintStore, clock: Callable[[], datetime], model: FingerprintModel
    ) -> None:
        self._series = series
        self._store = store
        self._clock = clock
        self._model = model
        self._version = model.version
        self._made_at: dict[str, datetime] = {}
        self._lock = threading.Lock()

    def listed(self, tenant: str) -> list[FingerprintView]:
        """All of a tenant, by group."""
        self._refresh(tenant)
        rows = self._store.listed(tenant, self._version)
        return [_view(row) for row in sorted(rows, key=lambda row: (row.cluster is None, row.cluster or 0))]

    def neighbours(self, tenant: str, workload: str, count: int) -> list[NeighbourView]:
        """Workloads that do the same, and why."""
        self._refresh(tenant)
        mine = next((row for row in self._store.listed(tenant, self._version) if row.workload == workload), None)
        if mine is None:
            raise NotFoundError(
                "this workload has no fingerprint",
                where=workload,
                next_step="see `eo fingerprints list`; one needs 20 stack samples within an hour",
            )
        near = self._store.nearest(tenant, self._version, mine.vector, count + 1)
        return [
            NeighbourView(
                workload=row.workload,
                likeness=likeness,
                cluster=row.cluster,
                reason=reason(Traits(mine.does, mine.functions), Traits(row.does, row.functions)),
            )
            for row, likeness in near
            if row.workload != workload
        ][:count]

    def _refresh(self, tenant: str) -> None:
        with self._lock:
            now = self._clock()
            if now - self._made_at.get(tenant, now - 2 * MADE_EVERY) >= MADE_EVERY:
                self._make(tenant, now)
                self._made_at[tenant] = now

    def _make(self, tenant: str, now: datetime) -> None:
        fresh = []
        for workload, profile in self._profiles(tenant, now).items():
            vector = self._model.vector(profile)
            if vector is not None:
                seen = traits(profile, self._model)
                fresh.append(
                    Fingerprint(
                        tenant, workload, self._version, vector, profile.samples, now, seen.does, seen.functions
                    )
                )
        self._store.put(fresh)
        rows = self._store.listed(tenant, self._version)
        if not rows:
            return
        before = Clustering({row.workload: row.cluster for row in rows}, self._store.next_cluster_id(tenant))
        labels = group(np.array([row.vector for row in rows]))
        after = with_stable_ids([row.workload for row in rows], labels, before)
        self._store.set_clusters(tenant, {str(key): cluster for key, cluster in after.of.items()}, after.next_id)

    def _profiles(self, tenant: str, now: datetime) -> dict[str, Profile]:
        parameters = {"tenant": tenant, "start": now - SPAN, "end": now}
        stacks: dict[str, list[tuple[list[str], int]]] = defaultdict(list)
        for row in self._rows(series_queries.FINGERPRINT_STACKS, parameters):
            stacks[row["workload"]].append((row["stack"], row["samples"]))
        ticks: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in self._rows(series_queries.FINGERPRINT_USES, parameters):
            ticks[row["workload"]].append(row)
        return {workload: Profile(rows, _uses(ticks.get(workload, []))) for workload, rows in stacks.items()}

    def _rows(self, sql: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._series.query(sql, parameters).to_pylist()
        return found


def _uses(ticks: list[dict[str, Any]]) -> dict[str, list[float]]:
    """The series of each measure that is known in every tick."""
    return {name: [float(row[name]) for row in ticks] for name in USES if all(row[name] is not None for row in ticks)}


def _view(row: Fingerprint) -> FingerprintView:
    does = sorted(row.does, key=lambda name: -row.does[name])
    return FingerprintView(
        workload=row.workload, cluster=row.cluster, samples=row.samples, made_at=row.at, does=does[:3],
        functions=list(row.functions)[:3],
    )  # fmt: skip

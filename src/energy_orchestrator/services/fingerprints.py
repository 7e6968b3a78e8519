"""Fingerprints of what runs, as they are looked at, and the loop that keeps them fresh.

A loop of `eo up` renews those of all tenants every few minutes (`run_once`). Who looks sees what is in the store; in a
small tenant they are first made again where they are older than a minute, so that a person who has just
started something sees it. Making them: `fingerprinting.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from energy_orchestrator.analyze.fingerprint import FingerprintModel
from energy_orchestrator.analyze.fingerprint.neighbours import Traits, reason, told
from energy_orchestrator.api.control_plane import FingerprintView, NeighbourView
from energy_orchestrator.errors import NotFoundError
from energy_orchestrator.model.fingerprint import Fingerprint
from energy_orchestrator.services.fingerprinting import Fingerprinter
from energy_orchestrator.services.series import Series
from energy_orchestrator.store.fingerprint_port import FingerprintStore

FRESH_FOR = timedelta(minutes=1)
MADE_AT_SIGHT = 500
"""Workloads of a tenant; with more nobody waits for new ones."""


class Fingerprints:
    """See the module. Thread-safe."""

    def __init__(
        self, series: Series, store: FingerprintStore, clock: Callable[[], datetime], model: FingerprintModel
    ) -> None:
        self._store = store
        self._clock = clock
        self._version = model.version
        self._maker = Fingerprinter(series, store, model)
        self._made_at: dict[str, datetime] = {}
        self._lock = threading.Lock()

    def run_once(self, tenants: Collection[str]) -> None:
        """Renew those of all tenants."""
        for tenant in sorted(tenants):
            with self._lock:
                self._renew(tenant)

    def listed(self, tenant: str) -> list[FingerprintView]:
        """All of a tenant, by group."""
        self._freshen(tenant)
        rows = self._store.listed(tenant, self._version)
        return [_view(row) for row in sorted(rows, key=lambda row: (row.cluster is None, row.cluster or 0))]

    def neighbours(self, tenant: str, workload: str, count: int) -> list[NeighbourView]:
        """Workloads that do the same, and why."""
        self._freshen(tenant)
        mine = self._store.one(tenant, self._version, workload)
        if mine is None:
            raise NotFoundError(
                "this workload has no fingerprint",
                where=workload,
                next_step="see `eo fingerprints list`; one needs 20 stack samples within an hour",
            )
        # One without names has its like among builds with names only where these are seen without them, too.
        near = self._store.nearest(tenant, self._version, mine.vector, count + 1, bare=mine.nameless)
        without = "; it shows no names of its own, so own names of others were left out" if mine.nameless else ""
        return [
            NeighbourView(
                workload=row.workload,
                likeness=likeness,
                cluster=row.cluster,
                reason=reason(Traits(mine.does, mine.functions), Traits(row.does, row.functions)) + without,
            )
            for row, likeness in near
            if row.workload != workload
        ][:count]

    def _freshen(self, tenant: str) -> None:
        with self._lock:
            made = self._made_at.get(tenant)
            stale = made is None or self._clock() - made >= FRESH_FOR
            if stale and self._store.count(tenant, self._version) <= MADE_AT_SIGHT:
                self._renew(tenant)

    def _renew(self, tenant: str) -> None:
        now = self._clock()
        self._maker.renew(tenant, now)
        self._made_at[tenant] = now


def _view(row: Fingerprint) -> FingerprintView:
    return FingerprintView(
        workload=row.workload, cluster=row.cluster, samples=row.samples, made_at=row.at, does=told(row.does)[:3],
        functions=list(row.functions)[:3],
    )  # fmt: skip

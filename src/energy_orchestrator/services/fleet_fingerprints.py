"""Fingerprints in the batch of a fleet: made by all workers, each of its own workloads, then grouped.

A tenant of moderate size is grouped by whoever puts the parts together. Of a large one each worker first reduces its
shards to leaders, and only these and the names of workloads travel.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from energy_orchestrator.analyze.fingerprint import FingerprintModel
from energy_orchestrator.services.fingerprint_groups import Reduced, is_large, reduce, regroup, settle
from energy_orchestrator.services.fingerprinting import Fingerprinter, expire
from energy_orchestrator.services.series import Series
from energy_orchestrator.services.shards import ALONE, Tick, Worker, silent
from energy_orchestrator.store.fingerprint_port import FingerprintStore

Made = dict[str, int]
"""How many of each tenant."""


def make(
    series: Series, store: FingerprintStore, tenants: Sequence[str], end: datetime, span: timedelta,
    worker: Worker = ALONE, tick: Tick = silent,
) -> Made:  # fmt: skip
    """Those of a worker's workloads into the store."""
    maker = Fingerprinter(series, store, FingerprintModel.shipped(), span)
    return {tenant: maker.make(tenant, end, worker, tick) for tenant in tenants}


def reduced(store: FingerprintStore, tenants: Iterable[str], worker: Worker = ALONE) -> dict[str, list[Reduced]]:
    """A worker's shards of the large tenants."""
    version = FingerprintModel.shipped().version
    return {tenant: reduce(store, tenant, version, worker) for tenant in tenants if is_large(store, tenant, version)}


def settled(
    store: FingerprintStore, made: Iterable[Made], end: datetime, parts: Iterable[dict[str, list[Reduced]]] = ()
) -> tuple[int, int]:
    """Groups and their ids from what the workers made and reduced; how many fingerprints and groups."""
    version = FingerprintModel.shipped().version
    total: Counter[str] = Counter()
    for it in made:
        total.update(it)
    shards: dict[str, list[Reduced]] = defaultdict(list)
    for part in parts:
        for tenant, some in part.items():
            shards[tenant] += some
    groups = 0
    for tenant in sorted(total):
        groups += settle(store, tenant, shards[tenant]) if shards[tenant] else regroup(store, tenant, version)
        expire(store, tenant, end)
    return total.total(), groups

"""Groups of a tenant's fingerprints, with ids that stay: from the store, through HDBSCAN, and back.

Up to `WHOLE_UP_TO` vectors are grouped as they are. More are reduced shard by shard to leaders
(`analyze/fingerprint/fleet.py`), which is the work that several workers share; one of them then groups the leaders.
Only names and leaders travel. Ids are given under a lock, from the groups that are in the store by then; only what
changed is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from energy_orchestrator.analyze.fingerprint.clusters import matched, overlap
from energy_orchestrator.analyze.fingerprint.fleet import WHOLE_UP_TO, Leaders, group_shards, group_whole, lead
from energy_orchestrator.services.shards import ALONE, Worker, owner
from energy_orchestrator.store.fingerprint_port import ALL_SHARDS, FingerprintStore

Labels = NDArray[np.intp]


@dataclass(frozen=True, eq=False, slots=True)
class Reduced:
    """One shard: whose vectors it has, and their leaders."""

    shard: int
    workloads: list[str]
    leaders: Leaders


@dataclass(frozen=True, eq=False, slots=True)
class _Labelled:
    """Workloads of some shards, and the new number of the group of each."""

    shards: Collection[int]
    workloads: list[str]
    labels: Labels


def is_large(store: FingerprintStore, tenant: str, model: str) -> bool:
    """It is grouped in shards."""
    return store.count(tenant, model) > WHOLE_UP_TO


def regroup(store: FingerprintStore, tenant: str, model: str) -> int:
    """All of it, by one process; how many groups there are now."""
    if is_large(store, tenant, model):
        return settle(store, tenant, reduce(store, tenant, model))
    all_of_it = store.vectors(tenant, model)
    return _settled(store, tenant, [_Labelled(ALL_SHARDS, all_of_it.workloads, group_whole(all_of_it.rows))])


def reduce(store: FingerprintStore, tenant: str, model: str, worker: Worker = ALONE) -> list[Reduced]:
    """A worker's shards; a shard and its leaders are the same whoever has it."""
    found = []
    for shard in ALL_SHARDS:
        if owner(shard, worker.of) == worker.number:
            part = store.vectors(tenant, model, [shard])
            found.append(Reduced(shard, part.workloads, lead(part.rows)))
    return found


def settle(store: FingerprintStore, tenant: str, reduced: Iterable[Reduced]) -> int:
    """Groups of all shards together, and their ids; how many."""
    shards = sorted((it for it in reduced if it.workloads), key=lambda it: it.shard)
    if not shards:
        return 0
    groups = group_shards([it.leaders for it in shards])
    return _settled(
        store,
        tenant,
        [
            _Labelled([it.shard], it.workloads, of_leader[it.leaders.of])
            for it, of_leader in zip(shards, groups, strict=True)
        ],
    )


def _settled(store: FingerprintStore, tenant: str, parts: Sequence[_Labelled]) -> int:
    with store.grouping(tenant):
        before = [store.clusters(tenant, part.shards) for part in parts]
        shared: Counter[tuple[int, int]] = Counter()
        labels: set[int] = set()
        for part, was in zip(parts, before, strict=True):
            shared.update(overlap(part.workloads, part.labels, was))
            labels.update(np.unique(part.labels[part.labels >= 0]).tolist())
        ids, next_id = matched(labels, shared, store.next_cluster_id(tenant))
        changed: dict[str, int | None] = {}
        for part, was in zip(parts, before, strict=True):
            now = zip(part.workloads, (ids.get(label) for label in part.labels.tolist()), strict=True)
            changed |= {workload: cluster for workload, cluster in now if cluster != was.get(workload)}
        store.set_clusters(tenant, changed, next_id)
    return len(ids)

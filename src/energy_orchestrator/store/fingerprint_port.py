"""What is asked of a store of fingerprints, and one in memory: the fake of tests, and exact."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from threading import RLock
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from energy_orchestrator.model.fingerprint import Fingerprint

Near = tuple[Fingerprint, float]
DIMENSIONS = 256
"""As the table keeps them."""
SHARDS = 16
"""Parts of a tenant's fingerprints, by the first hexadecimal digit of the workload's MD5: the same for everyone."""
ALL_SHARDS = range(SHARDS)


@dataclass(frozen=True, eq=False, slots=True)
class Vectors:
    """Vectors of some shards, a row each, and whose they are, in one order."""

    workloads: list[str]
    rows: NDArray[np.float32]


def shard_of(workload: str) -> int:
    """Which shard a workload is in."""
    return int(hashlib.md5(workload.encode(), usedforsecurity=False).hexdigest()[0], 16)


class FingerprintStore(Protocol):
    """Every call is of one tenant; nothing of another one is ever seen."""

    def put(self, rows: Sequence[Fingerprint]) -> None:
        """Keep these; a workload has one, the newest. Its group stays until the next clustering."""
        ...

    def seen(self, tenant: str, workloads: Sequence[str], at: datetime) -> None:
        """These still are as they are kept; they expire from then on."""
        ...

    def listed(self, tenant: str, model: str) -> list[Fingerprint]:
        """All of one version of the model, by workload."""
        ...

    def nearest(
        self, tenant: str, model: str, vector: NDArray[np.float32], count: int, bare: bool = False
    ) -> list[Near]:
        """The most alike with their cosine, the most alike first; `bare`: by their vectors without own names."""
        ...

    def one(self, tenant: str, model: str, workload: str) -> Fingerprint | None:
        """Of one workload; None where it has none."""
        ...

    def some(self, tenant: str, model: str, workloads: Collection[str]) -> list[Fingerprint]:
        """Of some workloads, by name; those without one are left out."""
        ...

    def count(self, tenant: str, model: str) -> int:
        """How many there are of one version of the model."""
        ...

    def vectors(self, tenant: str, model: str, shards: Collection[int] = ALL_SHARDS) -> Vectors:
        """What a grouping needs, of some shards, by workload."""
        ...

    def clusters(self, tenant: str, shards: Collection[int] = ALL_SHARDS) -> dict[str, int]:
        """The group of each workload that has one."""
        ...

    def clusters_of(self, tenant: str, workloads: Collection[str]) -> dict[str, int]:
        """The same of some workloads."""
        ...

    def grouping(self, tenant: str) -> AbstractContextManager[None]:
        """While it lasts nobody else gives ids to the groups of the tenant."""
        ...

    def set_clusters(self, tenant: str, of: Mapping[str, int | None], next_id: int) -> None:
        """Keep a clustering: the group of each workload, and the next id that was never used."""
        ...

    def expire(self, tenant: str, before: datetime, most: int) -> int:
        """Forget those older than `before`, and the oldest beyond `most`; how many. Ids of groups are not reused."""
        ...

    def next_cluster_id(self, tenant: str) -> int:
        """An id that no group ever had."""
        ...


def exact(rows: Sequence[Fingerprint], vector: NDArray[np.float32], count: int, bare: bool) -> list[Near]:
    """The most alike of all rows; those without the vector that is asked for are left out."""
    seen = [(row, row.bare if bare else row.vector) for row in rows]
    found = [(row, float(np.dot(its, vector))) for row, its in seen if its is not None]
    return sorted(found, key=lambda one: -one[1])[:count]


class MemoryFingerprints:
    """A store in memory, searched exactly."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], Fingerprint] = {}
        self._next: dict[str, int] = {}
        self._lock = RLock()

    def put(self, rows: Sequence[Fingerprint]) -> None:
        """See the port."""
        for row in rows:
            before = self._rows.get((row.tenant, row.workload))
            if before is None or row.at >= before.at:
                self._rows[row.tenant, row.workload] = replace(row, cluster=before.cluster if before else None)

    def seen(self, tenant: str, workloads: Sequence[str], at: datetime) -> None:
        """See the port."""
        for workload in workloads:
            if (row := self._rows.get((tenant, workload))) is not None:
                self._rows[tenant, workload] = replace(row, at=max(row.at, at))

    def listed(self, tenant: str, model: str) -> list[Fingerprint]:
        """See the port."""
        found = [row for row in self._rows.values() if (row.tenant, row.model) == (tenant, model)]
        return sorted(found, key=lambda row: row.workload)

    def nearest(
        self, tenant: str, model: str, vector: NDArray[np.float32], count: int, bare: bool = False
    ) -> list[Near]:
        """See the port."""
        return exact(self.listed(tenant, model), vector, count, bare)

    def one(self, tenant: str, model: str, workload: str) -> Fingerprint | None:
        """See the port."""
        found = self._rows.get((tenant, workload))
        return found if found is not None and found.model == model else None

    def some(self, tenant: str, model: str, workloads: Collection[str]) -> list[Fingerprint]:
        """See the port."""
        return [row for row in self.listed(tenant, model) if row.workload in workloads]

    def count(self, tenant: str, model: str) -> int:
        """See the port."""
        return len(self.listed(tenant, model))

    def vectors(self, tenant: str, model: str, shards: Collection[int] = ALL_SHARDS) -> Vectors:
        """See the port."""
        rows = [row for row in self.listed(tenant, model) if shard_of(row.workload) in shards]
        found = np.array([row.vector for row in rows], np.float32)
        return Vectors([row.workload for row in rows], found.reshape(len(rows), DIMENSIONS))

    def clusters(self, tenant: str, shards: Collection[int] = ALL_SHARDS) -> dict[str, int]:
        """See the port."""
        return {
            row.workload: row.cluster
            for row in self._rows.values()
            if row.tenant == tenant and row.cluster is not None and shard_of(row.workload) in shards
        }

    def clusters_of(self, tenant: str, workloads: Collection[str]) -> dict[str, int]:
        """See the port."""
        return {name: cluster for name, cluster in self.clusters(tenant).items() if name in workloads}

    @contextmanager
    def grouping(self, tenant: str) -> Iterator[None]:  # noqa: ARG002 (one lock for all tenants)
        """See the port."""
        with self._lock:
            yield

    def expire(self, tenant: str, before: datetime, most: int) -> int:
        """See the port."""
        rows = sorted((row for row in self._rows.values() if row.tenant == tenant), key=lambda row: row.at)
        ended = [row for n, row in enumerate(rows) if row.at < before or n < len(rows) - most]
        for row in ended:
            del self._rows[tenant, row.workload]
        return len(ended)

    def set_clusters(self, tenant: str, of: Mapping[str, int | None], next_id: int) -> None:
        """See the port."""
        for workload, cluster in of.items():
            if (tenant, workload) in self._rows:
                self._rows[tenant, workload] = replace(self._rows[tenant, workload], cluster=cluster)
        self._next[tenant] = max(next_id, self.next_cluster_id(tenant))

    def next_cluster_id(self, tenant: str) -> int:
        """See the port."""
        return self._next.get(tenant, 1)

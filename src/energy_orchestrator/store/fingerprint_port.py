"""What is asked of a store of fingerprints, and one in memory: the fake of tests, and exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from energy_orchestrator.model.fingerprint import Fingerprint

Near = tuple[Fingerprint, float]


class FingerprintStore(Protocol):
    """Every call is of one tenant; nothing of another one is ever seen."""

    def put(self, rows: Sequence[Fingerprint]) -> None:
        """Keep these; a workload has one, the newest. Its group stays until the next clustering."""
        ...

    def listed(self, tenant: str, model: str) -> list[Fingerprint]:
        """All of one version of the model, by workload."""
        ...

    def nearest(self, tenant: str, model: str, vector: NDArray[np.float32], count: int) -> list[Near]:
        """The most alike with their cosine, the most alike first."""
        ...

    def set_clusters(self, tenant: str, of: Mapping[str, int | None], next_id: int) -> None:
        """Keep a clustering: the group of each workload, and the next id that was never used."""
        ...

    def next_cluster_id(self, tenant: str) -> int:
        """An id that no group ever had."""
        ...


class MemoryFingerprints:
    """A store in memory, searched exactly."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], Fingerprint] = {}
        self._next: dict[str, int] = {}

    def put(self, rows: Sequence[Fingerprint]) -> None:
        """See the port."""
        for row in rows:
            before = self._rows.get((row.tenant, row.workload))
            if before is None or row.at >= before.at:
                self._rows[row.tenant, row.workload] = replace(row, cluster=before.cluster if before else None)

    def listed(self, tenant: str, model: str) -> list[Fingerprint]:
        """See the port."""
        found = [row for row in self._rows.values() if (row.tenant, row.model) == (tenant, model)]
        return sorted(found, key=lambda row: row.workload)

    def nearest(self, tenant: str, model: str, vector: NDArray[np.float32], count: int) -> list[Near]:
        """See the port."""
        found = [(row, float(np.dot(row.vector, vector))) for row in self.listed(tenant, model)]
        return sorted(found, key=lambda one: -one[1])[:count]

    def set_clusters(self, tenant: str, of: Mapping[str, int | None], next_id: int) -> None:
        """See the port."""
        for workload, cluster in of.items():
            if (tenant, workload) in self._rows:
                self._rows[tenant, workload] = replace(self._rows[tenant, workload], cluster=cluster)
        self._next[tenant] = max(next_id, self.next_cluster_id(tenant))

    def next_cluster_id(self, tenant: str) -> int:
        """See the port."""
        return self._next.get(tenant, 1)

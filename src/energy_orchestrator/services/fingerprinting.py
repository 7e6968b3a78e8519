"""Fingerprints of a tenant from the stacks and samples of the last hour, into the records.

Workloads are shared among workers by a hash of (tenant, workload), in the buckets of `shards.py`. A worker takes some
buckets at a time, as many as hold `ROWS_AT_ONCE` rows, so that memory does not grow with the tenant. A workload that
ended keeps its last fingerprint for `KEPT`: a weekly job finds its group again. The arithmetic is in
`analyze/fingerprint`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from energy_orchestrator.analyze.fingerprint import FingerprintModel, Profile
from energy_orchestrator.analyze.fingerprint.features import shows_no_names
from energy_orchestrator.analyze.fingerprint.neighbours import traits
from energy_orchestrator.model.fingerprint import Fingerprint
from energy_orchestrator.services import series_queries
from energy_orchestrator.services.fingerprint_groups import regroup
from energy_orchestrator.services.series import Series, rows_of
from energy_orchestrator.services.shards import ALONE, Tick, Worker, silent
from energy_orchestrator.store.fingerprint_port import FingerprintStore

SPAN = timedelta(hours=1)
KEPT = timedelta(days=14)
MOST_KEPT = 1_000_000
"""Of one tenant: what the grouping was measured with."""
ROWS_AT_ONCE = 100_000
"""Stacks and ticks of resources; some 0.2 GB while they are lists."""
SAME = 0.99
"""Cosine with what is kept, from which a fingerprint is not written again; two runs of one program have 0.86."""
TICK = timedelta(seconds=10)
USES = ("cpu_seconds", "resident_bytes", "threads", "voluntary_switches")


class Fingerprinter:
    """See the module. Keeps nothing between calls."""

    def __init__(
        self, series: Series, store: FingerprintStore, model: FingerprintModel, span: timedelta = SPAN
    ) -> None:
        self._series = series
        self._store = store
        self._model = model
        self._version = model.version
        self._span = span

    def renew(self, tenant: str, now: datetime) -> int:
        """Make, expire and group, by one process; how many were made."""
        made = self.make(tenant, now)
        expire(self._store, tenant, now)
        regroup(self._store, tenant, self._version)
        return made

    def make(self, tenant: str, now: datetime, worker: Worker = ALONE, tick: Tick = silent) -> int:
        """Fingerprints of a worker's workloads into the store; how many."""
        parameters = {"tenant": tenant, "start": now - self._span, "end": now}
        asked = {**parameters, "buckets": worker.buckets, "ticks": self._span / TICK}
        found = rows_of(self._series, series_queries.FINGERPRINT_BUCKETS, asked)
        made, done = 0, 0
        for buckets in packed([(row["bucket"], row["n"]) for row in found], ROWS_AT_ONCE):
            tick(done, len(found))
            fresh = list(self._fresh(tenant, now, {**parameters, "buckets": buckets}))
            self._keep(tenant, now, fresh)
            made, done = made + len(fresh), done + len(buckets)
        return made

    def _keep(self, tenant: str, now: datetime, fresh: Sequence[Fingerprint]) -> None:
        """Write those that changed; of the others only that they were seen, which leaves pgvector's index alone."""
        before = {row.workload: row for row in self._store.some(tenant, self._version, [it.workload for it in fresh])}
        changed = [it for it in fresh if not _unchanged(it, before.get(it.workload))]
        self._store.put(changed)
        still = {it.workload for it in fresh} - {it.workload for it in changed}
        self._store.seen(tenant, sorted(still), now)

    def _fresh(self, tenant: str, now: datetime, parameters: dict[str, Any]) -> Iterator[Fingerprint]:
        for workload, profile in self._profiles(parameters).items():
            vector = self._model.vector(profile)
            if vector is not None:
                seen = traits(profile, self._model)
                yield Fingerprint(
                    tenant, workload, self._version, vector, profile.samples, now, seen.does, seen.functions,
                    bare=self._model.bare(profile), nameless=shows_no_names(profile),
                )  # fmt: skip

    def _profiles(self, parameters: dict[str, Any]) -> dict[str, Profile]:
        stacks: dict[str, list[tuple[list[str], int]]] = defaultdict(list)
        for row in rows_of(self._series, series_queries.FINGERPRINT_STACKS, parameters):
            stacks[row["workload"]].append((row["stack"], row["samples"]))
        ticks: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in rows_of(self._series, series_queries.FINGERPRINT_USES, parameters):
            ticks[row["workload"]].append(row)
        return {workload: Profile(rows, _uses(ticks.get(workload, []))) for workload, rows in stacks.items()}


def expire(store: FingerprintStore, tenant: str, now: datetime) -> int:
    """Forget those of workloads that ended; how many."""
    return store.expire(tenant, now - KEPT, MOST_KEPT)


def packed(sizes: Sequence[tuple[int, int]], most: int) -> Iterator[list[int]]:
    """Buckets in packs of at most `most` rows; a bucket that has more is a pack of its own."""
    pack: list[int] = []
    size = 0
    for bucket, rows in sizes:
        if pack and size + rows > most:
            yield pack
            pack, size = [], 0
        pack.append(bucket)
        size += rows
    if pack:
        yield pack


def _unchanged(it: Fingerprint, before: Fingerprint | None) -> bool:
    return (
        before is not None
        and before.bare is not None
        and it.nameless == before.nameless
        and float(it.vector @ before.vector) >= SAME
    )


def _uses(ticks: list[dict[str, Any]]) -> dict[str, list[float]]:
    """The series of each measure that is known in every tick."""
    return {name: [float(row[name]) for row in ticks] for name in USES if all(row[name] is not None for row in ticks)}

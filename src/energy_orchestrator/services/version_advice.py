"""Advice about versions, from live data: the last day of each workload that had more than one.

In: J/op by version and node type (`operation_costs.py`). Out: recommendations of kind `image`
(`recommend/version.py`). A day of windows is read for each workload, so this belongs to the batch, not to the advisor
of every few seconds; workers share the workloads by hash.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import groupby

from uuid_utils.compat import uuid7

from energy_orchestrator.analyze.cost_groups import Group
from energy_orchestrator.analyze.operation_cost import compare, operation_cost
from energy_orchestrator.errors import NotFoundError
from energy_orchestrator.model.recommendation import Recommendation
from energy_orchestrator.model.units import Bounded
from energy_orchestrator.recommend.playbook import tries_for
from energy_orchestrator.recommend.ranking import RankingSettings, recommendation
from energy_orchestrator.recommend.version import VersionPair, VersionRun, version
from energy_orchestrator.services import cost_queries, series_queries
from energy_orchestrator.services.declarations import DeclarationOf, declared
from energy_orchestrator.services.operation_costs import By, CostsFound, OperationCosts, tier_of
from energy_orchestrator.services.past import Past
from energy_orchestrator.services.series import Series, rows_of
from energy_orchestrator.services.shards import ALONE, Worker

LOOKED_BACK = timedelta(days=1)
"""In windows of four minutes where the stream's are of five seconds: half an hour of a version is the least."""
MOST = 500
"""Workloads of a tenant and worker with more than one version in a day."""


class VersionAdvice:
    """Reads only."""

    def __init__(
        self, series: Series, window_seconds: float, declaration_of: DeclarationOf,
        past: Past, settings: RankingSettings,
    ) -> None:  # fmt: skip
        self._series = series
        self._costs = OperationCosts(series, window_seconds)
        self._declaration_of = declaration_of
        self._past = past
        self._settings = settings

    def recommend(self, tenant: str, now: datetime, worker: Worker = ALONE) -> list[Recommendation]:
        """What other version was surely cheaper, for each workload of a worker."""
        start = now - LOOKED_BACK
        during = {"tenant": tenant, "start": start, "end": now, "buckets": worker.buckets, "most": MOST}
        rows = rows_of(self._series, cost_queries.SEVERAL_VERSIONS, during)
        if not rows:
            return []
        watts = self._node_watts(tenant, start, now)
        found = [self._of(tenant, row["workload"], start, now, watts) for row in rows]
        return [it for it in found if it is not None]

    def _of(
        self, tenant: str, workload: str, start: datetime, now: datetime, watts: dict[str, float]
    ) -> Recommendation | None:
        try:
            costs = self._costs.of(tenant, workload, start, now, By.BOTH)
        except NotFoundError:
            return None
        tries = tries_for(self._past.playbook(tenant, "image"), workload, None)
        found = version(list(pairs(workload, costs, self._replicas(tenant, workload))), tries, tenant)
        if found is None or found.finding.saved_watts.upper < self._settings.minimum_savings_watts:
            return None
        hosts = {host for group in costs.groups for host in group.hosts}
        node_watts = max((watts.get(host, 0.0) for host in hosts), default=0.0)
        return recommendation(found, node_watts, self._settings, str(uuid7()), now, self._past.record)

    def _replicas(self, tenant: str, workload: str) -> int:
        declaration = declared(self._declaration_of, tenant, workload)
        return declaration.replicas if declaration else 1

    def _node_watts(self, tenant: str, start: datetime, now: datetime) -> dict[str, float]:
        during = {"tenant": tenant, "start": start, "end": now}
        rows = rows_of(self._series, series_queries.COVERED_SECONDS, during)
        return {row["host"]: row["node_joules"] / row["covered_seconds"] for row in rows if row["covered_seconds"]}


def pairs(workload: str, costs: CostsFound, replicas: int) -> Iterator[VersionPair]:
    """On each kind of node the version seen last (of two the younger) with each other one."""
    named = [it for it in costs.groups if it.version and it.version.name and it.node_type and it.node_type.name]
    of_type = sorted(named, key=lambda it: str(it.node_type.name if it.node_type else ""))
    for node_type, same in groupby(of_type, key=lambda it: it.node_type.name if it.node_type else None):
        groups = [it for it in same if it.first is not None and it.last is not None and sum(it.seconds.values()) > 0]
        if len(groups) < 2 or costs.kind is None:
            continue
        now = max(groups, key=lambda it: (it.last, it.first))
        for other in groups:
            if other is not now and (pair := _pair(workload, costs, str(node_type), now, other, replicas)) is not None:
                yield pair


def _pair(
    workload: str, costs: CostsFound, node_type: str, now: Group, other: Group, replicas: int
) -> VersionPair | None:
    mine, theirs = operation_cost(now.series()), operation_cost(other.series())
    same_meter = now.meters == other.meters and len(now.tiers) == 1
    ratio = compare(mine, theirs, same_meter=same_meter).ratio
    tier, runs = tier_of(now), (_run(now), _run(other))
    if ratio is None or tier is None or runs[0] is None or runs[1] is None or now.first is None or now.last is None:
        return None
    return VersionPair(
        workload, costs.kind or "", node_type, costs.operation or "operation", runs[0], runs[1], ratio, same_meter,
        _watts(now), replicas, other.first or now.first, now.last, tier,
    )  # fmt: skip


def _run(group: Group) -> VersionRun | None:
    cost = operation_cost(group.series())
    if cost.value is None or group.version is None or group.version.name is None or group.last is None:
        return None
    return VersionRun(group.version.name, cost.value, len(group.windows), group.last)


def _watts(group: Group) -> Bounded:
    """Mean power over the windows whose operations are known."""
    seconds, windows = sum(group.seconds.values()), group.windows.values()
    value, lower, upper = (
        sum(getattr(it, name) for it in windows) / seconds for name in ("joules", "lower_joules", "upper_joules")
    )
    return Bounded(value, min(lower, value), max(upper, value))

"""The views that come from series: nodes, power over time, workloads, flame graphs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from energy_orchestrator.analyze.function_energy import flame_tree
from energy_orchestrator.analyze.operations import joules_per_operation
from energy_orchestrator.api.control_plane import (
    AlertView,
    BoundedView,
    FlameNode,
    NodeChangeAsked,
    NodeView,
    PowerPoint,
    SavingView,
    SciView,
    WorkloadCostView,
    WorkloadView,
)
from energy_orchestrator.model.fleet import FleetFile
from energy_orchestrator.model.units import SECONDS_PER_DAY, Bounded
from energy_orchestrator.services import operation_queries, series_queries
from energy_orchestrator.services.alerts import Alerts
from energy_orchestrator.services.cost_views import cost_view
from energy_orchestrator.services.declarations import DeclarationOf, declared
from energy_orchestrator.services.live_fleet import live_fleet
from energy_orchestrator.services.node_savings import NodeChange, NodeSavings
from energy_orchestrator.services.operation_costs import By, OperationCosts
from energy_orchestrator.services.sci import Sci
from energy_orchestrator.services.sci_views import Carbon
from energy_orchestrator.services.series import Row, Series, rows_of
from energy_orchestrator.services.views import bounded, flame_view

NOW_SPAN = timedelta(seconds=60)
"""The newest window must be this young to be shown as `now`."""
MEMORY_SPAN = timedelta(seconds=35)
"""Every living process is sent at least every 30 s; older rows may be of processes that have ended."""
EPOCH_YEAR = 1970


class SeriesViews:
    """Reads only. `declaration_of` adds labels and replicas of declared workloads; `uncounted` says what is wrong
    with the source of a workload's operations, where anything is; `carbon` is what the settings know of emissions."""

    def __init__(
        self,
        series: Series,
        declaration_of: DeclarationOf,
        window_seconds: float,
        uncounted: Callable[[str, str], str | None] = lambda _tenant, _workload: None,
        carbon: Carbon | None = None,
    ) -> None:
        self._series = series
        self._uncounted = uncounted
        self._window_seconds = window_seconds
        self._alerts = Alerts(series, window_seconds)
        self._costs = OperationCosts(series, window_seconds)
        self._sci = Sci(series, declaration_of, window_seconds, carbon or Carbon())
        self._declaration_of = declaration_of

    def nodes(self, tenant: str, now: datetime) -> list[NodeView]:
        """Every node of the tenant with its newest window."""
        return [self._node(tenant, row, now) for row in rows_of(self._series, series_queries.NODES, {"tenant": tenant})]

    def node_power(self, tenant: str, host: str, start: datetime, end: datetime) -> list[PowerPoint]:
        """One point per window."""
        parameters = {"tenant": tenant, "host": host, "start": start, "end": end}
        return [_point(row) for row in rows_of(self._series, series_queries.NODE_ENERGY, parameters)]

    def workloads(self, tenant: str, start: datetime, end: datetime, limit: int) -> list[WorkloadView]:
        """By active energy, most first; declared workloads are never cut off."""
        parameters = {"tenant": tenant, "start": start, "end": end}
        covered = self._covered(parameters)
        living = parameters | {"start": max(start, end - MEMORY_SPAN)}
        joined = {
            name: {(row["host"], row["workload"]): row for row in rows_of(self._series, query, over)}
            for name, query, over in (
                ("operations", operation_queries.OPERATION_SPANS, parameters),
                ("memory", series_queries.WORKLOAD_MEMORY, living),
                ("inventory", series_queries.INVENTORY_SPANS, parameters),
            )
        }
        hot = {row["workload"]: row["functions"] for row in rows_of(self._series, series_queries.HOTSPOTS, parameters)}
        found = []
        for place, row in enumerate(rows_of(self._series, series_queries.WORKLOAD_SPANS, parameters)):
            if place >= limit and row["workload_kind"] != "declared":
                continue
            parts = {name: rows.get((row["host"], row["workload"]), {}) for name, rows in joined.items()}
            found.append(self._workload(tenant, row, parts, covered.get(row["host"]) or 0.0, hot))
        return found

    def sci(self, tenant: str, start: datetime, end: datetime) -> SciView:
        """Energy by reservation."""
        return self._sci.of(tenant, start, end)

    def workload_cost(self, tenant: str, workload: str, by: By, start: datetime, end: datetime) -> WorkloadCostView:
        """J/op by version, node type or both; NotFoundError where nothing is known of the workload."""
        found = self._costs.of(tenant, workload, start, end, by)
        return cost_view(tenant, workload, by, found, self._uncounted(tenant, workload))

    def fleet(self, tenant: str, start: datetime, end: datetime) -> FleetFile:
        """What runs where, as a fleet file."""
        return live_fleet(self._series, tenant, start, end)

    def node_saving(self, tenant: str, asked: NodeChangeAsked, now: datetime) -> SavingView:
        """What a change to whole nodes saved."""
        reach = timedelta(hours=asked.hours)
        change = NodeChange(
            changed=tuple(dict.fromkeys(asked.changed)),
            at=asked.at,
            start=asked.at - reach,
            end=min(now, asked.at + reach),
            control=tuple(dict.fromkeys(asked.control)),
            asleep=frozenset(asked.asleep),
            workload=asked.workload,
            alike=asked.alike,
        )
        return SavingView(**asdict(NodeSavings(self._series, self._window_seconds).of(tenant, change)))

    def alerts(self, tenant: str, start: datetime, end: datetime) -> list[AlertView]:
        """Shifts of J/op in the span."""
        return self._alerts.listed(tenant, start, end)

    def flame_graph(self, tenant: str, workload: str, start: datetime, end: datetime) -> FlameNode:
        """Energy by stack; an empty tree where the workload was not profiled."""
        parameters = {"tenant": tenant, "workload": workload, "start": start, "end": end}
        joules = sum(
            row["active_joules"]
            for row in rows_of(self._series, series_queries.WORKLOAD_SPANS, parameters)
            if row["workload"] == workload
        )
        stacks = ((row["stack"], row["samples"]) for row in rows_of(self._series, series_queries.STACKS, parameters))
        return flame_view(flame_tree(workload, stacks, joules))

    def spend_j_per_day(self, tenant: str, workload: str, start: datetime, end: datetime) -> float:
        """What a workload spends at its present rate; 0 where nothing is known of it."""
        parameters = {"tenant": tenant, "start": start, "end": end}
        covered = self._covered(parameters)
        return math.fsum(
            row["active_joules"] / covered[row["host"]] * SECONDS_PER_DAY
            for row in rows_of(self._series, series_queries.WORKLOAD_SPANS, parameters)
            if row["workload"] == workload and covered.get(row["host"])
        )

    def _covered(self, span: Row) -> dict[str, float]:
        """Seconds of each host that energy is known of."""
        rows = rows_of(self._series, series_queries.COVERED_SECONDS, span)
        return {row["host"]: row["covered_seconds"] for row in rows}

    def _node(self, tenant: str, row: Row, now: datetime) -> NodeView:
        parameters = {"tenant": tenant, "host": row["host"], "start": now - NOW_SPAN, "end": now}
        energy = rows_of(self._series, series_queries.NODE_ENERGY, parameters)
        newest = energy[-1] if energy else None
        point = _point(newest) if newest else None
        seen = row["last_seen"]
        return NodeView(
            tenant=tenant,
            host=row["host"],
            tier=newest["tier"] if newest else None,
            power_source=newest["power_source"] if newest else None,
            node_watts=_watts(point) if point else None,
            idle_watts=point.idle_watts if point else None,
            active_watts=point.active_watts if point else None,
            unattributed_watts=point.unattributed_watts if point else None,
            cpu_model=row["cpu_model"],
            cpu_threads=row["cpu_threads"],
            memory_bytes=row["memory_bytes"],
            virtual=row["virtual"],
            capabilities=row["capabilities"],
            missing=row["missing"],
            last_seen=seen if seen is not None and seen.year > EPOCH_YEAR else None,
        )

    def _workload(
        self, tenant: str, row: Row, parts: Mapping[str, Row], seconds: float, hot: Mapping[str, list[str]]
    ) -> WorkloadView:
        operations, declaration = parts["operations"], declared(self._declaration_of, tenant, row["workload"])
        joules = Bounded(row["active_joules"], row["active_joules_lower"], row["active_joules_upper"])
        done, over = operations.get("operations"), operations.get("covered_seconds") or 0.0
        per_operation = joules_per_operation(_counted(operations), done, operations.get("counted_operations"))
        problem = self._uncounted(tenant, row["workload"]) if done is None else None
        return WorkloadView(
            tenant=tenant,
            host=row["host"],
            workload=row["workload"],
            workload_kind=row["workload_kind"],
            replicas=declaration.replicas if declaration else None,
            active_watts=bounded(joules.scaled(1 / seconds)) if seconds > 0 else None,
            tier=row["tier"],
            cpu_cores=row["cpu_seconds"] / seconds if seconds > 0 else 0.0,
            mem_bytes=int(parts["memory"].get("mem_bytes") or 0),
            operations_per_second=done / over if done is not None and over > 0 else None,
            operation=operations.get("operation"),
            joules_per_operation=bounded(per_operation.value),
            joules_per_operation_reason=problem or per_operation.reason,
            latency_p95_seconds=operations.get("latency_p95_seconds"),
            language=parts["inventory"].get("language"),
            image=parts["inventory"].get("image"),
            hotspot_functions=list(hot.get(row["workload"], [])),
            profiled=row["workload"] in hot,
            labels=dict(declaration.labels) if declaration else {},
        )


def _counted(operations: Row) -> Bounded | None:
    """Energy of the replicas and the time whose operations are known."""
    joules = operations.get("counted_joules")
    if joules is None:
        return None
    return Bounded(joules, operations["counted_joules_lower"], operations["counted_joules_upper"])


def _point(row: Row) -> PowerPoint:
    seconds = row["window_seconds"]
    return PowerPoint(
        timestamp=row["timestamp"].astimezone(UTC),
        node_watts=row["node_joules"] / seconds,
        node_watts_lower=row["node_joules_lower"] / seconds,
        node_watts_upper=row["node_joules_upper"] / seconds,
        idle_watts=row["idle_joules"] / seconds,
        active_watts=row["active_joules"] / seconds,
        unattributed_watts=row["unattributed_joules"] / seconds,
    )


def _watts(point: PowerPoint) -> BoundedView:
    return BoundedView(value=point.node_watts, lower=point.node_watts_lower, upper=point.node_watts_upper)

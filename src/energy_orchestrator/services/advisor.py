"""The advisor: fetches what the strategies look at, and hands over what they find."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
from uuid_utils.compat import uuid7

from energy_orchestrator.errors import NotFoundError
from energy_orchestrator.model.recommendation import Recommendation
from energy_orchestrator.model.units import Bounded, Tier
from energy_orchestrator.model.workload import Declaration
from energy_orchestrator.recommend.observation import Observation, WindowPoint
from energy_orchestrator.recommend.ranking import RankingSettings, recommend
from energy_orchestrator.services import series_queries
from energy_orchestrator.services.measurements import Series, SeriesMeasurements

MAX_WORKLOADS = 50
"""Of one host, by energy: the others have little to save."""

Rows = dict[tuple[str, str], dict[str, Any]]


class Advisor:
    """`declaration_of` gives the declaration in force or raises NotFoundError; `playbook` what was saved before."""

    def __init__(
        self,
        series: Series,
        measurements: SeriesMeasurements,
        declaration_of: Callable[[str, str], Declaration],
        playbook: Callable[[str, str], Sequence[float | None]],
        settings: RankingSettings,
        span_seconds: float = 60.0,
        own_workloads: frozenset[str] = frozenset(),
    ) -> None:
        self._series = series
        self._measurements = measurements
        self._declaration_of = declaration_of
        self._playbook = playbook
        self._settings = settings
        self._span = timedelta(seconds=span_seconds)
        self._own = own_workloads

    def recommend(self, tenant: str, now: datetime) -> list[Recommendation]:
        """What is worth trying now, best first."""
        parameters = {"tenant": tenant, "start": now - self._span, "end": now}
        covered = {row["host"]: row for row in self._rows(series_queries.COVERED_SECONDS, parameters)}
        observations = self._observations(tenant, parameters, covered, now)
        watts = {
            host: row["node_joules"] / row["covered_seconds"] for host, row in covered.items() if row["covered_seconds"]
        }
        return recommend(observations, watts, self._playbook, self._settings, lambda: str(uuid7()), now)

    def _observations(
        self, tenant: str, parameters: Mapping[str, Any], covered: Mapping[str, Any], now: datetime
    ) -> list[Observation]:
        joined = {
            name: _by_key(self._series.query(query, parameters))
            for name, query in {
                "operations": series_queries.OPERATION_SPANS,
                "behaviour": series_queries.PROCESS_BEHAVIOUR,
                "memory": series_queries.WORKLOAD_MEMORY,
                "inventory": series_queries.INVENTORY_SPANS,
            }.items()
        }
        hot = {row["workload"]: row["functions"] for row in self._rows(series_queries.HOTSPOTS, parameters)}
        observations = []
        taken: dict[str, int] = defaultdict(int)
        for row in self._rows(series_queries.WORKLOAD_SPANS, parameters):
            host, seconds = row["host"], covered.get(row["host"], {}).get("covered_seconds") or 0.0
            taken[host] += 1
            declaration = self._declaration(tenant, row["workload"])
            wanted = taken[host] <= MAX_WORKLOADS or declaration is not None
            if seconds <= 0 or row["workload"] in self._own or not wanted:
                continue
            parts = {name: rows.get((host, row["workload"]), {}) for name, rows in joined.items()}
            observations.append(
                self._observation(tenant, row, parts, seconds, declaration, hot.get(row["workload"], []), now)
            )
        return observations

    def _observation(
        self,
        tenant: str,
        row: Mapping[str, Any],
        parts: Mapping[str, Mapping[str, Any]],
        seconds: float,
        declaration: Declaration | None,
        functions: Sequence[str],
        now: datetime,
    ) -> Observation:
        behaviour, operations = parts["behaviour"], parts["operations"]
        watts = Bounded(
            row["active_joules"] / seconds, row["active_joules_lower"] / seconds, row["active_joules_upper"] / seconds
        )
        return Observation(
            tenant=tenant,
            host=row["host"],
            workload=row["workload"],
            start=now - timedelta(seconds=seconds),
            end=now,
            tier=Tier(row["tier"]),
            active_watts=watts,
            cpu_cores=row["cpu_seconds"] / seconds,
            mem_bytes=int(parts["memory"].get("mem_bytes") or 0),
            replicas=declaration.replicas if declaration else 1,
            declaration=declaration,
            points=self._points(tenant, row["workload"], now) if declaration else (),
            operations=operations.get("operations"),
            queue_depth=operations.get("queue_depth"),
            queue_depth_max=operations.get("queue_depth_max"),
            threads=behaviour.get("threads"),
            cpus_allowed=behaviour.get("cpus_allowed"),
            involuntary_per_second=behaviour.get("involuntary_per_second"),
            voluntary_per_second=behaviour.get("voluntary_per_second"),
            libraries=parts["inventory"].get("libraries") or (),
            top_functions=functions,
        )

    def _points(self, tenant: str, workload: str, now: datetime) -> list[WindowPoint]:
        windows = self._measurements.windows(tenant, workload, None, now - 3 * self._span, now)
        points = []
        for window in windows:
            length = (window.window_end - window.window_start).total_seconds()
            rate = window.operations / length if window.operations is not None else None
            points.append(WindowPoint(window.cpu_seconds / length, rate))
        return points

    def _declaration(self, tenant: str, workload: str) -> Declaration | None:
        try:
            return self._declaration_of(tenant, workload)
        except NotFoundError:
            return None

    def _rows(self, query: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._series.query(query, parameters).to_pylist()
        return rows


def _by_key(table: pa.Table) -> Rows:
    return {(row["host"], row["workload"]): row for row in table.to_pylist()}

"""Windows of a group of replicas, for the judge: energy and operations joined window by window."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from energy_orchestrator.analyze.operations import joules_per_operation
from energy_orchestrator.model.sample import MeasuredWindow
from energy_orchestrator.model.units import Bounded
from energy_orchestrator.services import operation_queries, series_queries
from energy_orchestrator.services.series import Series, rows_of
from energy_orchestrator.services.shards import ALONE, Worker

AT_ONCE = 500
"""Workloads of one question: bounds the memory."""


class SeriesMeasurements:
    """Implements `services.orchestrator.Measurements`. A window counts when it lies wholly in the span."""

    def __init__(self, series: Series, window_seconds: float) -> None:
        self._series = series
        self._window = timedelta(seconds=window_seconds)

    def windows(
        self, tenant: str, workload: str, replicas: Sequence[str] | None, start: datetime, end: datetime
    ) -> list[MeasuredWindow]:
        """See the port. `replicas` None takes all of the workload."""
        return self._windows(tenant, [workload], replicas, start, end).get(workload, [])

    def windows_of(
        self, tenant: str, workloads: Sequence[str], start: datetime, end: datetime
    ) -> Iterator[tuple[str, list[MeasuredWindow]]]:
        """Of each workload that has any, all its replicas; `AT_ONCE` workloads are asked for together."""
        for first in range(0, len(workloads), AT_ONCE):
            yield from self._windows(tenant, workloads[first : first + AT_ONCE], None, start, end).items()

    def counted(
        self, tenant: str, start: datetime, end: datetime, worker: Worker = ALONE
    ) -> Iterator[tuple[str, list[MeasuredWindow]]]:
        """The same of every workload whose operations are counted in the span; of a worker's, where several share."""
        span = {"tenant": tenant, "start": start, "end": end, "buckets": worker.buckets}
        found = rows_of(self._series, series_queries.COUNTED_WORKLOADS, span)
        return self.windows_of(tenant, [row["workload"] for row in found], start, end)

    def _windows(
        self, tenant: str, workloads: Sequence[str], replicas: Sequence[str] | None, start: datetime, end: datetime
    ) -> dict[str, list[MeasuredWindow]]:
        parameters = {
            "tenant": tenant,
            "workloads": list(workloads),
            "replicas": list(replicas or []),
            "all": replicas is None,
            "start": start,
            "end": end,
            "window_ms": self._window.total_seconds() * 1000,
        }
        found: dict[str, list[MeasuredWindow]] = defaultdict(list)
        for row in rows_of(self._series, operation_queries.REPLICA_WINDOWS, parameters):
            window = self._window_of(row)
            if window.window_start >= start:
                found[row["workload"]].append(window)
        return found

    def neighbours(self, tenant: str, workload: str, start: datetime, changed: datetime, end: datetime) -> list[str]:
        """See the port."""
        parameters = {"tenant": tenant, "workload": workload, "start": start, "changed": changed, "end": end}
        return [row["workload"] for row in rows_of(self._series, series_queries.NEIGHBOURS, parameters)]

    def _window_of(self, row: Mapping[str, Any]) -> MeasuredWindow:
        per = joules_per_operation(certain(row["counted_joules"]), row["operations"], row["counted_operations"]).value
        done, errors = row["operations"], row["errors"]
        return MeasuredWindow(
            window_start=row["timestamp"] - self._window,
            window_end=row["timestamp"],
            active_joules=row["active_joules"],
            operations=done,
            joules_per_operation=per.value if per else None,
            latency_p95_seconds=row["latency_p95_seconds"],
            error_ratio=errors / done if errors is not None and done else None,
            cpu_seconds=row["cpu_seconds"],
        )


def certain(joules: float | None) -> Bounded | None:
    """Without an interval: sides of one node are compared, whose meter's error is the same."""
    return None if joules is None else Bounded(joules, joules, joules)

"""Windows of a group of replicas, for the judge: energy and operations joined window by window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import pyarrow as pa

from energy_orchestrator.analyze.operations import joules_per_operation
from energy_orchestrator.model.sample import MeasuredWindow
from energy_orchestrator.model.units import Bounded
from energy_orchestrator.services import series_queries


class Series(Protocol):
    """What is needed of the series store."""

    def query(self, sql: str, parameters: Any = None) -> pa.Table:
        """Run one statement."""
        ...


class SeriesMeasurements:
    """Implements `services.orchestrator.Measurements`. A window counts when it lies wholly in the span."""

    def __init__(self, series: Series, window_seconds: float) -> None:
        self._series = series
        self._window = timedelta(seconds=window_seconds)

    def windows(
        self, tenant: str, workload: str, replicas: Sequence[str] | None, start: datetime, end: datetime
    ) -> list[MeasuredWindow]:
        """See the port. `replicas` None takes all of the workload."""
        parameters = {
            "tenant": tenant,
            "workload": workload,
            "replicas": list(replicas or []),
            "all": replicas is None,
            "start": start,
            "end": end,
            "window_ms": self._window.total_seconds() * 1000,
        }
        energy = self._series.query(series_queries.REPLICA_ENERGY, parameters).to_pylist()
        operations = {
            row["window_end"]: row
            for row in self._series.query(series_queries.REPLICA_OPERATIONS, parameters).to_pylist()
        }
        found = [self._window_of(row, operations.get(row["timestamp"])) for row in energy]
        return [window for window in found if window.window_start >= start]

    def _window_of(self, energy: Mapping[str, Any], done: Mapping[str, Any] | None) -> MeasuredWindow:
        joules = float(energy["active_joules"])
        count = float(done["operations"]) if done else None
        per_operation = joules_per_operation(
            Bounded(joules, joules, joules),
            float(energy["covered_seconds"]),
            count,
            float(done["covered_seconds"]) if done else 0.0,
        )
        errors = done["errors"] if done else None
        return MeasuredWindow(
            window_start=energy["timestamp"] - self._window,
            window_end=energy["timestamp"],
            active_joules=joules,
            operations=count,
            joules_per_operation=per_operation.value.value if per_operation.value else None,
            latency_p95_seconds=done["latency_p95_seconds"] if done else None,
            error_ratio=errors / count if errors is not None and count else None,
            cpu_seconds=float(energy["cpu_seconds"]),
        )

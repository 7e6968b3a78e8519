"""Alerts as windows come: a sliding span of J/op is kept, and each look reads only what is new.

The figures are those of the batch (`alerts.py`), by the same functions on the same windows: `points` and `alerts_in`.
What is kept is not needed to go on: after a restart the span is read again. Windows that young as `LATE` are read
again at each look, since the analyzer does them again for late rows; of rows later than that the next batch knows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta

from energy_orchestrator.api.control_plane import AlertView
from energy_orchestrator.services.alerts import COINCIDES_WINDOWS, alerts_in, points
from energy_orchestrator.services.measurements import SeriesMeasurements
from energy_orchestrator.services.series import Series, window_edge
from energy_orchestrator.services.shards import ALONE, Worker

SPAN = timedelta(minutes=30)
"""Of the sliding window: 60 windows are the least that a shift can be told in (`change_points.MIN_WINDOWS`)."""
LATE = timedelta(minutes=2)


class AlertStream:
    """Of one tenant; of a worker's workloads, where several share the work."""

    def __init__(
        self, series: Series, tenant: str, window_seconds: float, span: timedelta = SPAN, worker: Worker = ALONE
    ) -> None:
        self._series = series
        self._tenant = tenant
        self._measurements = SeriesMeasurements(series, window_seconds)
        self._window_seconds = window_seconds
        self._window = timedelta(seconds=window_seconds)
        self._span = span
        self._worker = worker
        self._kept: dict[str, dict[datetime, float]] = defaultdict(dict)
        self._read_to: datetime | None = None
        self._told: dict[str, datetime] = {}

    @property
    def tenant(self) -> str:
        """Whose workloads are followed."""
        return self._tenant

    def look(self, now: datetime) -> list[AlertView]:
        """Take in what came since the last look, let go what has left the span, and test again; newest first."""
        oldest = now - self._span
        again = oldest if self._read_to is None else window_edge(self._read_to - LATE, self._window)
        self._take_in(max(oldest, again), now)
        self._read_to = now
        for workload, kept in list(self._kept.items()):
            self._kept[workload] = {at: per for at, per in kept.items() if at >= oldest}
            if not self._kept[workload]:
                del self._kept[workload]
        told = ((workload, sorted(kept.items())) for workload, kept in self._kept.items())
        return alerts_in(self._series, self._tenant, told, oldest, self._window_seconds)

    def fresh(self, alerts: Iterable[AlertView]) -> list[AlertView]:
        """Those not yet told; a shift that moved by a few windows as more was seen is the same one."""
        near = timedelta(seconds=COINCIDES_WINDOWS * self._window_seconds)
        found = []
        for alert in sorted(alerts, key=lambda it: it.at):
            told = self._told.get(alert.workload)
            if told is None or alert.at > told + near:
                self._told[alert.workload] = alert.at
                found.append(alert)
        return found

    def _take_in(self, since: datetime, now: datetime) -> None:
        for workload, windows in self._measurements.counted(self._tenant, since, now, self._worker):
            kept = self._kept[workload]
            for window in windows:
                kept.pop(window.window_start, None)
            kept.update(points(windows))

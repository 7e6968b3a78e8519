"""Alerts: shifts of a workload's J/op, and the deployment that coincides with one.

Made from the series each time they are asked for, so that an alert is as true as the windows it came from: nothing is
stored and nothing has to be withdrawn. A rise is an alert; a fall is told as well, it is good news.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from energy_orchestrator.analyze import change_points
from energy_orchestrator.api.control_plane import AlertView
from energy_orchestrator.model.sample import MeasuredWindow
from energy_orchestrator.services import series_queries
from energy_orchestrator.services.measurements import Series, SeriesMeasurements
from energy_orchestrator.services.shards import ALONE, Worker

COINCIDES_WINDOWS = 6
"""A deployment this near to a shift is named as its likely cause: a shift is placed to a few windows."""


Deployments = Sequence[tuple[str, datetime]]
"""Versions of a workload and when each was first seen, oldest first."""
Point = tuple[datetime, float]
"""When a window began, and its J/op."""


class Alerts:
    """Reads only."""

    def __init__(self, series: Series, window_seconds: float) -> None:
        self._series = series
        self._measurements = SeriesMeasurements(series, window_seconds)
        self._window_seconds = window_seconds

    def listed(self, tenant: str, start: datetime, end: datetime, worker: Worker = ALONE) -> list[AlertView]:
        """Shifts in the span, the newest first; of a worker's workloads, where several share the work."""
        versions = versions_of(self._series, tenant)
        return newest_first(
            alert
            for workload, windows in self._measurements.counted(tenant, start, end, worker)
            for alert in alerts_of(tenant, workload, points(windows), versions.get(workload, ()), self._window_seconds)
        )


def versions_of(series: Series, tenant: str) -> dict[str, list[tuple[str, datetime]]]:
    """By workload."""
    versions: dict[str, list[tuple[str, datetime]]] = {}
    for row in series.query(series_queries.VERSIONS, {"tenant": tenant}).to_pylist():
        versions.setdefault(row["workload"], []).append((row["version"], row["first_seen"]))
    return versions


def points(windows: Iterable[MeasuredWindow]) -> list[Point]:
    """Windows that have J/op."""
    return [
        (window.window_start, per) for window in windows if (per := window.joules_per_operation) is not None and per > 0
    ]


def newest_first(alerts: Iterable[AlertView]) -> list[AlertView]:
    """In the order in which they are shown."""
    return sorted(alerts, key=lambda alert: alert.at, reverse=True)


def alerts_of(
    tenant: str, workload: str, windows: Sequence[Point], versions: Deployments, window_seconds: float
) -> list[AlertView]:
    """The shifts in windows, however they were come by: read together, or kept as they came (`alert_stream.py`)."""
    deployments = list(pairwise(versions))
    made = []
    for shift in change_points.shifts([per for _, per in windows]):
        at = windows[shift.index][0]
        seconds = [(after[1] - at) / timedelta(seconds=1) for _, after in deployments]
        place = change_points.cause(0.0, seconds, COINCIDES_WINDOWS * window_seconds)
        old, new = (deployments[place][0][0], deployments[place][1][0]) if place is not None else (None, None)
        costs = shift.share > 0
        why = f"version {old} was replaced by {new} then" if new else "no version change is known near it"
        made.append(
            AlertView(
                at=at,
                tenant=tenant,
                workload=workload,
                severity="warning" if costs else "info",
                before_joules_per_operation=shift.before,
                after_joules_per_operation=shift.after,
                change_ratio=shift.share,
                p_value=shift.p_value,
                version_before=old,
                version_after=new,
                message=f"J/op {'rose' if costs else 'fell'} by {abs(shift.share):.1%}: {why}",
            )
        )
    return made

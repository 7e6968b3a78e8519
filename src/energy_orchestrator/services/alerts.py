"""Alerts: shifts of a workload's J/op, and the deployment that coincides with one.

Made from the series each time they are asked for, so that an alert is as true as the windows it came from: nothing is
stored and nothing has to be withdrawn. A rise is an alert; a fall is told as well, it is good news.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

from energy_orchestrator.analyze import change_points
from energy_orchestrator.api.control_plane import AlertView
from energy_orchestrator.services import series_queries
from energy_orchestrator.services.measurements import Series, SeriesMeasurements

COINCIDES_WINDOWS = 6
"""A deployment this near to a shift is named as its likely cause: a shift is placed to a few windows."""


class Alerts:
    """Reads only."""

    def __init__(self, series: Series, window_seconds: float) -> None:
        self._series = series
        self._measurements = SeriesMeasurements(series, window_seconds)
        self._near_seconds = COINCIDES_WINDOWS * window_seconds

    def listed(self, tenant: str, start: datetime, end: datetime) -> list[AlertView]:
        """Shifts in the span, the newest first."""
        span = {"tenant": tenant, "start": start, "end": end}
        counted = {row["workload"] for row in self._series.query(series_queries.OPERATION_SPANS, span).to_pylist()}
        versions: dict[str, list[tuple[str, datetime]]] = {}
        for row in self._series.query(series_queries.VERSIONS, {"tenant": tenant}).to_pylist():
            versions.setdefault(row["workload"], []).append((row["version"], row["first_seen"]))
        found = [
            alert
            for workload in sorted(counted)
            for alert in self._of(tenant, workload, start, end, versions.get(workload, []))
        ]
        return sorted(found, key=lambda alert: alert.at, reverse=True)

    def _of(
        self, tenant: str, workload: str, start: datetime, end: datetime, versions: list[tuple[str, datetime]]
    ) -> list[AlertView]:
        windows = [
            (window.window_start, per)
            for window in self._measurements.windows(tenant, workload, None, start, end)
            if (per := window.joules_per_operation) is not None and per > 0
        ]
        deployments = list(pairwise(versions))
        made = []
        for shift in change_points.shifts([per for _, per in windows]):
            at = windows[shift.index][0]
            seconds = [(after[1] - at) / timedelta(seconds=1) for _, after in deployments]
            place = change_points.cause(0.0, seconds, self._near_seconds)
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

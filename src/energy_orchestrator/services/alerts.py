"""Alerts: shifts of a workload's J/op, and the deployment that coincides with one.

Made from the series each time they are asked for, so that an alert is as true as the windows it came from: nothing is
stored and nothing has to be withdrawn. A rise is an alert; a fall is told as well, it is good news. What was deployed
is read for workloads that shifted only: few do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from energy_orchestrator.analyze import change_points
from energy_orchestrator.analyze.change_points import Shift
from energy_orchestrator.analyze.versions import Deployment, Program, Started, deployments
from energy_orchestrator.api.control_plane import AlertView, BoundedView
from energy_orchestrator.model.sample import MeasuredWindow
from energy_orchestrator.services import series_queries
from energy_orchestrator.services.measurements import SeriesMeasurements
from energy_orchestrator.services.series import Series, rows_of
from energy_orchestrator.services.shards import ALONE, Worker
from energy_orchestrator.ui import words

COINCIDES_WINDOWS = 6
"""A deployment this near to a shift is named as its likely cause: a shift is placed to a few windows."""
BEFORE = timedelta(days=1)
"""How long before the span a process may have been told of last, to count as what a deploy replaced."""
NAMED_BY = {"image_digest": "image", "image": "image", "checksum": "executable with checksum"}


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
        counted = self._measurements.counted(tenant, start, end, worker)
        told = ((workload, points(windows)) for workload, windows in counted)
        return alerts_in(self._series, tenant, told, start, self._window_seconds)


def points(windows: Iterable[MeasuredWindow]) -> list[Point]:
    """Windows that have J/op."""
    return [
        (window.window_start, per) for window in windows if (per := window.joules_per_operation) is not None and per > 0
    ]


def alerts_in(
    series: Series, tenant: str, told: Iterable[tuple[str, Sequence[Point]]], start: datetime, window_seconds: float
) -> list[AlertView]:
    """The shifts in the windows of each workload, the newest first, however the windows were come by: read together, or
    kept as they came (`alert_stream.py`)."""
    shifted: dict[str, list[tuple[datetime, Shift]]] = {}
    for workload, windows in told:
        found = change_points.shifts([per for _, per in windows])
        if found:
            shifted[workload] = [(windows[shift.index][0], shift) for shift in found]
    deployed = deployed_of(series, tenant, list(shifted), start - BEFORE) if shifted else {}
    made = [
        _alert(tenant, workload, at, shift, deployed.get(workload, ()), window_seconds)
        for workload, shifts in shifted.items()
        for at, shift in shifts
    ]
    return sorted(made, key=lambda alert: alert.at, reverse=True)


def deployed_of(
    series: Series, tenant: str, workloads: Sequence[str], since: datetime
) -> Mapping[str, Sequence[Deployment]]:
    """Changes of version of each workload, oldest first, by the start of the process that brought them."""
    about = {"tenant": tenant, "workloads": list(workloads), "since": since}
    return deployments(
        Started(
            row["workload"],
            row["host"],
            datetime.fromtimestamp(row["process_started_ms"] / 1000, UTC),
            Program(row["command"], row["image_digest"], row["image"], row["checksum"]),
        )
        for row in rows_of(series, series_queries.STARTED_PROCESSES, about)
    )


def _alert(
    tenant: str, workload: str, at: datetime, shift: Shift, deployed: Sequence[Deployment], window_seconds: float
) -> AlertView:
    seconds = [(it.at - at) / timedelta(seconds=1) for it in deployed]
    place = change_points.cause(0.0, seconds, COINCIDES_WINDOWS * window_seconds)
    deployment = deployed[place] if place is not None else None
    return AlertView(
        at=at,
        tenant=tenant,
        workload=workload,
        severity="warning" if shift.share > 0 else "info",
        before_joules_per_operation=shift.before,
        after_joules_per_operation=shift.after,
        change_ratio=shift.share,
        change=BoundedView(value=shift.share, lower=shift.share_lower, upper=shift.share_upper),
        p_value=shift.p_value,
        version_before=deployment.before if deployment else None,
        version_after=deployment.after if deployment else None,
        version_named_by=deployment.kind if deployment else None,
        message=_message(shift, deployment),
    )


def _message(shift: Shift, deployment: Deployment | None) -> str:
    why = "no version change is known near it"
    if deployment is not None:
        old, new = words.version(deployment.before), words.version(deployment.after)
        why = f"{NAMED_BY[deployment.kind]} {old} was replaced by {new} then"
    ends = sorted((abs(shift.share_lower), abs(shift.share_upper)))
    how = "rose" if shift.share > 0 else "fell"
    return f"J/op {how} by {abs(shift.share):.1%} ({ends[0]:.1%} to {ends[1]:.1%}): {why}"

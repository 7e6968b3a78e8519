"""Alerts as Prometheus metrics: what shifted in the sliding window, and how many shifts were told.

The figures are those of the last look of the stream (`alert_stream.py`); a scrape reads no series.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from energy_orchestrator.api.control_plane import AlertView

CHANGE = "eo_alert_joules_per_operation_change_ratio"
TOLD = "eo_alerts"


class AlertMetrics(Collector):
    """Kept up by whoever follows the stream."""

    def __init__(self) -> None:
        self._open: dict[str, list[AlertView]] = {}
        self._told: Counter[tuple[str, str]] = Counter()

    def keep(self, tenant: str, open_alerts: Sequence[AlertView], fresh: Iterable[AlertView]) -> None:
        """What a look at the stream of a tenant gave: all shifts in its window, newest first; those not yet told."""
        self._open[tenant] = list(open_alerts)
        self._told.update((tenant, alert.severity) for alert in fresh)

    def collect(self) -> Iterator[Metric]:
        """As prometheus_client asks."""
        change = GaugeMetricFamily(
            CHANGE,
            "Newest lasting shift of a workload's J/op in the last half hour, as a share of what it was: 0.12 costs"
            " 12 % more. No series without one.",
            labels=["tenant", "workload", "severity", "version_after"],
        )
        for tenant, alerts in list(self._open.items()):
            newest: dict[str, AlertView] = {}
            for alert in alerts:
                newest.setdefault(alert.workload, alert)
            for alert in newest.values():
                labels = [tenant, alert.workload, alert.severity, alert.version_after or ""]
                change.add_metric(labels, alert.change_ratio)
        told = CounterMetricFamily(TOLD, "Shifts of J/op that were told.", labels=["tenant", "severity"])
        for (tenant, severity), count in sorted(self._told.items()):
            told.add_metric([tenant, severity], count)
        yield change
        yield told

    def describe(self) -> Iterator[Metric]:
        """Names alone."""
        yield GaugeMetricFamily(CHANGE, "")
        yield CounterMetricFamily(TOLD, "")

"""Prometheus metrics of energy: counters per node and part, and per workload, each with its tier; and whether the parts
that are stored add up to their node."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from energy_orchestrator.services import series_queries
from energy_orchestrator.services.series import Series, rows_of


class EnergyMetrics(Collector):
    """Reads the totals at each scrape. Windows older than the tables' retention drop out: a counter reset."""

    def __init__(self, series: Series, tenants: list[str]) -> None:
        self._series = series
        self._tenants = tenants

    def collect(self) -> Iterator[Metric]:
        """As prometheus_client asks."""
        node = CounterMetricFamily(
            "eo_node_energy_joules",
            "Energy of a node by part: idle, active, unattributed. The parts add up to the node.",
            labels=["tenant", "host", "tier", "part"],
        )
        workload = CounterMetricFamily(
            "eo_workload_active_energy_joules",
            "Active energy of a workload.",
            labels=["tenant", "host", "workload", "tier"],
        )
        conservation = GaugeMetricFamily(
            "eo_attribution_conservation_error_ratio",
            "Part of a node's energy that idle, workloads and unattributed miss or exceed together, in the worst window"
            " of the newest hour, from what is stored. Above 0.01 something is wrong: report it.",
            labels=["tenant", "host"],
        )
        for tenant in self._tenants:
            for row in rows_of(self._series, series_queries.CONSERVATION, {"tenant": tenant}):
                conservation.add_metric([tenant, row["host"]], row["worst"])
            for row in rows_of(self._series, series_queries.ENERGY_TOTALS, {"tenant": tenant}):
                for part in ("idle", "active", "unattributed"):
                    node.add_metric([tenant, row["host"], row["tier"], part], row[f"{part}_joules"])
            for row in rows_of(self._series, series_queries.WORKLOAD_TOTALS, {"tenant": tenant}):
                workload.add_metric([tenant, row["host"], row["workload"], row["tier"]], row["active_joules"])
        yield node
        yield workload
        yield conservation

    def describe(self) -> Iterator[Metric]:
        """Nothing is read when the collector is registered."""
        yield CounterMetricFamily("eo_node_energy_joules", "")
        yield CounterMetricFamily("eo_workload_active_energy_joules", "")
        yield GaugeMetricFamily("eo_attribution_conservation_error_ratio", "")

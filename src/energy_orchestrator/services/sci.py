"""The view `sci`: energy and emissions of workloads by what they reserve (`analyze/reservation.py`), from the series.

Windows are of a minute or more: a quiet process is told of twice a minute, and what it reserves is reserved in between
too. E is active energy and the reserved part of idle; I and the nodes' embodied emissions come from the settings, M is
the reserved part of a node's over the span. What is not known is None with a reason, and so is what is made from it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta

from energy_orchestrator.analyze.reservation import Claim, claimed_cpus, claimed_memory
from energy_orchestrator.api.control_plane import SciView
from energy_orchestrator.services import sci_queries
from energy_orchestrator.services.declarations import DeclarationOf, declared
from energy_orchestrator.services.sci_views import BASIS, NO_GRID, Carbon, Totals
from energy_orchestrator.services.series import Row, Series, rows_of

NARROWEST = timedelta(seconds=60)
MAX_WINDOWS = 60


class Sci:
    """Reads only."""

    def __init__(self, series: Series, declaration_of: DeclarationOf, window_seconds: float, carbon: Carbon) -> None:
        self._series = series
        self._declaration_of = declaration_of
        self._window = timedelta(seconds=window_seconds)
        self._carbon = carbon

    def of(self, tenant: str, start: datetime, end: datetime) -> SciView:
        """The whole view of a tenant over a span."""
        about = {"tenant": tenant, "start": start, "end": end}
        during = about | {"window_ms": self._width(end - start) / timedelta(milliseconds=1)}
        sizes = {row["host"]: row for row in rows_of(self._series, sci_queries.SCI_SIZES, about)}
        allowed = {
            (row["host"], row["workload"]): row["cpus_allowed"]
            for row in rows_of(self._series, sci_queries.SCI_ALLOWED, about)
        }
        present: dict[tuple[str, datetime], list[Row]] = defaultdict(list)
        for row in rows_of(self._series, sci_queries.SCI_WORKLOADS, during):
            present[row["host"], row["window_end"]].append(row)
        totals = Totals(self._carbon)
        for node in rows_of(self._series, sci_queries.SCI_NODES, during):
            size = sizes.get(node["host"], {})
            here = present.get((node["host"], node["window_end"]), [])
            claims = [self._claim(tenant, row, node, size, allowed) for row in here]
            totals.take(node, size, here, claims)
        done = {row["workload"]: row for row in rows_of(self._series, sci_queries.SCI_OPERATIONS, about)}
        return SciView(
            tenant=tenant,
            start=start,
            end=end,
            grid_gco2e_per_kwh=self._carbon.gco2e_per_kwh,
            grid_reason=NO_GRID if self._carbon.gco2e_per_kwh is None else None,
            basis=BASIS,
            nodes=totals.nodes(),
            workloads=totals.workloads(done),
        )

    def _width(self, span: timedelta) -> timedelta:
        least = max(NARROWEST, self._window)
        return self._window * math.ceil(max(least, span / MAX_WINDOWS) / self._window)

    def _claim(
        self, tenant: str, row: Row, node: Row, size: Row, allowed: Mapping[tuple[str, str], list[float]]
    ) -> Claim:
        limits = self._limits(tenant, row["workload"])
        declared_cpu, declared_memory = (limit * row["replicas"] if limit is not None else None for limit in limits)
        used = row["cpu_seconds"] / node["covered_seconds"] if node["covered_seconds"] > 0 else 0.0
        may_use = allowed.get((row["host"], row["workload"]), [])
        return Claim(
            row["workload"],
            claimed_cpus(declared_cpu, may_use, size.get("cpu_threads"), used),
            claimed_memory(declared_memory, row["mem_bytes"]),
        )

    def _limits(self, tenant: str, workload: str) -> tuple[float | None, float | None]:
        """CPUs and bytes that one replica was declared to use at most."""
        declaration = declared(self._declaration_of, tenant, workload)
        return (declaration.limits.cpu, declaration.limits.memory_bytes) if declaration else (None, None)

"""Parts of a node's energy that are not shared by CPU time: memory, by the cache misses that reach it.

In go the windows of nodes, workloads and meters of a pack of hosts, out come the parts (`analyze/attribution.py`
takes them off before CPU time shares the rest). What a zone draws at rest is idle and stays there: it is the lowest
that the zone has shown in a day, looked up now and then. Where no counter tells the misses of workloads, memory is
shared by CPU time with the rest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from energy_orchestrator.analyze.attribution import Apart, Floats, Indexes, share
from energy_orchestrator.analyze.cpu_weights import weigh
from energy_orchestrator.analyze.meter_answers import ACCELERATORS
from energy_orchestrator.services import series_queries
from energy_orchestrator.services.calibrations import Queries, milliseconds
from energy_orchestrator.services.energy_tables import floats
from energy_orchestrator.services.node_hardware import NodeKey

AGAIN = timedelta(minutes=10)
HISTORY = timedelta(hours=24)

Zone = tuple[str, str, str, str]
"""Tenant, host, meter, zone."""


class EnergyParts:
    """See the module."""

    def __init__(self, series: Queries) -> None:
        self._series = series
        self._rest_watts: dict[Zone, float] = {}
        self._boards: Mapping[NodeKey, float] = {}
        self._looked: datetime | None = None

    def refresh(self, now: datetime) -> None:
        """Look up what zones draw at rest, where that was some minutes ago."""
        if self._looked is not None and now - self._looked < AGAIN:
            return
        rows = self._series.query(series_queries.ZONES_AT_REST, {"start": now - HISTORY}).to_pylist()
        self._rest_watts = {(row["tenant"], row["host"], row["meter"], row["zone"]): row["rest_watts"] for row in rows}
        boards: dict[NodeKey, float] = defaultdict(float)
        for (tenant, host, meter, _), watts in self._rest_watts.items():
            boards[tenant, host] += watts if meter in ACCELERATORS else 0.0
        self._boards = boards
        self._looked = now

    def boards_at_rest(self, node: NodeKey) -> float:
        """Watts of a node's accelerators at rest, all together; 0 where it has none."""
        return self._boards.get(node, 0.0)

    def apart(self, nodes: pa.Table, workloads: pa.Table, row: Indexes, meters: pa.Table) -> list[Apart]:
        """The parts; none where nothing tells them apart."""
        misses = floats(workloads, "misses_per_second")
        if not np.isfinite(misses).any():
            return []
        known = np.isfinite(floats(nodes, "misses_per_second"))
        memory = np.where(known, self._above_rest(nodes, meters, lambda zones: pc.ends_with(zones, "dram")), 0.0)
        busy, cpu = floats(nodes, "busy_cpu_seconds"), floats(workloads, "cpu_seconds")
        by_misses = weigh(busy, floats(nodes, "misses_per_second"), row, cpu, misses)
        return [share(memory, by_misses.busy, row, by_misses.rows)]

    def _above_rest(
        self, nodes: pa.Table, meters: pa.Table, wanted: Callable[[pa.ChunkedArray], pa.ChunkedArray]
    ) -> Floats:
        """Joules of the wanted zones above their rest, summed for each node-window."""
        meters = meters.filter(wanted(meters["zone"]))
        names = ("tenant", "host", "meter", "zone")
        rest = np.array(
            [self._rest_watts.get(zone, np.nan) for zone in zip(*(meters[it].to_pylist() for it in names), strict=True)]
        )
        seconds = floats(meters, "covered_seconds")
        above = np.maximum(floats(meters, "energy_joules") - rest * seconds, 0.0)
        place = {key: at for at, key in enumerate(_keys(nodes))}
        of_node = np.array([place.get(key, -1) for key in _keys(meters)], dtype=np.intp)
        counts = np.isfinite(above) & (of_node >= 0)
        return np.bincount(of_node[counts], above[counts], nodes.num_rows).astype(np.float64)


def _keys(table: pa.Table) -> list[tuple[str, str, int]]:
    ends = milliseconds(table["window_end"]).to_pylist()
    return list(zip(table["tenant"].to_pylist(), table["host"].to_pylist(), ends, strict=True))

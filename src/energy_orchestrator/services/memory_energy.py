"""Energy of memory, by the cache misses that reach it: RAPL's DRAM zones above their rest.

In go the windows of nodes, workloads and meters of a pack of hosts, out comes the part of it that is each workload
row's. A row's misses are those of its workload a CPU second, as counters tell them; what no counter of a workload tells
has what is left of the node's (`analyze/cpu_weights.py`). Without the node's misses there is no such part, and memory
is shared by CPU time with the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from energy_orchestrator.analyze.attribution import Apart, Floats, Indexes, share
from energy_orchestrator.analyze.cpu_weights import weigh
from energy_orchestrator.services import series_queries
from energy_orchestrator.services.energy_tables import floats
from energy_orchestrator.services.gpu_energy import WINDOW, positions
from energy_orchestrator.services.series import Series, rows_of

Zone = tuple[str, str, str, str]
"""Tenant, host, meter, zone."""
ZONE = ("tenant", "host", "meter", "zone")


def memory_at_rest(series: Series, since: Mapping[str, Any]) -> dict[Zone, float]:
    """Watts of each DRAM zone at rest: the lowest it has shown."""
    rows = rows_of(series, series_queries.MEMORY_AT_REST, since)
    return {(row["tenant"], row["host"], row["meter"], row["zone"]): row["rest_watts"] for row in rows}


def memory_energy(
    nodes: pa.Table, workloads: pa.Table, row: Indexes, meters: pa.Table, rest: Mapping[Zone, float]
) -> list[Apart]:
    """The part, or none. `meters` are rows of `METER_WINDOWS`."""
    misses, node_misses = floats(workloads, "misses_per_second"), floats(nodes, "misses_per_second")
    if not np.isfinite(misses).any():
        return []
    joules = np.where(np.isfinite(node_misses), _above_rest(nodes, meters, rest), 0.0)
    busy, cpu = floats(nodes, "busy_cpu_seconds"), floats(workloads, "cpu_seconds")
    by_misses = weigh(busy, node_misses, row, cpu, misses)
    return [share(joules, by_misses.busy, row, by_misses.rows)]


def _above_rest(nodes: pa.Table, meters: pa.Table, rest: Mapping[Zone, float]) -> Floats:
    """Joules of the DRAM zones above their rest, of each node-window."""
    zones = meters.filter(pc.ends_with(meters["zone"], "dram"))
    names = zip(*(zones[it].to_pylist() for it in ZONE), strict=True)
    watts = np.array([rest.get(zone, np.nan) for zone in names], dtype=np.float64)
    above = np.maximum(floats(zones, "energy_joules") - watts * floats(zones, "covered_seconds"), 0.0)
    place = positions(zones, nodes, WINDOW)
    counts = np.isfinite(above) & (place >= 0)
    return np.bincount(place[counts], above[counts], nodes.num_rows).astype(np.float64)

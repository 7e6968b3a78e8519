"""Parts of a node's energy that are not shared by CPU time: GPUs, and memory by the cache misses that reach it.

In go the windows of nodes, workloads and meters of a pack of hosts, out come the parts (`analyze/attribution.py`
takes them off before CPU time shares the rest). What a zone draws at rest is idle and stays there: it is the lowest
that the zone has shown in a day, looked up now and then. GPUs are divided by `services/gpu_energy.py`, memory by
`services/memory_energy.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from energy_orchestrator.analyze.attribution import Apart, Indexes
from energy_orchestrator.services.calibrations import AGAIN, HISTORY, NodeKey
from energy_orchestrator.services.gpu_energy import WINDOW, gpu_energy, gpus_at_rest, positions
from energy_orchestrator.services.memory_energy import Zone, memory_at_rest, memory_energy
from energy_orchestrator.services.series import Series


class EnergyParts:
    """See the module. `mine` are the buckets of a worker's hosts."""

    def __init__(self, series: Series, mine: Mapping[str, Any]) -> None:
        self._series = series
        self._mine = dict(mine)
        self._memory_at_rest: Mapping[Zone, float] = {}
        self._gpus_at_rest: Mapping[tuple[str, str, str], tuple[float, str]] = {}
        self._boards: Mapping[NodeKey, float] = {}
        self._looked: datetime | None = None

    def refresh(self, now: datetime) -> None:
        """Look up what zones draw at rest, where that was some minutes ago."""
        if self._looked is not None and now - self._looked < AGAIN:
            return
        since = {"start": now - HISTORY, **self._mine}
        self._memory_at_rest = memory_at_rest(self._series, since)
        self._gpus_at_rest = gpus_at_rest(self._series, now - HISTORY, self._mine["buckets"])
        boards: dict[NodeKey, float] = defaultdict(float)
        for (tenant, host, _), (watts, _) in self._gpus_at_rest.items():
            boards[tenant, host] += watts
        self._boards, self._looked = boards, now

    def boards_at_rest(self, node: NodeKey) -> float:
        """Watts of a node's accelerators at rest, all together; 0 where it has none."""
        return self._boards.get(node, 0.0)

    def memory(self, nodes: pa.Table, workloads: pa.Table, row: Indexes, meters: pa.Table) -> list[Apart]:
        """What memory spent on each workload row; nothing where no counter tells."""
        return memory_energy(nodes, workloads, row, meters, self._memory_at_rest)

    def with_gpus(
        self, nodes: pa.Table, workloads: pa.Table, row: Indexes, meters: pa.Table, during: Mapping[str, Any]
    ) -> tuple[pa.Table, Indexes, list[Apart]]:
        """The workload rows and their nodes, with those that only a GPU shows, and what GPUs spent on each."""
        found = gpu_energy(self._series, nodes, meters, during, self._gpus_at_rest)
        if not found.gpus.num_rows:
            return workloads, row, []
        _, alone = found.of_workloads(workloads)
        if alone.num_rows:
            rows = alone.group_by(["tenant", "host", "window_end", "workload", "replica"]).aggregate(
                [("workload_kind", "min")]
            )
            row = np.concatenate([row, positions(rows, nodes, WINDOW)])
            workloads = pa.concat_tables([workloads, _without_cpu(rows, workloads.schema)])
        joules, _ = found.of_workloads(workloads)
        return workloads, row, [Apart(joules, found.of_nodes("unattributed_joules", nodes.num_rows))]


def _without_cpu(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows of workloads that used no CPU time in their window; what else a row has is unknown."""
    known = {name: rows[name] for name in ("tenant", "host", "window_end", "workload", "replica")}
    known["workload_kind"] = rows["workload_kind_min"]
    for name in ("cpu_seconds", "mem_bytes", "covered_seconds", "counted"):
        known[name] = pa.array(np.zeros(rows.num_rows))
    return pa.table([known.get(it.name, pa.nulls(rows.num_rows)).cast(it.type) for it in schema], schema=schema)

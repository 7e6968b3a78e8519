"""The fleet file of what really runs: nodes with what they draw, workloads with what they need and where they stand.

In go the energy and samples of a span, out comes a `FleetFile` that `eo recommendations plan` reads. It holds what the
data can tell. What they can't is left as it is harmless: no node may sleep until a person says so, and only pods and
declared workloads may be moved, daemon sets not. Watts follow a line through the node's idle and what a busy CPU of it
took above that.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from energy_orchestrator.analyze.estimator import NodeHardware, default_model
from energy_orchestrator.errors import NotFoundError
from energy_orchestrator.model.fleet import FleetFile, InstanceUse, NodeSpec, WorkloadSpec
from energy_orchestrator.recommend.instance_type import InstanceType, shipped_catalogue
from energy_orchestrator.services import fleet_queries
from energy_orchestrator.services.series import Series, rows_of

RUNNING = timedelta(seconds=60)
"""Every living process is sent at least every half minute."""
MOVABLE = ("pod", "declared")
PINNED_OWNERS = ("DaemonSet/",)
LEAST_GB = 0.001

UNTOLD = (
    "the data can't tell: which nodes may sleep (`may_sleep`, `sleep_watts`, `wake_joules`), disruption budgets"
    " (`max_moves`), affinity (`near`, `max_per_node`, `max_per_zone`, `node_labels`) and zones; add what you know"
)

Row = Mapping[str, Any]


def live_fleet(series: Series, tenant: str, start: datetime, end: datetime) -> FleetFile:
    """Of a tenant.

    Raises:
        NotFoundError: no node has energy in the span.
    """
    span = {"tenant": tenant, "start": start, "end": end}
    machines = rows_of(series, fleet_queries.LIVE_NODES, span)
    nodes = [node for row in machines if (node := _node(row)) is not None]
    if not nodes:
        raise NotFoundError(
            "no node has energy and a known size in this span", where=tenant, next_step="see `eo nodes`"
        )
    used = rows_of(series, fleet_queries.LIVE_WORKLOADS, span)
    lately = {"tenant": tenant, "lately": end - RUNNING}
    replicas = {
        (row["host"], row["workload"]): row["replicas"] for row in rows_of(series, fleet_queries.LIVE_REPLICAS, lately)
    }
    owners = {row["workload"]: row["owner"] for row in rows_of(series, fleet_queries.OWNERS, span)}
    known = {node.name for node in nodes}
    here = [row for row in used if row["host"] in known and (row["host"], row["workload"]) in replicas]
    return FleetFile(
        tenant=tenant,
        nodes=tuple(nodes),
        workloads=tuple(_workloads(here, replicas, owners)),
        instances=tuple(_instances(machines, here)),
    )


def _node(row: Row) -> NodeSpec | None:
    """None where the inventory does not tell its size."""
    threads, memory = row["cpu_threads"], row["memory_bytes"]
    if not threads or not memory:
        return None
    idle, a_core = float(row["idle_watts"]), row["watts_a_core"]
    if a_core is None:
        known = NodeHardware(threads=threads, memory_gb=memory / 1e9, cpu_model=row["cpu_model"])
        a_core = default_model().curve(known).dynamic.value / threads
    return NodeSpec(
        name=row["host"],
        cpu_cores=threads,
        memory_gb=memory / 1e9,
        idle_watts=idle,
        full_watts=max(idle + float(a_core) * threads, idle + 1e-3),
    )


def _workloads(
    rows: Sequence[Row], replicas: Mapping[tuple[str, str], int], owners: Mapping[str, str]
) -> list[WorkloadSpec]:
    by_name: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_name[row["workload"]].append(row)
    found = []
    for name, parts in by_name.items():
        on = {row["host"]: max(1, replicas[row["host"], name]) for row in parts}
        pinned = parts[0]["workload_kind"] not in MOVABLE or str(owners.get(name)).startswith(PINNED_OWNERS)
        found.append(
            WorkloadSpec(
                name=name,
                on=on,
                cpu_cores=max(row["cores_p95"] / on[row["host"]] for row in parts),
                mean_cores=sum(row["mean_cores"] for row in parts) / sum(on.values()),
                memory_gb=max(LEAST_GB, *(row["mem_bytes"] / 1e9 / on[row["host"]] for row in parts)),
                max_moves=0 if pinned else None,
            )
        )
    return found


def _instances(machines: Sequence[Row], rows: Sequence[Row]) -> list[InstanceUse]:
    """Of nodes whose instance type the catalogue has, of one provider."""
    catalogue = shipped_catalogue()
    names = Counter(it.name for it in catalogue)
    types: dict[str, InstanceType] = {it.name: it for it in catalogue if names[it.name] == 1}
    found = []
    for row in machines:
        kind = types.get(row["instance_type"] or "")
        here = [it for it in rows if it["host"] == row["host"]]
        if kind is None or not here or kind.provider not in ("aws", "gcp", "azure"):
            continue
        found.append(
            InstanceUse.model_validate(
                {
                    "node": row["host"],
                    "provider": kind.provider,
                    "instance_type": kind.name,
                    "cpu_cores_p95": sum(it["cores_p95"] for it in here),
                    "mean_cores": sum(it["mean_cores"] for it in here),
                    "memory_gb_max": sum(it["mem_bytes"] for it in here) / 1e9,
                }
            )
        )
    return found

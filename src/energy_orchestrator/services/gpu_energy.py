"""Energy of GPUs and of the workloads on them, window by window: asks the series, `analyze/gpu_shares.py` divides.

Flows in: the windows of nodes that are worked on. Flows out: a row for each GPU and window, and one for each workload
on it, both with the place of their node's window, so that a caller adds them up without a join. Joules are the GPU's
mean watts over the seconds that the node's window covers: GPUs and node are told over one and the same time.

What a GPU draws at rest is the lowest it has drawn while nobody used it. Where it was never seen so, the lowest it has
drawn at all stands for it, which takes away from the workloads; `rest_source` says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from energy_orchestrator.analyze.attribution import Floats, Indexes
from energy_orchestrator.analyze.gpu_shares import GpuRows, GpuShares, share
from energy_orchestrator.analyze.meter_answers import ACCELERATORS
from energy_orchestrator.services import gpu_queries
from energy_orchestrator.services.calibrations import milliseconds
from energy_orchestrator.services.energy_tables import floats
from energy_orchestrator.services.series import Series, rows_of

REST_SEEN = "rest seen"
NEVER_AT_REST = "never seen at rest: the lowest of the last day stands for it"
NO_HISTORY = "no history yet: the lowest of these windows stands for its rest"

WINDOW = ("tenant", "host", "window_end")
GPU = (*WINDOW, "zone")
BOARD = ("tenant", "host", "zone")
WORKLOAD = (*WINDOW, "workload", "replica")


@dataclass(frozen=True, slots=True)
class GpuEnergy:
    """Joules of GPUs and of workloads on them.

    Attributes:
        gpus: tenant, host, window_end, zone, gpu_joules, idle_joules, active_joules, unattributed_joules, reason (of
            what is unattributed), rest_source.
        gpu_node: for each row of `gpus` its place in the nodes that were asked for.
        workloads: tenant, host, window_end, zone, workload, workload_kind, replica, gpu_joules (NULL: not known),
            method (NULL likewise); one row for each GPU or MIG instance that a workload is on.
        workload_node: for each row of `workloads` its place in those nodes.
    """

    gpus: pa.Table
    gpu_node: Indexes
    workloads: pa.Table
    workload_node: Indexes

    def of_nodes(self, column: str, nodes: int) -> Floats:
        """Sum of a column of `gpus` (joules) for each of so many nodes; 0 where a node has no GPU."""
        return np.bincount(self.gpu_node, floats(self.gpus, column), nodes).astype(np.float64)

    def of_workloads(self, workloads: pa.Table) -> tuple[Floats, pa.Table]:
        """Joules on GPUs for each row of `workloads` (columns of `WORKLOAD`), and what has no row there: a process may
        wait for a GPU without using CPU time. What is not known counts in neither: it is in `unattributed_joules`."""
        place = positions(self.workloads, workloads, WORKLOAD)
        joules = np.nan_to_num(floats(self.workloads, "gpu_joules"))
        found = place >= 0
        sums = np.bincount(place[found], joules[found], workloads.num_rows).astype(np.float64)
        return sums, self.workloads.filter(pa.array(~found & (joules > 0)))


def gpu_energy(
    series: Series,
    nodes: pa.Table,
    meters: pa.Table,
    during: Mapping[str, Any],
    rest: Mapping[tuple[str, str, str], tuple[float, str]],
) -> GpuEnergy:
    """Energy of the GPUs of some windows of nodes.

    Args:
        series: the store.
        nodes: tenant, host, window_end and covered_seconds; what is of no row of it is left out.
        meters: rows of `METER_WINDOWS`.
        during: the parameters that these were asked with.
        rest: of `gpus_at_rest`.
    """
    boards = _boards(meters)
    node = positions(boards, nodes, WINDOW)
    boards, node = boards.filter(pa.array(node >= 0)), node[node >= 0]
    seen = series.query(gpu_queries.GPU_PROCESS_WINDOWS, during) if boards.num_rows else _no_rows()
    gpu = positions(seen, boards, GPU)
    seen, gpu = seen.filter(pa.array(gpu >= 0)), gpu[gpu >= 0]
    watts = floats(boards, "watts")
    rest_watts, rest_source = _rest(boards, watts, rest)
    seconds = floats(nodes, "covered_seconds")[node]
    shares = share(watts * seconds, rest_watts * seconds, _rows(seen, gpu))
    named = pc.is_valid(seen["workload"])
    gpus = _gpu_table(boards, watts * seconds, shares, rest_source)
    return GpuEnergy(gpus, node, _workload_table(seen, shares).filter(named), node[gpu][np.asarray(named, dtype=bool)])


def _boards(meters: pa.Table) -> pa.Table:
    """Mean watts of each GPU that answered: by its energy where it counts that."""
    boards = meters.filter(pc.is_in(meters["meter"], pa.array(sorted(ACCELERATORS))))
    energy, seconds = floats(boards, "energy_joules"), floats(boards, "covered_seconds")
    watts = np.divide(energy, seconds, out=floats(boards, "power_watts").copy(), where=seconds > 0)
    known = pa.array(np.isfinite(watts))
    return boards.select(GPU).append_column("watts", pa.array(watts)).filter(known)


def gpus_at_rest(
    series: Series, start: datetime, buckets: Iterable[int] = ()
) -> dict[tuple[str, str, str], tuple[float, str]]:
    """Watts of each GPU (tenant, host, zone) at rest since `start`, and how they were found."""
    found = {}
    for row in rows_of(series, gpu_queries.GPU_AT_REST, {"start": start, "buckets": list(buckets)}):
        seen = row["rest_watts"] is not None
        watts = row["rest_watts"] if seen else row["lowest_watts"]
        found[row["tenant"], row["host"], row["zone"]] = (watts, REST_SEEN if seen else NEVER_AT_REST)
    return found


def positions(rows: pa.Table, among: pa.Table, names: Iterable[str]) -> Indexes:
    """For each row the place of the row with the same values of these columns in `among`; -1 where there is none."""
    if not rows.num_rows:
        return np.zeros(0, dtype=np.intp)
    found = pc.index_in(_key(rows, names), _key(among, names))
    return np.asarray(pc.fill_null(found, -1), dtype=np.intp)


def _key(table: pa.Table, names: Iterable[str]) -> pa.Array:
    """No name holds the separator, and a NULL is no text."""
    parts = [milliseconds(table[it]).cast(pa.string()) if it == "window_end" else table[it] for it in names]
    texts = [pc.if_else(pc.is_valid(it), pc.binary_join_element_wise("=", it, ""), "") for it in parts]
    return pc.binary_join_element_wise(*texts, "\0").combine_chunks()


def _rest(
    boards: pa.Table, watts: Floats, rest: Mapping[tuple[str, str, str], tuple[float, str]]
) -> tuple[Floats, pa.Array]:
    """Watts at rest of each row's GPU, and how they were found."""
    gpus = _key(boards, BOARD).dictionary_encode()
    number = np.asarray(gpus.indices, dtype=np.intp)
    lowest = np.full(len(gpus.dictionary), np.inf)
    np.minimum.at(lowest, number, watts)
    _, first = np.unique(number, return_index=True)
    names = zip(*(boards[name].take(pa.array(first)).to_pylist() for name in BOARD), strict=True)
    known = [rest.get(name) or (floor, NO_HISTORY) for name, floor in zip(names, lowest.tolist(), strict=True)]
    at_rest = np.array([value for value, _ in known], dtype=np.float64)[number]
    return at_rest, pa.array([source for _, source in known], pa.string()).take(gpus.indices)


def _rows(seen: pa.Table, gpu: Indexes) -> GpuRows:
    instances = pc.binary_join_element_wise(_key(seen, GPU), seen["mig_instance"], "\0").combine_chunks()
    number = np.asarray(pc.fill_null(instances.dictionary_encode().indices, -1), dtype=np.intp)
    named = np.asarray(pc.is_valid(seen["workload"]), dtype=bool)
    return GpuRows(gpu, floats(seen, "busy_seconds"), floats(seen, "compute_slices"), number, named)


def _gpu_table(boards: pa.Table, joules: Floats, shares: GpuShares, rest_source: pa.Array) -> pa.Table:
    columns = {name: boards[name] for name in GPU}
    return pa.table(
        {
            **columns,
            "gpu_joules": joules,
            "idle_joules": shares.idle,
            "active_joules": shares.active,
            "unattributed_joules": shares.unattributed,
            "reason": pa.array(shares.reason.tolist(), pa.string()),
            "rest_source": rest_source,
        }
    )


def _workload_table(seen: pa.Table, shares: GpuShares) -> pa.Table:
    columns = {name: seen[name] for name in (*GPU, "workload", "workload_kind", "replica")}
    return pa.table(
        {
            **columns,
            "gpu_joules": pa.array(shares.row_joules, from_pandas=True),
            "method": pa.array([method or None for method in shares.row_method.tolist()], pa.string()),
        }
    )


def _no_rows() -> pa.Table:
    texts = dict.fromkeys((*GPU, "mig_instance", "workload", "workload_kind", "replica"), pa.array([], pa.string()))
    numbers = dict.fromkeys(("busy_seconds", "compute_slices"), pa.array([], pa.float64()))
    return pa.table({**texts, "window_end": pa.array([], pa.timestamp("ms", "UTC")), **numbers})

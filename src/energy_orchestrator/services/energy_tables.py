"""Windows of nodes and workloads become the rows of `node_energy` and `workload_energy`.

In go tables of the series and the power of each node-window, out come tables of the same columns as the store's. No
query and no clock here: the analyzer asks, `analyze/` does the arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from energy_orchestrator.analyze.attribution import Apart, Attribution, Floats, Indexes, attribute
from energy_orchestrator.analyze.cpu_weights import Weighted, weigh
from energy_orchestrator.analyze.node_power import NodePower
from energy_orchestrator.services.calibrations import milliseconds


def floats(table: pa.Table, name: str) -> Floats:
    """A column; NaN is unknown."""
    return np.asarray(table[name].to_numpy(zero_copy_only=False), dtype=np.float64)


def node_windows(kernel: pa.Table, workloads: pa.Table, window_seconds: float) -> tuple[pa.Table, Indexes]:
    """The windows of each node, ordered by node, and the one that each workload row is in (-1: in none).

    What the kernel's meter does not cover is taken from the process rows: the time that the longest seen process was
    seen, and the CPU time of all.
    """
    keys = ["tenant", "host", "window_end"]
    both = pa.concat_tables([kernel.select(keys), workloads.select(keys)])
    node = pc.binary_join_element_wise(both["tenant"], both["host"], "\0").combine_chunks().dictionary_encode().indices
    _, window = np.unique(milliseconds(both["window_end"]).to_numpy(), return_inverse=True)
    key = node.to_numpy().astype(np.int64) * (window.max(initial=0) + 1) + window
    unique, first, row = np.unique(key, return_index=True, return_inverse=True)
    of_kernel, of_rows = row[: kernel.num_rows], row[kernel.num_rows :]
    by_kernel, busy, by_rows = np.zeros(len(unique)), np.full(len(unique), np.nan), np.zeros(len(unique))
    by_kernel[of_kernel] = floats(kernel, "covered_seconds")
    busy[of_kernel] = floats(kernel, "busy_cpu_seconds")
    np.maximum.at(by_rows, of_rows, floats(workloads, "covered_seconds"))
    seen = np.bincount(of_rows, floats(workloads, "cpu_seconds"), len(unique))
    covered = np.where(by_kernel > 0, by_kernel, np.minimum(by_rows, window_seconds))
    found = covered > 0
    place = np.where(found, np.cumsum(found) - 1, -1)
    nodes = both.take(pa.array(first[found]))
    columns = {"covered_seconds": covered, "busy_cpu_seconds": busy, "seen_cpu_seconds": seen}
    for name in ("speed", "counted", "misses_per_second"):
        columns[name] = np.full(len(unique), np.nan)
        columns[name][of_kernel] = floats(kernel, name)
    for name, values in columns.items():
        nodes = nodes.append_column(name, pa.array(values[found]))
    return nodes, place[of_rows]


def energy_tables(
    nodes: pa.Table, powers: list[NodePower], workloads: pa.Table, row: Indexes, apart: Sequence[Apart] = ()
) -> tuple[pa.Table, pa.Table]:
    """The rows of `node_energy` and `workload_energy`; `apart` are the parts that are not shared by CPU time."""
    seconds = floats(nodes, "covered_seconds")
    watts, low, high = (
        np.array([getattr(power.watts, end) for power in powers], dtype=np.float64)
        for end in ("value", "lower", "upper")
    )
    idle = np.array([power.idle_watts for power in powers], dtype=np.float64)
    weighted, busy = weighted_by_speed(nodes, workloads, row), floats(nodes, "busy_cpu_seconds")
    split = attribute(watts * seconds, idle * seconds, weighted.busy, row, weighted.rows, apart)
    busy = np.where(np.isnan(busy), floats(nodes, "seen_cpu_seconds"), busy)
    tiers = [power.tier.value for power in powers]
    node_table = pa.table(
        {
            "timestamp": nodes["window_end"],
            "tenant": nodes["tenant"],
            "host": nodes["host"],
            "window_seconds": seconds,
            "tier": tiers,
            "node_joules": watts * seconds,
            "node_joules_lower": low * seconds,
            "node_joules_upper": high * seconds,
            "idle_joules": split.idle,
            "active_joules": split.active,
            "unattributed_joules": split.unattributed,
            "busy_cpu_seconds": busy,
            "power_source": [power.source for power in powers],
        }
    )
    return node_table, _workload_table(workloads, row, powers, seconds, split)


def _workload_table(
    workloads: pa.Table, at: Indexes, powers: list[NodePower], seconds: Floats, split: Attribution
) -> pa.Table:
    low = np.array([power.active_low for power in powers], dtype=np.float64)
    high = np.array([power.active_high for power in powers], dtype=np.float64)
    return pa.table(
        {
            "timestamp": workloads["window_end"],
            "tenant": workloads["tenant"],
            "host": workloads["host"],
            "window_seconds": seconds[at],
            "workload": workloads["workload"],
            "workload_kind": workloads["workload_kind"],
            "replica": workloads["replica"],
            "tier": pa.array([power.tier.value for power in powers]).take(pa.array(at)),
            "cpu_seconds": floats(workloads, "cpu_seconds"),
            "mem_bytes": workloads["mem_bytes"],
            "active_joules": split.workload_active,
            "active_joules_lower": split.workload_active * low[at],
            "active_joules_upper": split.workload_active * high[at],
        }
    )


def weighted_by_speed(nodes: pa.Table, workloads: pa.Table, row: Indexes) -> Weighted:
    """CPU seconds by cycles where counters tell them, else by the clock.

    Cycles of counters and the clock that the kernel shows are not the same measure: a workload's is used only beside
    the same one of its node.
    """
    same = floats(workloads, "counted") == floats(nodes, "counted")[row]
    speed = np.where(same, floats(workloads, "speed"), np.nan)
    busy, cpu = floats(nodes, "busy_cpu_seconds"), floats(workloads, "cpu_seconds")
    return weigh(busy, floats(nodes, "speed"), row, cpu, speed)

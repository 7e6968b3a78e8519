"""Attribution: node = idle + sum of workloads' active + unattributed, exactly, for many nodes and windows at once.

Idle is what the node draws at rest and belongs to nobody. Of what lies above it, first goes what is known by itself:
accelerators by their own counters and processes, memory by cache misses (`Apart`). The rest is shared by CPU time,
weighted by the CPU's speed where that is known (`analyze/cpu_weights.py`). CPU time that the kernel counted but no
process row shows (processes that came and went between two looks, interrupts) keeps its share as `unattributed`; it is
not spread over the others. When the rows show more CPU time than the kernel counted (edges of windows), the rows' sum
is the whole and nothing is unattributed.

Columns in, columns out; no loop over rows. Bounds are those of the node's power, in proportion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indexes = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Attribution:
    """Joules. `idle`, `active`, `unattributed` have one value per node-window, `workload_active` one per row."""

    idle: Floats
    active: Floats
    unattributed: Floats
    workload_active: Floats


@dataclass(frozen=True, slots=True)
class Apart:
    """Joules above rest of a part of the node that are shared in a way of their own.

    `of_rows` has one value per workload row; `of_nobody` one per node-window: what no row accounts for.
    """

    of_rows: Floats
    of_nobody: Floats


def attribute(
    node_joules: Floats,
    idle_joules: Floats,
    busy_cpu_seconds: Floats,
    row_node: Indexes,
    row_cpu_seconds: Floats,
    apart: Sequence[Apart] = (),
) -> Attribution:
    """Split the energy of each node-window.

    Args:
        node_joules: energy of each node-window.
        idle_joules: what the node would have spent at rest; more than node_joules counts as node_joules.
        busy_cpu_seconds: CPU time the kernel counted in it, NaN where it is not known (then the rows are all);
            weighted CPU time, where the rows' is.
        row_node: for each workload row the index of its node-window.
        row_cpu_seconds: CPU time of each row, weighted or not.
        apart: parts that are not shared by CPU time. Together they are at most what lies above idle: meters of parts
            may say a little more than that of the node, then they are scaled down.

    Raises:
        ValueError: on negative or non-finite energies or CPU times.
    """
    for name, values in (
        ("node_joules", node_joules),
        ("idle_joules", idle_joules),
        ("cpu", row_cpu_seconds),
        *(("apart", part) for it in apart for part in (it.of_rows, it.of_nobody)),
    ):
        if values.size and (not np.isfinite(values).all() or values.min() < 0):
            raise ValueError(f"{name}: every value must be finite and not negative")
    idle = np.minimum(idle_joules, node_joules)
    above = node_joules - idle
    own = np.sum([it.of_rows for it in apart], axis=0) if apart else np.zeros(row_node.size)
    nobody = np.sum([it.of_nobody for it in apart], axis=0) if apart else np.zeros(node_joules.size)
    known = by_node(own, row_node, node_joules.size) + nobody
    scale = np.divide(above, known, out=np.ones_like(above), where=known > above)
    by_cpu = share(np.maximum(above - known * scale, 0.0), busy_cpu_seconds, row_node, row_cpu_seconds)
    workload_active = own * scale[row_node] + by_cpu.of_rows
    active = by_node(workload_active, row_node, node_joules.size)
    return Attribution(idle, active, node_joules - idle - active, workload_active)


def share(joules: Floats, whole: Floats, row_node: Indexes, row_weight: Floats) -> Apart:
    """Joules of each node-window by the rows' weights; `whole` is the weight of all that drew them, NaN where it is
    unknown (then the rows are all), and what it exceeds the rows by belongs to nobody."""
    seen = by_node(row_weight, row_node, joules.size)
    total = np.fmax(np.where(np.isnan(whole), 0.0, whole), seen)
    divisor = total[row_node]
    part = np.divide(row_weight, divisor, out=np.zeros_like(divisor), where=divisor > 0)
    of_rows = part * joules[row_node]
    return Apart(of_rows, np.maximum(joules - by_node(of_rows, row_node, joules.size), 0.0))


def by_node(values: Floats | NDArray[np.bool_], row_node: Indexes, nodes: int) -> Floats:
    """Sum of the rows' values for each node-window (or GPU, or whatever `row_node` counts)."""
    return np.bincount(row_node, weights=values, minlength=nodes).astype(np.float64)

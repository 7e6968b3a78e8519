"""Attribution: node = idle + sum of workloads' active + unattributed, exactly, for many nodes and windows at once.

Idle is what the node draws at rest and belongs to nobody. What lies above it is shared by CPU time. CPU time that
the kernel counted but no process row shows (processes that came and went between two looks, interrupts) keeps its
share as `unattributed`; it is not spread over the others. When the rows show more CPU time than the kernel counted
(edges of windows), the rows' sum is the whole and nothing is unattributed.

Columns in, columns out; no loop over rows. Bounds are those of the node's power, in proportion.
"""

from __future__ import annotations

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


def attribute(
    node_joules: Floats, idle_joules: Floats, busy_cpu_seconds: Floats, row_node: Indexes, row_cpu_seconds: Floats
) -> Attribution:
    """Split the energy of each node-window.

    Args:
        node_joules: energy of each node-window.
        idle_joules: what the node would have spent at rest; more than node_joules counts as node_joules.
        busy_cpu_seconds: CPU time the kernel counted in it, NaN where it is not known (then the rows are all).
        row_node: for each workload row the index of its node-window.
        row_cpu_seconds: CPU time of each row.

    Raises:
        ValueError: on negative or non-finite energies or CPU times.
    """
    for name, values in (("node_joules", node_joules), ("idle_joules", idle_joules), ("cpu", row_cpu_seconds)):
        if values.size and (not np.isfinite(values).all() or values.min() < 0):
            raise ValueError(f"{name}: every value must be finite and not negative")
    idle = np.minimum(idle_joules, node_joules)
    above = node_joules - idle
    seen = np.bincount(row_node, weights=row_cpu_seconds, minlength=node_joules.size).astype(np.float64)
    total = np.fmax(np.where(np.isnan(busy_cpu_seconds), 0.0, busy_cpu_seconds), seen)
    whole = total[row_node]
    share = np.divide(row_cpu_seconds, whole, out=np.zeros_like(whole), where=whole > 0)
    workload_active = share * above[row_node]
    active = np.bincount(row_node, weights=workload_active, minlength=node_joules.size).astype(np.float64)
    return Attribution(idle, active, node_joules - idle - active, workload_active)

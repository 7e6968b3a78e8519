"""CPU time weighted by the CPU's speed: a second at a high clock costs more than one at a low clock.

Where the kernel's counters give cycles, a workload's CPU seconds count by the cycles that it had in each of them
(`per_second`); what no counter of a workload tells counts by what is left of the node's cycles. Without the node's
cycles, CPU time counts as it is.

Weights stay CPU seconds: they are divided by the node's own cycles a second, so that a node whose clock stands still
gives the same figures with and without counters. Cycles do not tell everything: one that waits for memory costs less
than one of vector code (docs/critiques.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from energy_orchestrator.analyze.attribution import Floats, Indexes, by_node


@dataclass(frozen=True, slots=True)
class Weighted:
    """CPU seconds weighted by speed: of all of each node-window (NaN where unknown), and of each workload row."""

    busy: Floats
    rows: Floats


def weigh(
    busy_cpu_seconds: Floats, node_speed: Floats, row_node: Indexes, row_cpu_seconds: Floats, row_speed: Floats
) -> Weighted:
    """Weigh by cycles.

    Args:
        busy_cpu_seconds: CPU time of each node-window by the kernel; NaN is unknown.
        node_speed: cycles per CPU second of each node-window, NaN where not counted.
        row_node: for each workload row the index of its node-window.
        row_cpu_seconds: CPU time of each row.
        row_speed: cycles per CPU second of each row's workload, NaN where not counted.
    """
    of_node = node_speed[row_node]
    both = _known(row_speed) & _known(of_node)
    relative = np.divide(row_speed, of_node, out=np.zeros_like(of_node), where=both)
    counted_seconds = by_node(np.where(both, row_cpu_seconds, 0.0), row_node, busy_cpu_seconds.size)
    counted_weight = by_node(row_cpu_seconds * relative, row_node, busy_cpu_seconds.size)
    left = _left(busy_cpu_seconds, counted_seconds, counted_weight)
    rows = row_cpu_seconds * np.where(both, relative, left[row_node])
    return Weighted(counted_weight + left * np.maximum(busy_cpu_seconds - counted_seconds, 0.0), rows)


def _left(busy: Floats, counted_seconds: Floats, counted_weight: Floats) -> Floats:
    """Weight of a CPU second that no workload's counter tells: what makes the node's sum right, else 1."""
    seconds, weight = busy - counted_seconds, busy - counted_weight
    sensible = (seconds > 0) & (weight > 0)
    return np.divide(weight, seconds, out=np.ones_like(busy), where=sensible)


def _known(speed: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return np.isfinite(speed) & (speed > 0)

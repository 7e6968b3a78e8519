"""Two checks of what the estimator rests on: how servers of one kind differ, and how well curves by vendor mix.

`alike` bounds what any model of CPUs can reach without a reading; `split_errors` holds the inferred curves of AMD and
Intel (`shape.py`) against the published mean. Columns in, figures for docs/accuracy.md out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from energy_orchestrator.analyze.estimator.cpu_names import cpu_key
from energy_orchestrator.analyze.estimator.shape import FAMILIES, GROUPS, SPLIT_SINCE, Shapes
from energy_orchestrator.analyze.estimator.training import Servers


@dataclass(frozen=True, slots=True)
class Alike:
    """How servers of one CPU model and one number of sockets differ: what no model of CPUs can know."""

    part: str
    servers: int
    deviation: float
    """Of the logarithm of watts, within."""
    mape: float
    """Of the median of the others of the same kind, in percent."""


def alike(servers: Servers) -> list[Alike]:
    """Of kinds with two servers or more."""
    kinds_of: dict[tuple[str, float], list[int]] = {}
    for index, (name, sockets) in enumerate(zip(servers.machines.cpu, servers.machines.sockets, strict=True)):
        kinds_of.setdefault((cpu_key(name), float(sockets)), []).append(index)
    found = []
    for part, watts in (("idle", servers.idle), ("full", servers.full)):
        groups_of = [np.log(watts[rows]) for rows in kinds_of.values() if len(rows) > 1]
        squares = sum(float(((logs - logs.mean()) ** 2).sum()) for logs in groups_of)
        free = sum(len(logs) - 1 for logs in groups_of)
        error = [
            abs(float(np.expm1(np.median(np.delete(logs, place)) - logs[place])))
            for logs in groups_of
            for place in range(len(logs))
        ]
        found.append(Alike(part, len(error), float(np.sqrt(squares / free)), 100 * float(np.mean(error))))
    return found


def split_errors(
    shapes: Shapes, statistics: Sequence[Mapping[str, str]], amd_share: Mapping[str, float]
) -> dict[str, tuple[float, float]]:
    """How far AMD's and Intel's curves, mixed by their shares, miss the published mean: the largest over the loads
    and that at half load, by the years that are split."""
    found = {}
    for place, group in enumerate(GROUPS):
        if GROUPS[group] < SPLIT_SINCE:
            continue
        rows = sorted((row for row in statistics if row["hardware_year"] == group), key=lambda r: int(r["load_pct"]))
        mean = np.array([float(row["mean"]) for row in rows])
        intel, amd = (shapes.share[FAMILIES.index(name), place, 1:-1] for name in ("intel", "amd"))
        miss = np.abs(amd_share[group] * amd + (1 - amd_share[group]) * intel - mean)
        found[group] = float(miss.max()), float(miss[4])
    return found

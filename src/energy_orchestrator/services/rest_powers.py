"""What nodes drew at rest in the last day, by the tier of their meter; looked up once a minute.

Of a node whose name stands for another machine by now, only what was seen since then counts. The arithmetic of a node
that was never at rest is in `analyze/idle_fit.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from energy_orchestrator.analyze.estimator import PowerCurve
from energy_orchestrator.analyze.idle_fit import QUIET_LOAD, LoadBin, fitted_idle
from energy_orchestrator.model.units import Tier
from energy_orchestrator.services import series_queries
from energy_orchestrator.services.calibrations import HISTORY, NodeKey
from energy_orchestrator.services.series import Series, rows_of

AGAIN = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Seen:
    """Of one node by one tier: the lowest watts, the busy CPUs at its quietest, and its watts by load."""

    watts: float
    busy_cores: float
    bins: tuple[LoadBin, ...]

    def at_rest(self, threads: float, curve: PowerCurve) -> tuple[float, float]:
        """Watts at rest and the load that they are of: none where they are fitted from several loads."""
        quietest = self.busy_cores / threads
        if quietest <= QUIET_LOAD:
            return self.watts, quietest
        fitted = fitted_idle(self.bins, self.watts, threads, lambda load: curve.active(load)[0])
        return (fitted, 0.0) if fitted is not None else (self.watts, quietest)


class RestPowers:
    """`mine` are the buckets of a worker's hosts."""

    def __init__(self, series: Series, mine: Mapping[str, Any]) -> None:
        self._series = series
        self._mine = dict(mine)
        self._nodes: dict[NodeKey, dict[Tier, Seen]] = {}
        self._looked: datetime | None = None
        self._changed: Mapping[NodeKey, datetime] = {}

    def refresh(self, now: datetime, changed: Mapping[NodeKey, datetime]) -> None:
        """Look again after a minute, when another node has changed, or while nothing was found yet."""
        young = self._looked is not None and now - self._looked < AGAIN
        if young and self._nodes and changed == self._changed:
            return
        self._nodes = self._since(now - HISTORY)
        for node, since in changed.items():
            self._nodes.pop(node, None)
            self._nodes.update(self._since(max(since, now - HISTORY), node))
        self._looked, self._changed = now, dict(changed)

    def of(self, node: NodeKey) -> Mapping[Tier, Seen]:
        """By tier; empty where too little was seen."""
        return self._nodes.get(node, {})

    def _since(self, start: datetime, node: NodeKey | None = None) -> dict[NodeKey, dict[Tier, Seen]]:
        pack = {"tenants": [node[0]], "hosts": [node[1]]} if node else {"tenants": [], "hosts": []}
        rows = rows_of(self._series, series_queries.IDLE_AT_REST, {"start": start, **self._mine, **pack})
        found: dict[NodeKey, dict[Tier, Seen]] = defaultdict(dict)
        for row in rows:
            found[row["tenant"], row["host"]][Tier(row["told_tier"])] = Seen(
                row["idle_watts"], row["busy_cores"], _bins(row)
            )
        return dict(found)


def _bins(row: Mapping[str, Any]) -> tuple[LoadBin, ...]:
    counts, watts, cores = (row[name] for name in ("windows_of_bins", "watts_of_bins", "cores_of_bins"))
    return tuple(
        LoadBin(core / count, watt / count, count) for count, watt, core in zip(counts, watts, cores, strict=True)
    )

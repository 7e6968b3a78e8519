"""Keeps the calibrations of all nodes that report two tiers, learned again from the series now and then.

Nothing is stored: a restart learns from the last day again. While this runs, a node whose better meter has fallen
silent keeps what it was taught; its interval grows with age where a drift was seen. A few nodes are learned at a time,
so that a large fleet does not hold up the windows. The arithmetic is in `analyze/taught_meters.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

import pyarrow as pa

from energy_orchestrator.analyze.estimator import NodeHardware, canonical_cpu
from energy_orchestrator.analyze.meter_answers import ZoneReading, meter_answers
from energy_orchestrator.analyze.taught_meters import Likeness, Taught, learn_node, taught_by_like_nodes
from energy_orchestrator.model.units import Tier
from energy_orchestrator.services import series_queries
from energy_orchestrator.services.series import Series, rows_of

HISTORY = timedelta(hours=24)
WINDOW_SECONDS = 30.0
"""Of a pair: long enough that a plug asked every ten seconds and RAPL's counter see much the same."""
AGAIN = timedelta(minutes=10)
AT_A_TIME = 2
"""Nodes learned in one call, that is in one window: a node's day of four zones, a row a second, takes 0.3 s."""

TIERS = {tier.value: tier for tier in Tier}

NodeKey = tuple[str, str]


class Calibrations:
    """See the module."""

    def __init__(self, series: Series) -> None:
        self._series = series
        self._nodes: dict[NodeKey, dict[str, Taught | str]] = {}
        self._carried: dict[tuple[Likeness, str], Taught] = {}
        self._waiting: list[NodeKey] = []
        self._looked: datetime | None = None
        self._changed: dict[NodeKey, datetime] = {}

    def refresh(
        self,
        now: datetime,
        hardware: Mapping[NodeKey, NodeHardware],
        changed: Mapping[NodeKey, datetime] | None = None,
    ) -> None:
        """Learn the next few nodes; every ten minutes look for nodes that have two tiers. `changed` says since when a
        node is another machine: what was learned before is forgotten."""
        for node, since in (changed or {}).items():
            if self._changed.get(node, since - AGAIN) < since:
                self._nodes.pop(node, None)
                self._changed[node] = since
        if self._looked is None or now - self._looked >= AGAIN:
            start = (self._looked or now - HISTORY) - AGAIN
            rows = rows_of(self._series, series_queries.NODES_OF_TWO_TIERS, {"start": start})
            waiting = dict.fromkeys([*self._waiting, *((row["tenant"], row["host"]) for row in rows)])
            self._waiting, self._looked = list(waiting), now
        if not self._waiting:
            return
        for node in self._waiting[:AT_A_TIME]:
            learned = self._learned(node, now)
            kept = {source: taught for source, taught in self._nodes.get(node, {}).items() if source not in learned}
            self._nodes[node] = {**kept, **learned}
        del self._waiting[:AT_A_TIME]
        kinds = {node: kind for node, known in hardware.items() if (kind := _likeness(node, known))}
        self._carried = taught_by_like_nodes(self._nodes, kinds)

    def of(self, node: NodeKey, hardware: NodeHardware) -> dict[str, Taught | str]:
        """What each lesser meter of a node was taught, by its source: by the node itself, else by like ones."""
        kind = _likeness(node, hardware)
        found: dict[str, Taught | str] = {
            source: taught for (like, source), taught in self._carried.items() if like == kind
        }
        for source, own in self._nodes.get(node, {}).items():
            if isinstance(own, Taught) or source not in found:
                found[source] = own
        return found

    def _learned(self, node: NodeKey, now: datetime) -> dict[str, Taught | str]:
        readings: dict[int, list[ZoneReading]] = defaultdict(list)
        since = self._changed.get(node, now - HISTORY)
        parameters = {
            **{"tenants": [node[0]], "hosts": [node[1]], "start": max(since, now - HISTORY), "end": now},
            "window_ms": WINDOW_SECONDS * 1000,
        }
        for _, _, end, reading in zone_readings(self._series.query(series_queries.METER_WINDOWS, parameters)):
            readings[end].append(reading)
        windows = [(end / 1000, meter_answers(zones)) for end, zones in sorted(readings.items())]
        return learn_node(windows)


def milliseconds(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """Since 1970."""
    return times.cast(pa.timestamp("ms", "UTC")).cast(pa.int64())


def zone_readings(table: pa.Table) -> Iterator[tuple[str, str, int, ZoneReading]]:
    """Rows of `METER_WINDOWS`: tenant, host, milliseconds of the window's end, reading."""
    ends = milliseconds(table["window_end"]).to_pylist()
    names = ("tenant", "host", "meter", "zone", "tier", "energy_joules", "power_watts", "covered_seconds")
    columns = [table[name].to_pylist() for name in names]
    for end, tenant, host, meter, zone, tier, joules, watts, seconds in zip(ends, *columns, strict=True):
        yield tenant, host, end, ZoneReading(meter, zone, TIERS[tier], joules, watts, seconds)


def _likeness(node: NodeKey, hardware: NodeHardware) -> Likeness:
    """Empty, like no other, where the CPU is unknown or the node is a guest."""
    if not hardware.cpu_model or hardware.virtual:
        return ()
    return node[0], canonical_cpu(hardware.cpu_model), hardware.sockets, hardware.threads

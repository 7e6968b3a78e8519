"""The analyzer: every few seconds it turns the newest windows into energy, and now and then into advice.

`run_once` finds its place from what it has already written, so a restart goes on where it stopped, and does the last
windows again, so that late rows count (the derived tables replace a row of the same key). Where nothing was sampled
for a while it steps over the gap. Once a minute `catch_up` looks for windows of an hour back that arrived late: a
node with a spool to empty. The arithmetic is in `analyze/`; `services/advisor.py` asks the strategies.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from energy_orchestrator.analyze.attribution import Attribution, Floats, Indexes, attribute
from energy_orchestrator.analyze.estimator import NodeHardware, PowerCurve, PowerModel
from energy_orchestrator.analyze.node_power import NodePower, ZoneReading, node_power
from energy_orchestrator.model.units import Tier
from energy_orchestrator.services import series_queries
from energy_orchestrator.services.calibrations import Calibrations, zone_reading

SETTLE = timedelta(seconds=2.5)
"""A window is worked on when it has been over for so long: time for samples to travel."""
AGAIN = timedelta(seconds=10)
"""Windows that young are worked on again for late rows."""
AT_ONCE = timedelta(minutes=10)
"""The longest span of one run: bounds the memory when much has piled up."""
LATEST = timedelta(hours=1)
"""How far back a first run and `catch_up` look."""
CATCH_UP_EVERY = timedelta(seconds=60)
RESOLUTION = timedelta(milliseconds=1)
"""Of timestamps: a sample on a window's edge belongs to the earlier window."""
REST_HISTORY = timedelta(hours=24)

NO_KERNEL = "; no CPU time from the kernel's meter, the process rows stand for it"

NodeKey = tuple[str, str]
WindowKey = tuple[str, str, datetime]


class Series(Protocol):
    """What is needed of the series store."""

    def query(self, sql: str, parameters: Any = None) -> pa.Table:
        """Run one statement."""
        ...

    def insert_derived(self, table_name: str, table: pa.Table) -> None:
        """Store rows of a derived table."""
        ...


class Analyzer:
    """See the module."""

    def __init__(self, series: Series, model: PowerModel, window_seconds: float, clock: Callable[[], datetime]) -> None:
        self._series = series
        self._model = model
        self._window = timedelta(seconds=window_seconds)
        self._clock = clock
        self._calibrations = Calibrations(series)
        self._worked_to: datetime | None = None
        self._caught_up: datetime | None = None

    def run_once(self) -> int:
        """Work on the windows that are over; how many node-windows were written. Calling it often costs nothing: it
        does something once a window."""
        now = self._clock()
        if self._worked_to == _floor(now - SETTLE, self._window):
            return 0
        span = self._span(now)
        written = self._work_on(*span, now) if span else 0
        if self._caught_up is None or now - self._caught_up >= CATCH_UP_EVERY:
            written += self.catch_up()
            self._caught_up = now
        self._worked_to = span[1] if span else None
        return written

    def catch_up(self) -> int:
        """Work on windows of the last hour whose samples came late; how many node-windows were written."""
        now = self._clock()
        last = _floor(now - AGAIN, self._window)
        parameters = {"start": last - LATEST, "end": last, "window_ms": self._window.total_seconds() * 1000}
        missed = self._series.query(series_queries.MISSED_WINDOWS, parameters).to_pylist()[0]
        if not missed["n"]:
            return 0
        first = missed["first"] - self._window
        return self._work_on(first, min(missed["last"], first + AT_ONCE), now)

    def _work_on(self, start: datetime, end: datetime, now: datetime) -> int:
        parameters = {"start": start, "end": end, "window_ms": self._window.total_seconds() * 1000}
        nodes = self._series.query(series_queries.NODE_WINDOWS, parameters)
        if nodes.num_rows == 0:
            return 0
        powers = self._powers(nodes, parameters, now)
        workloads = self._series.query(series_queries.WORKLOAD_WINDOWS, parameters)
        node_table, workload_table = energy_tables(nodes, powers, workloads)
        self._series.insert_derived("workload_energy", workload_table)
        self._series.insert_derived("node_energy", node_table)
        return int(nodes.num_rows)

    def _span(self, now: datetime) -> tuple[datetime, datetime] | None:
        last = _floor(now - SETTLE, self._window)
        done = self._series.query(series_queries.WATERMARK).to_pylist()[0]
        newest = done["newest"] if done["n"] else last - LATEST
        waiting = self._series.query(series_queries.OLDEST_SAMPLE, {"start": newest}).to_pylist()[0]
        first = _floor(newest - AGAIN, self._window)
        if waiting["n"]:
            after = _floor(waiting["oldest"] - RESOLUTION, self._window)
            first = after if after - newest > AGAIN or not done["n"] else first
        elif not done["n"] or last - newest > AGAIN:
            return None
        return (first, min(last, first + AT_ONCE)) if last > first else None

    def _powers(self, nodes: pa.Table, parameters: Mapping[str, Any], now: datetime) -> list[NodePower]:
        readings: dict[WindowKey, list[ZoneReading]] = defaultdict(list)
        for row in self._series.query(series_queries.METER_WINDOWS, parameters).to_pylist():
            readings[row["tenant"], row["host"], row["window_end"]].append(zone_reading(row))
        hardware = self._hardware()
        self._calibrations.refresh(now, {node: known for node, (known, _) in hardware.items()})
        rest = self._rest(now)
        unknown = (NodeHardware(), self._model.curve(NodeHardware()))
        powers = []
        for row in nodes.to_pylist():
            key = (row["tenant"], row["host"])
            known, curve = hardware.get(key, unknown)
            busy, threads = row["busy_cpu_seconds"], known.threads or self._model.typical_threads
            load = (row["seen_cpu_seconds"] if busy is None else busy) / (row["covered_seconds"] * threads)
            at_rest = {tier: (watts, cores / threads) for tier, (watts, cores) in rest[key].items()}
            taught, end = self._calibrations.of(key, known), row["window_end"]
            power = node_power(readings[*key, end], curve, load, at_rest, taught, end.timestamp())
            powers.append(power if busy is not None else replace(power, source=power.source + NO_KERNEL))
        return powers

    def _hardware(self) -> dict[NodeKey, tuple[NodeHardware, PowerCurve]]:
        found = {}
        for row in self._series.query(series_queries.NODE_HARDWARE).to_pylist():
            memory = row["memory_bytes"]
            known = NodeHardware(
                threads=row["cpu_threads"],
                cores=row["cores"],
                sockets=row["sockets"],
                mhz=row["cpu_mhz"],
                memory_gb=memory / 1e9 if memory else None,
                cpu_model=row["cpu_model"],
                virtual=row["virtual"],
            )
            found[row["tenant"], row["host"]] = (known, self._model.curve(known))
        return found

    def _rest(self, now: datetime) -> dict[NodeKey, dict[Tier, tuple[float, float]]]:
        """Lowest watts of each node by tier, and the busy cores at its quietest."""
        found: dict[NodeKey, dict[Tier, tuple[float, float]]] = defaultdict(dict)
        for row in self._series.query(series_queries.IDLE_AT_REST, {"start": now - REST_HISTORY}).to_pylist():
            found[row["tenant"], row["host"]][Tier(row["told_tier"])] = (row["idle_watts"], row["busy_cores"])
        return found


def energy_tables(nodes: pa.Table, powers: list[NodePower], workloads: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The rows of `node_energy` and `workload_energy`. Workload rows of a window without a node row are left out:
    they come again when the node's row has arrived."""
    seconds = _floats(nodes, "covered_seconds")
    watts, low, high = (
        np.array([getattr(power.watts, end) for power in powers], dtype=np.float64)
        for end in ("value", "lower", "upper")
    )
    idle = np.array([power.idle_watts for power in powers], dtype=np.float64)
    place = {
        key: index
        for index, key in enumerate(
            zip(nodes["tenant"].to_pylist(), nodes["host"].to_pylist(), nodes["window_end"].to_pylist(), strict=True)
        )
    }
    keys = zip(
        workloads["tenant"].to_pylist(), workloads["host"].to_pylist(), workloads["window_end"].to_pylist(), strict=True
    )
    at = np.array([place.get(key, -1) for key in keys], dtype=np.intp)
    workloads = workloads.filter(pa.array(at >= 0))
    at = at[at >= 0]
    busy = _floats(nodes, "busy_cpu_seconds")
    split = attribute(watts * seconds, idle * seconds, busy, at, _floats(workloads, "cpu_seconds"))
    busy = np.where(np.isnan(busy), _floats(nodes, "seen_cpu_seconds"), busy)
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
    return node_table, _workload_table(workloads, at, powers, seconds, split)


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
            "tier": [powers[index].tier.value for index in at],
            "cpu_seconds": _floats(workloads, "cpu_seconds"),
            "mem_bytes": workloads["mem_bytes"],
            "active_joules": split.workload_active,
            "active_joules_lower": split.workload_active * low[at],
            "active_joules_upper": split.workload_active * high[at],
        }
    )


def _floats(table: pa.Table, name: str) -> Floats:
    return np.asarray(table[name].to_numpy(zero_copy_only=False), dtype=np.float64)


def _floor(moment: datetime, window: timedelta) -> datetime:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch + (moment - epoch) // window * window

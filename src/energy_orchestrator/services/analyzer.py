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
from itertools import groupby
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from energy_orchestrator.analyze.attribution import Attribution, Floats, Indexes, attribute
from energy_orchestrator.analyze.estimator import NodeHardware, PowerCurve, PowerModel
from energy_orchestrator.analyze.node_power import NodePower, ZoneReading, node_powers
from energy_orchestrator.analyze.taught_meters import LOAD_SOURCE
from energy_orchestrator.model.units import Tier
from energy_orchestrator.services import series_queries
from energy_orchestrator.services.calibrations import Calibrations, milliseconds, zone_readings
from energy_orchestrator.services.load_calibrations import LoadCalibrations
from energy_orchestrator.services.shards import ALONE, Tick, Worker, packs, silent

SETTLE = timedelta(seconds=2.5)
"""A window is worked on when it has been over for so long: time for samples to travel."""
AGAIN = timedelta(seconds=10)
"""Windows that young are worked on again for late rows."""
AT_ONCE = timedelta(minutes=10)
"""The longest span of one run: bounds the memory when much has piled up."""
LATEST = timedelta(hours=1)
"""How far back a first run and `catch_up` look."""
CATCH_UP_EVERY = timedelta(seconds=60)
BACK = timedelta(days=1)
"""How far back a worker that shares the work looks for what it has done."""
ROWS_AT_ONCE = 400_000
"""Samples of one pack of hosts: bounds the memory of a large fleet. Measured: packs of millions, whose groups the
CPU's cache doesn't hold, take half as long again."""
ROWS_OF_INSERT = 500_000
RESOLUTION = timedelta(milliseconds=1)
"""Of timestamps: a sample on a window's edge belongs to the earlier window."""
REST_HISTORY = timedelta(hours=24)

NO_KERNEL = "; no CPU time from the kernel's meter, the process rows stand for it"

NodeKey = tuple[str, str]
Known = tuple[NodeHardware, PowerCurve]
AtRest = Mapping[NodeKey, Mapping[Tier, tuple[float, float]]]


class Series(Protocol):
    """What is needed of the series store."""

    def query(self, sql: str, parameters: Any = None) -> pa.Table:
        """Run one statement."""
        ...

    def insert_derived(self, table_name: str, table: pa.Table) -> None:
        """Store rows of a derived table."""
        ...


class Analyzer:
    """See the module. `worker` says which hosts are its own, where several share the work."""

    def __init__(
        self,
        series: Series,
        model: PowerModel,
        window_seconds: float,
        clock: Callable[[], datetime],
        worker: Worker = ALONE,
    ) -> None:
        self._series = series
        self._model = model
        self._window = timedelta(seconds=window_seconds)
        self._clock = clock
        self._mine = {"buckets": worker.buckets}
        self._calibrations = Calibrations(series)
        self._loads = LoadCalibrations(series)
        self._curves: dict[NodeHardware, PowerCurve] = {}
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
        missed = self._series.query(series_queries.MISSED_WINDOWS, self._during(last - LATEST, last)).to_pylist()[0]
        if not missed["n"]:
            return 0
        first = missed["first"] - self._window
        return self._work_on(first, min(missed["last"], first + AT_ONCE), now)

    def work_through(self, start: datetime, end: datetime, tick: Tick = silent) -> int:
        """Work on all windows of a span at once: the batch of an hour. How many node-windows were written.

        What was at rest in the span itself counts from the next run on, as with the windows that `run_once` does
        together."""
        return self._work_on(_floor(start, self._window), _floor(end, self._window), end, tick)

    def _during(self, start: datetime, end: datetime) -> dict[str, Any]:
        return {"start": start, "end": end, "window_ms": self._window.total_seconds() * 1000, **self._mine}

    def _work_on(self, start: datetime, end: datetime, now: datetime, tick: Tick = silent) -> int:
        during = self._during(start, end)
        hosts = self._series.query(series_queries.HOSTS_OF_SPAN, during)
        if hosts.num_rows == 0:
            return 0
        tenants, names, rows = (hosts[name].to_pylist() for name in ("tenant", "host", "n"))
        parts = list(packs(tenants, names, rows, ROWS_AT_ONCE))
        hardware, rest = self._hardware(), self._rest(now)
        self._calibrations.refresh(now, {node: known for node, (known, _) in hardware.items()})
        node_tables: list[pa.Table] = []
        gathered = _Gathered(self._series, "workload_energy")
        for place, pack in enumerate(parts):
            tick(place, len(parts))
            nodes, workloads = self._energy_of(during | pack.parameters, hardware, rest)
            node_tables.append(nodes)
            gathered.add(workloads)
        gathered.put()
        # Last and together: where they are, all is done up to there.
        nodes = pa.concat_tables(node_tables)
        self._series.insert_derived("node_energy", nodes)
        tick(len(parts), len(parts))
        return int(nodes.num_rows)

    def _energy_of(
        self, during: Mapping[str, Any], hardware: Mapping[NodeKey, Known], rest: AtRest
    ) -> tuple[pa.Table, pa.Table]:
        kernel = self._series.query(series_queries.KERNEL_WINDOWS, during)
        workloads = self._series.query(series_queries.WORKLOAD_WINDOWS, during)
        nodes, row = node_windows(kernel, workloads, self._window / timedelta(seconds=1))
        return energy_tables(nodes, self._powers(nodes, during, hardware, rest), workloads, row)

    def _span(self, now: datetime) -> tuple[datetime, datetime] | None:
        last = _floor(now - SETTLE, self._window)
        done = self._series.query(series_queries.WATERMARK).to_pylist()[0]
        if done["n"] and self._mine["buckets"]:
            back = {"start": done["newest"] - BACK, **self._mine}
            done = self._series.query(series_queries.WATERMARK_OF_WORKER, back).to_pylist()[0]
        newest = done["newest"] if done["n"] else last - LATEST
        waiting = self._series.query(series_queries.OLDEST_SAMPLE, {"start": newest, **self._mine}).to_pylist()[0]
        first = _floor(newest - AGAIN, self._window)
        if waiting["n"]:
            after = _floor(waiting["oldest"] - RESOLUTION, self._window)
            first = after if after - newest > AGAIN or not done["n"] else first
        elif not done["n"] or last - newest > AGAIN:
            return None
        return (first, min(last, first + AT_ONCE)) if last > first else None

    def _powers(
        self, nodes: pa.Table, during: Mapping[str, Any], hardware: Mapping[NodeKey, Known], rest: AtRest
    ) -> list[NodePower]:
        """Of each row of `nodes`, which come ordered by node."""
        now: datetime = during["end"]
        readings: dict[NodeKey, dict[int, list[ZoneReading]]] = defaultdict(lambda: defaultdict(list))
        for tenant, host, end, reading in zone_readings(self._series.query(series_queries.METER_WINDOWS, during)):
            readings[tenant, host][end].append(reading)
        unknown = (NodeHardware(), self._curve(NodeHardware()))
        keys = zip(nodes["tenant"].to_pylist(), nodes["host"].to_pylist(), strict=True)
        ends = milliseconds(nodes["window_end"]).to_pylist()
        busy, seen, covered = (
            _floats(nodes, name) for name in ("busy_cpu_seconds", "seen_cpu_seconds", "covered_seconds")
        )
        used = np.where(np.isnan(busy), seen, busy) / covered
        powers: list[NodePower] = []
        for key, rows in groupby(keys):
            these = slice(len(powers), len(powers) + sum(1 for _ in rows))
            known, curve = hardware.get(key, unknown)
            threads = known.threads or self._model.typical_threads
            at_rest = {tier: (watts, cores / threads) for tier, (watts, cores) in rest.get(key, {}).items()}
            taught = self._calibrations.of(key, known)
            zones = [readings[key].get(end, []) for end in ends[these]]
            if at_rest and not all(zones):
                taught[LOAD_SOURCE] = self._loads.of(key, min(at_rest, key=lambda tier: tier.rank), curve, threads, now)
            seconds = [end / 1000 for end in ends[these]]
            powers += node_powers(zones, curve, used[these] / threads, at_rest, taught, seconds)
        return [
            replace(power, source=power.source + NO_KERNEL) if unseen else power
            for power, unseen in zip(powers, np.isnan(busy).tolist(), strict=True)
        ]

    def _hardware(self) -> dict[NodeKey, Known]:
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
            found[row["tenant"], row["host"]] = (known, self._curve(known))
        return found

    def _curve(self, known: NodeHardware) -> PowerCurve:
        """Of a kind of node: a fleet has few kinds."""
        if known not in self._curves:
            self._curves[known] = self._model.curve(known)
        return self._curves[known]

    def _rest(self, now: datetime) -> AtRest:
        """Lowest watts of each node by tier, and the busy cores at its quietest."""
        found: dict[NodeKey, dict[Tier, tuple[float, float]]] = defaultdict(dict)
        parameters = {"start": now - REST_HISTORY, **self._mine}
        for row in self._series.query(series_queries.IDLE_AT_REST, parameters).to_pylist():
            found[row["tenant"], row["host"]][Tier(row["told_tier"])] = (row["idle_watts"], row["busy_cores"])
        return found


class _Gathered:
    """Rows that are stored some hundred thousand at a time."""

    def __init__(self, series: Series, table: str) -> None:
        self._series, self._table = series, table
        self._parts: list[pa.Table] = []

    def add(self, part: pa.Table) -> None:
        self._parts.append(part)
        if sum(it.num_rows for it in self._parts) >= ROWS_OF_INSERT:
            self.put()

    def put(self) -> None:
        if self._parts:
            self._series.insert_derived(self._table, pa.concat_tables(self._parts))
            self._parts.clear()


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
    by_kernel[of_kernel] = _floats(kernel, "covered_seconds")
    busy[of_kernel] = _floats(kernel, "busy_cpu_seconds")
    np.maximum.at(by_rows, of_rows, _floats(workloads, "covered_seconds"))
    seen = np.bincount(of_rows, _floats(workloads, "cpu_seconds"), len(unique))
    covered = np.where(by_kernel > 0, by_kernel, np.minimum(by_rows, window_seconds))
    found = covered > 0
    place = np.where(found, np.cumsum(found) - 1, -1)
    nodes = both.take(pa.array(first[found]))
    for name, values in (("covered_seconds", covered), ("busy_cpu_seconds", busy), ("seen_cpu_seconds", seen)):
        nodes = nodes.append_column(name, pa.array(values[found]))
    return nodes, place[of_rows]


def energy_tables(
    nodes: pa.Table, powers: list[NodePower], workloads: pa.Table, row: Indexes
) -> tuple[pa.Table, pa.Table]:
    """The rows of `node_energy` and `workload_energy`. Workload rows of a window without a node row are left out:
    they come again when the node's row has arrived."""
    seconds = _floats(nodes, "covered_seconds")
    watts, low, high = (
        np.array([getattr(power.watts, end) for power in powers], dtype=np.float64)
        for end in ("value", "lower", "upper")
    )
    idle = np.array([power.idle_watts for power in powers], dtype=np.float64)
    workloads, at = workloads.filter(pa.array(row >= 0)), row[row >= 0]
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
            "tier": pa.array([power.tier.value for power in powers]).take(pa.array(at)),
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

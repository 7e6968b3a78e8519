"""The analyzer: every few seconds it turns the newest windows into energy, and now and then into advice.

`run_once` finds its place from what it has already written, so a restart goes on where it stopped, and does the last
windows again, so that late rows count (the derived tables replace a row of the same key). Where nothing was sampled
for a while it steps over the gap. Once a minute `catch_up` looks for windows of an hour back that arrived late: a
node with a spool to empty. The arithmetic is in `analyze/`; `services/advisor.py` asks the strategies.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from energy_orchestrator.analyze.estimator import NodeHardware, PowerCurve, PowerModel
from energy_orchestrator.analyze.meter_answers import ZoneReading
from energy_orchestrator.analyze.node_power import NodePower, node_powers
from energy_orchestrator.analyze.taught_meters import LOAD_SOURCE
from energy_orchestrator.services import guest_queries, series_queries
from energy_orchestrator.services.calibrations import HISTORY, Calibrations, NodeKey, milliseconds, zone_readings
from energy_orchestrator.services.energy_parts import EnergyParts
from energy_orchestrator.services.energy_tables import energy_tables, floats, node_windows
from energy_orchestrator.services.guests import with_hosts_share
from energy_orchestrator.services.load_calibrations import LoadCalibrations
from energy_orchestrator.services.node_hardware import UNKNOWN, HardwareHistory, hardware_history
from energy_orchestrator.services.rest_powers import RestPowers
from energy_orchestrator.services.series import DerivedSeries, rows_of, window_edge
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

NO_KERNEL = "; no CPU time from the kernel's meter, the process rows stand for it"


class Analyzer:
    """See the module. `worker` says which hosts are its own, where several share the work."""

    def __init__(
        self,
        series: DerivedSeries,
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
        self._parts = EnergyParts(series, self._mine)
        self._rest = RestPowers(series, self._mine)
        self._loads = LoadCalibrations(series)
        self._curves: dict[NodeHardware, PowerCurve] = {}
        self._worked_to: datetime | None = None
        self._caught_up: datetime | None = None

    def run_once(self) -> int:
        """Work on the windows that are over; how many node-windows were written. Calling it often costs nothing: it
        does something once a window."""
        now = self._clock()
        if self._worked_to == window_edge(now - SETTLE, self._window):
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
        last = window_edge(now - AGAIN, self._window)
        missed = rows_of(self._series, series_queries.MISSED_WINDOWS, self._during(last - LATEST, last))[0]
        if not missed["n"]:
            return 0
        first = missed["first"] - self._window
        return self._work_on(first, min(missed["last"], first + AT_ONCE), now)

    def work_through(self, start: datetime, end: datetime, tick: Tick = silent) -> int:
        """Work on all windows of a span at once: the batch of an hour. How many node-windows were written.

        What was at rest in the span itself counts from the next run on, as with the windows that `run_once` does
        together."""
        return self._work_on(window_edge(start, self._window), window_edge(end, self._window), end, tick)

    def work_on_guests(self, start: datetime, end: datetime) -> int:
        """Work on the virtual machines of a span again, after their hosts' workers are done with them."""
        during = self._during(window_edge(start, self._window), window_edge(end, self._window))
        _, guests = self._hosts(during)
        return self._work_on_hosts(guests, during, self._known(start, end), guests=True) if guests.num_rows else 0

    def _during(self, start: datetime, end: datetime) -> dict[str, Any]:
        return {"start": start, "end": end, "window_ms": self._window.total_seconds() * 1000, **self._mine}

    def _work_on(self, start: datetime, end: datetime, now: datetime, tick: Tick = silent) -> int:
        during = self._during(start, end)
        machines, guests = self._hosts(during)
        if machines.num_rows + guests.num_rows == 0:
            return 0
        known = self._known(start, now)
        # A guest's energy is what its host gave it.
        written = self._work_on_hosts(machines, during, known, tick=tick) if machines.num_rows else 0
        return written + (self._work_on_hosts(guests, during, known, guests=True) if guests.num_rows else 0)

    def _hosts(self, during: Mapping[str, Any]) -> tuple[pa.Table, pa.Table]:
        """Hosts with samples in the span, and those of them that are virtual machines of a host that is watched."""
        hosts = self._series.query(series_queries.HOSTS_OF_SPAN, during)
        found = self._series.query(guest_queries.GUESTS, {"start": during["start"]})
        guests = set(zip(found["tenant"].to_pylist(), found["host"].to_pylist(), strict=True))
        keys = zip(hosts["tenant"].to_pylist(), hosts["host"].to_pylist(), strict=True)
        is_guest = pa.array([key in guests for key in keys], pa.bool_())
        return hosts.filter(pc.invert(is_guest)), hosts.filter(is_guest)

    def _work_on_hosts(
        self, hosts: pa.Table, during: Mapping[str, Any], known: _Known, *, guests: bool = False, tick: Tick = silent
    ) -> int:
        tenants, names, rows = (hosts[name].to_pylist() for name in ("tenant", "host", "n"))
        parts = list(packs(tenants, names, rows, ROWS_AT_ONCE))
        node_tables: list[pa.Table] = []
        gathered = _Gathered(self._series, "workload_energy")
        for place, pack in enumerate(parts):
            tick(place, len(parts))
            nodes, workloads = self._energy_of({**during, **pack.parameters}, known, guests)
            node_tables.append(nodes)
            gathered.add(workloads)
        gathered.put()
        # Last and together: where they are, all is done up to there.
        nodes = pa.concat_tables(node_tables)
        self._series.insert_derived("node_energy", nodes)
        tick(len(parts), len(parts))
        return int(nodes.num_rows)

    def _energy_of(self, during: Mapping[str, Any], known: _Known, guests: bool) -> tuple[pa.Table, pa.Table]:
        kernel = self._series.query(series_queries.KERNEL_WINDOWS, during)
        by_clock = (pc.max(kernel["uneven"]).as_py() or 0) > 0
        workloads = self._series.query(
            series_queries.WORKLOAD_WINDOWS_BY_CLOCK if by_clock else series_queries.WORKLOAD_WINDOWS, during
        )
        nodes, row = node_windows(kernel, workloads, self._window / timedelta(seconds=1))
        # Workload rows of a window without a node row come again when the node's row has arrived.
        workloads, row = workloads.filter(pa.array(row >= 0)), row[row >= 0]
        meters = self._series.query(series_queries.METER_WINDOWS, during)
        powers = self._powers(nodes, meters, known)
        if guests:
            powers = with_hosts_share(nodes, powers, self._series, during)
        workloads, row, apart = self._parts.with_gpus(nodes, workloads, row, meters, during)
        apart += self._parts.memory(nodes, workloads, row, meters)
        return energy_tables(nodes, powers, workloads, row, apart)

    def _span(self, now: datetime) -> tuple[datetime, datetime] | None:
        last = window_edge(now - SETTLE, self._window)
        done = rows_of(self._series, series_queries.WATERMARK)[0]
        if done["n"] and self._mine["buckets"]:
            back = {"start": done["newest"] - BACK, **self._mine}
            done = rows_of(self._series, series_queries.WATERMARK_OF_WORKER, back)[0]
        newest = done["newest"] if done["n"] else last - LATEST
        waiting = rows_of(self._series, series_queries.OLDEST_SAMPLE, {"start": newest, **self._mine})[0]
        first = window_edge(newest - AGAIN, self._window)
        if waiting["n"]:
            after = window_edge(waiting["oldest"] - RESOLUTION, self._window)
            first = after if after - newest > AGAIN or not done["n"] else first
        elif not done["n"] or last - newest > AGAIN:
            return None
        return (first, min(last, first + AT_ONCE)) if last > first else None

    def _powers(self, nodes: pa.Table, meters: pa.Table, known: _Known) -> list[NodePower]:
        """Of each row of `nodes`, which come ordered by node."""
        readings: dict[NodeKey, dict[int, list[ZoneReading]]] = defaultdict(lambda: defaultdict(list))
        for tenant, host, end, reading in zone_readings(meters):
            readings[tenant, host][end].append(reading)
        keys = zip(nodes["tenant"].to_pylist(), nodes["host"].to_pylist(), strict=True)
        ends = milliseconds(nodes["window_end"]).to_pylist()
        busy, seen, covered = (
            floats(nodes, name) for name in ("busy_cpu_seconds", "seen_cpu_seconds", "covered_seconds")
        )
        used = np.where(np.isnan(busy), seen, busy) / covered
        machines = [
            (key, known.hardware.at(key, datetime.fromtimestamp(end / 1000, UTC) - self._window / 2))
            for key, end in zip(keys, ends, strict=True)
        ]
        powers: list[NodePower] = []
        for (key, hardware), rows in groupby(machines):
            these = slice(len(powers), len(powers) + sum(1 for _ in rows))
            threads = hardware.threads or self._model.typical_threads
            curve = self._curve(hardware)
            seen_at_rest = self._rest.of(key) if known.present.get(key, UNKNOWN) == hardware else {}
            at_rest = {tier: it.at_rest(threads, curve) for tier, it in seen_at_rest.items()}
            taught = self._calibrations.of(key, hardware)
            zones = [readings[key].get(end, []) for end in ends[these]]
            if at_rest and any(not it or any(one.watts is None for one in it) for it in zones):
                best, since = min(at_rest, key=lambda tier: tier.rank), known.changed.get(key)
                taught[LOAD_SOURCE] = self._loads.of(key, best, curve, threads, known.now, since)
            seconds = [end / 1000 for end in ends[these]]
            boards = self._parts.boards_at_rest(key)
            powers += node_powers(zones, curve, used[these] / threads, at_rest, taught, seconds, boards)
        return [
            replace(power, source=power.source + NO_KERNEL) if unseen else power
            for power, unseen in zip(powers, np.isnan(busy).tolist(), strict=True)
        ]

    def _known(self, start: datetime, now: datetime) -> _Known:
        """What is known of nodes before their windows are looked at."""
        back = {"start": min(start, now) - HISTORY}
        hardware = hardware_history(self._series.query(series_queries.NODE_HARDWARE, back))
        present, changed = hardware.present(), hardware.changed()
        self._calibrations.refresh(now, present, changed)
        self._parts.refresh(now)
        self._rest.refresh(now, changed)
        return _Known(now, hardware, present, changed)

    def _curve(self, known: NodeHardware) -> PowerCurve:
        """Of a kind of node: a fleet has few kinds."""
        if known not in self._curves:
            self._curves[known] = self._model.curve(known)
        return self._curves[known]


@dataclass(frozen=True, slots=True)
class _Known:
    """Of nodes: which machines they were, which they are, and since when those that changed."""

    now: datetime
    hardware: HardwareHistory
    present: Mapping[NodeKey, NodeHardware]
    changed: Mapping[NodeKey, datetime]


class _Gathered:
    """Rows that are stored some hundred thousand at a time."""

    def __init__(self, series: DerivedSeries, table: str) -> None:
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

"""SIMULATED telemetry of a fleet, an hour of it, written into a series store as a collector would: minute by minute.

In: how many nodes, containers on each, a seed. Out: rows of every kind that the analyzer reads, columnar, through the
product's own `insert`. Raw samples every 10 s of one process in each container, no rollup. Nothing here was measured:
the figures are drawn so that rows have the shape, the number and the order of arrival of real ones, and so that some
workloads waste energy in ways that strategies look for. Columns that no analysis reads (container ids and the like)
are NULL.

Three nodes of ten are virtual machines without a meter, six have RAPL, one RAPL and a BMC asked once a minute. A
workload has about 20 replicas; every third counts operations (scraped once a minute); one node in 50 is profiled; the
first `DECLARED` workloads of a tenant are declared. Four tenants have 40, 30, 20 and 10 % of the nodes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from energy_orchestrator.model.wire import Kind
from energy_orchestrator.model.workload import Declaration, WorkloadFile
from energy_orchestrator.store.series.chdb_store import ChdbSeriesStore
from energy_orchestrator.store.series.port import SeriesStore
from energy_orchestrator.store.series.rows import stored_schema

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

INTERVAL, TICKS, MINUTES = 10.0, 6, 60
TENANTS = {"tenant-a": 0.4, "tenant-b": 0.3, "tenant-c": 0.2, "tenant-d": 0.1}
REPLICAS = 20
DECLARED = 10
CHUNK_NODES = 1000
"""Nodes of one insert: 180,000 rows."""
CPUS = (("AMD EPYC 7763 64-Core Processor", 128), ("Intel(R) Xeon(R) Gold 6454S", 64), ("AMD EPYC 9354P", 64))
STACKS = [["_start", "main", "serve", name] for name in ("parse", "lookup", "memcpy", "deflate_slow", "epoll_wait")]


@dataclass(frozen=True, slots=True)
class Fleet:
    """`start` is on a minute; the telemetry is of `minutes` from then on."""

    nodes: int
    start: datetime
    containers: int = 30
    minutes: int = MINUTES
    seed: int = 7

    @property
    def end(self) -> datetime:
        """Of the last window."""
        return self.start + timedelta(minutes=self.minutes)

    @property
    def samples(self) -> int:
        """Rows of processes."""
        return self.nodes * self.containers * TICKS * self.minutes


def last_hour() -> datetime:
    """A start whose hour is over: the store drops what is older than its tables keep."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    return now - timedelta(minutes=MINUTES + 1)


def declarations() -> dict[tuple[str, str], Declaration]:
    """Of the first workloads of each tenant: every one has a batch size to turn."""
    knobs = {"BATCH_MAX": {"meaning": "batch_size", "allowed": ["1", "4", "8", "16"]}}
    file = WorkloadFile.model_validate(
        {
            "workloads": [
                {
                    "name": f"app-{number}", "command": ["x"], "replicas": REPLICAS, "environment": {"BATCH_MAX": "1"},
                    "knobs": knobs, "operations": {"prometheus": "http://127.0.0.1:{port}/metrics"},
                }
                for number in range(DECLARED)
            ]
        }
    )  # fmt: skip
    return {(tenant, it.key): it for tenant in TENANTS for it in file.workloads}


class _Chunk:
    """Some nodes: what does not change, and the rows of a minute."""

    def __init__(self, fleet: Fleet, first: int, last: int) -> None:
        self._fleet, self._random = fleet, np.random.default_rng([fleet.seed, first])
        nodes = np.arange(first, last)
        self._nodes = nodes
        edges = np.cumsum([share * fleet.nodes for share in TENANTS.values()])
        place = np.minimum(np.searchsorted(edges, nodes, side="right"), len(TENANTS) - 1)
        begin = np.concatenate([[0], np.ceil(edges[:-1])]).astype(np.int64)
        size = np.diff(np.concatenate([begin, [fleet.nodes]]))
        self.tenant = pa.array(list(TENANTS)).take(pa.array(place))
        self.host = pa.array([f"node-{node:05d}" for node in nodes])
        self._kind = nodes % 10
        self.threads = np.array([threads for _, threads in CPUS])[nodes % len(CPUS)]
        count = fleet.containers
        self._of = np.repeat(np.arange(len(nodes)), count)
        inside = (nodes - begin[place])[self._of] * count + np.tile(np.arange(count), len(nodes))
        workloads = np.maximum(1, size[place][self._of] * count // REPLICAS)
        self.workload_number = inside % workloads
        replica = inside // workloads
        declared = self.workload_number < DECLARED
        names = [
            f"declared/app-{number}" if mine else f"kubernetes/shop/Deployment/app-{number}"
            for number, mine in zip(self.workload_number, declared, strict=True)
        ]
        self.workload = pa.array(names)
        self.workload_kind = pa.array(np.where(declared, "declared", "kubernetes"))
        self.replica = pa.array([f"app-{a}-{b}" for a, b in zip(self.workload_number, replica, strict=True)])
        self.pid = pa.array(np.tile(np.arange(1000, 1000 + count), len(nodes)), pa.int32())
        draw = self._random
        load = draw.uniform(0.1, 0.6, len(nodes))
        part = draw.lognormal(0.0, 1.0, (len(nodes), count))
        self._cores = (part / part.sum(axis=1, keepdims=True) * (self.threads * load)[:, None]).ravel()
        self._wasteful = self.workload_number % 50 == 11
        self._memory = draw.integers(20, 4000, len(names)) * 2**20
        self._counts = np.flatnonzero(self.workload_number % 3 == 0)
        self._phase = draw.uniform(0, 2 * np.pi, len(names))
        self._busy = np.zeros(len(nodes))

    def inventory(self) -> pa.Table:
        """Every node and every process once."""
        node = {
            "scope": pa.array(["node"] * len(self.host)),
            "cpu_model": pa.array([CPUS[node % len(CPUS)][0] for node in self._nodes]),
            "cpu_threads": pa.array(self.threads, pa.int32()),
            "cores": pa.array(self.threads // 2, pa.int32()),
            "sockets": pa.array(np.ones(len(self.host)), pa.int32()),
            "memory_bytes": pa.array(self.threads * 4 * 2**30, pa.int64()),
            "virtual": pa.array(self._kind >= 7),
        }
        at = pa.array([self._fleet.start] * len(self.host), pa.timestamp("ms", "UTC"))
        nodes = _table(
            Kind.INVENTORY, len(self.host), node | {"timestamp": at, "tenant": self.tenant, "host": self.host}
        )
        of = pa.array(self._of)
        libraries = pa.array([["openblas"] if it else ["libc"] for it in self._wasteful])
        process = {
            "scope": pa.array(["process"] * len(of)),
            "timestamp": at.take(of),
            "tenant": self.tenant.take(of),
            "host": self.host.take(of),
            "workload": self.workload,
            "workload_kind": self.workload_kind,
            "replica": self.replica,
            "pid": self.pid,
            "process_started_ms": self._started(len(of)),
            "image": self.workload,
            "language": pa.array(["python"] * len(of)),
            "libraries": libraries,
        }
        return pa.concat_tables([nodes, _table(Kind.INVENTORY, len(of), process)])

    def minute(self, number: int) -> Iterator[tuple[Kind, pa.Table]]:
        """All rows of a minute."""
        draw, fleet = self._random, self._fleet
        wave = 1 + 0.3 * np.sin(self._phase + 2 * np.pi * number / MINUTES)
        cores = self._cores * wave * draw.uniform(0.8, 1.2, (TICKS, len(self._cores)))
        cpu = np.round(cores * INTERVAL, 2)  # clock ticks
        starts = np.arange(0, len(self._cores), fleet.containers)
        self._busy = np.add.reduceat(cpu, starts, axis=1) * 1.08
        yield Kind.SAMPLES, self._samples(number, cpu)
        yield Kind.METERS, self._meters(number)
        yield Kind.OPERATIONS, self._operations(number, cpu)
        profiled = np.flatnonzero(self._nodes[self._of] % 50 == 0)
        if profiled.size:
            yield Kind.PROFILES, self._profiles(number, profiled)

    def _at(self, number: int, ticks: Integers, each: int) -> pa.Array:
        begin = int(self._fleet.start.timestamp() * 1000) + number * 60_000
        return pa.array(np.repeat(begin + ticks * int(INTERVAL * 1000), each), pa.timestamp("ms", "UTC"))

    def _started(self, count: int) -> pa.Array:
        return pa.array(np.full(count, int(self._fleet.start.timestamp() * 1000) - 86_400_000))

    def _samples(self, number: int, cpu: Floats) -> pa.Table:
        many = np.tile(np.arange(cpu.shape[1]), TICKS)
        used = cpu.ravel()
        of, it = pa.array(self._of[many]), pa.array(many)
        waits = np.where(self._wasteful[many], used * 20, used * 900).astype(np.int64)
        threads = np.where(self._wasteful, 4 * self.threads[self._of], 8)[many]
        columns = {
            "timestamp": self._at(number, np.arange(1, TICKS + 1), cpu.shape[1]),
            "tenant": self.tenant.take(of),
            "host": self.host.take(of),
            "workload": self.workload.take(it),
            "workload_kind": self.workload_kind.take(it),
            "replica": self.replica.take(it),
            "pid": self.pid.take(it),
            "process_started_ms": self._started(len(many)),
            "command": pa.array(["python"]).take(pa.array(np.zeros(len(many), np.int8))),
            "cpu_seconds": pa.array(used),
            "cpu_pct": pa.array(used * (100 / INTERVAL)),
            "cpus_allowed": pa.array(self.threads[self._of[many]].astype(np.float64)),
            "mem_bytes": pa.array(self._memory[many]),
            "threads": pa.array(threads, pa.int32()),
            "voluntary_switches": pa.array(waits),
            "involuntary_switches": pa.array(np.where(self._wasteful[many], 4000, 10)),
        }
        return _table(Kind.SAMPLES, len(many), columns)

    def _meters(self, number: int) -> pa.Table:
        ticks, nodes = np.arange(1, TICKS + 1), len(self._nodes)
        busy = self._busy
        watts = 45 + self.threads * 0.4 + 2.2 * busy / INTERVAL
        parts = [self._meter(number, ticks, np.arange(nodes), "kernel", "cpu", None, {"busy_cpu_seconds": busy})]
        rapl = np.flatnonzero(self._kind < 7)
        for zone, share in (("package-0", 0.8), ("dram", 0.2)):
            joules = {"energy_joules": share * INTERVAL * watts[:, rapl]}
            parts.append(self._meter(number, ticks, rapl, "rapl", zone, "on_die", joules))
        bmc = np.flatnonzero(self._kind == 6)
        reading = {"power_watts": np.round(1.25 * watts[:, bmc].mean(axis=0, keepdims=True) + 40)}
        minute = {"interval_seconds": np.full(len(bmc), 60.0)}
        return pa.concat_tables(
            [*parts, self._meter(number, ticks[-1:], bmc, "redfish", "node", "bmc", reading | minute)]
        )

    def _meter(
        self,
        number: int,
        ticks: Integers,
        of: Integers,
        meter: str,
        zone: str,
        tier: str | None,
        told: dict[str, Floats],
    ) -> pa.Table:
        many = pa.array(np.tile(of, len(ticks)))
        same = {"meter": meter, "zone": zone, "tier": tier}
        columns: dict[str, Any] = {
            "timestamp": self._at(number, ticks, len(of)),
            "tenant": self.tenant.take(many),
            "host": self.host.take(many),
            **{name: pa.array([value] * len(many), pa.string()) for name, value in same.items()},
            **{name: pa.array(values.ravel()) for name, values in told.items()},
        }
        return _table(Kind.METERS, len(many), columns)

    def _operations(self, number: int, cpu: Floats) -> pa.Table:
        it, of = pa.array(self._counts), pa.array(self._of[self._counts])
        done = np.round(cpu.sum(axis=0)[self._counts] * 25)
        columns = {
            "timestamp": self._at(number, np.array([TICKS]), len(it)),
            "tenant": self.tenant.take(of),
            "host": self.host.take(of),
            "interval_seconds": pa.array(np.full(len(it), 60.0)),
            "workload": self.workload.take(it),
            "replica": self.replica.take(it),
            "operations": pa.array(done),
            "operation": pa.array(["request"] * len(it)),
            "source": pa.array(["prometheus"] * len(it)),
            "errors": pa.array(np.zeros(len(it))),
            "latency_p95_seconds": pa.array(self._random.uniform(0.01, 0.05, len(it))),
            "queue_depth": pa.array(self._random.integers(0, 16, len(it)).astype(np.float64)),
        }
        return _table(Kind.OPERATIONS, len(it), columns)

    def _profiles(self, number: int, profiled: Integers) -> pa.Table:
        many = np.repeat(profiled, len(STACKS))
        stack = np.tile(np.arange(len(STACKS)), len(profiled))
        hot = (self.workload_number[many] % 40 == 7) & (stack == 3)
        kept = (stack != 3) | hot
        many, stack, hot = many[kept], stack[kept], hot[kept]
        of, it = pa.array(self._of[many]), pa.array(many)
        columns = {
            "timestamp": self._at(number, np.array([TICKS]), len(many)),
            "tenant": self.tenant.take(of),
            "host": self.host.take(of),
            "interval_seconds": pa.array(np.full(len(many), 60.0)),
            "workload": self.workload.take(it),
            "workload_kind": self.workload_kind.take(it),
            "replica": self.replica.take(it),
            "pid": self.pid.take(it),
            "process_started_ms": self._started(len(many)),
            "stack": pa.array(STACKS).take(pa.array(stack)),
            "sample_count": pa.array(np.where(hot, 200, 100)),
            "frequency_hz": pa.array(np.full(len(many), 19.0)),
        }
        return _table(Kind.PROFILES, len(many), columns)


def write(store: SeriesStore, fleet: Fleet, bar: Progress | None = None) -> int:
    """All of it; how many rows."""
    chunks = [_Chunk(fleet, at, min(at + CHUNK_NODES, fleet.nodes)) for at in range(0, fleet.nodes, CHUNK_NODES)]
    rows, task = 0, bar.add_task(f"simulating {fleet.nodes} nodes", total=fleet.minutes) if bar else None
    for chunk in chunks:
        table = chunk.inventory()
        store.insert(Kind.INVENTORY, table)
        rows += table.num_rows
    for minute in range(fleet.minutes):
        for chunk in chunks:
            for kind, table in chunk.minute(minute):
                store.insert(kind, table)
                rows += table.num_rows
        if bar and task is not None:
            bar.advance(task)
    return rows


def _table(kind: Kind, rows: int, columns: dict[str, Any]) -> pa.Table:
    schema = stored_schema(kind)
    same = {"interval_seconds": pa.array(np.full(rows, INTERVAL)), "batch_id": pa.array(["simulated"] * rows)}
    given = same | columns
    for name in ("capabilities", "missing", "libraries", "labels", "runtime_settings", "gpus"):
        given.setdefault(name, pa.array([[]] * rows, pa.list_(pa.string())))
    made = [
        pc.cast(given[field.name], field.type) if field.name in given else pa.nulls(rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(made, schema=schema)


def main() -> None:
    """Into a folder: a process of its own, since chDB belongs to one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--start", type=datetime.fromisoformat, default=last_hour())
    options = parser.parse_args()
    console = Console(stderr=True)
    with ChdbSeriesStore(options.folder) as store, Progress(console=console) as bar:
        store.migrate()
        rows = write(store, Fleet(options.nodes, options.start), bar)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and store.query("SELECT count() AS n FROM system.merges").to_pylist()[0]["n"]:
            time.sleep(1)
        parts = "SELECT count() AS n, sum(bytes_on_disk) AS bytes FROM system.parts WHERE active"
        held = store.query(parts).to_pylist()[0]
    print(f"{rows} {held['n']} {held['bytes']}")


if __name__ == "__main__":
    main()

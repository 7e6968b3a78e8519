"""A small data centre in rows: nodes with processes, meters and operations, put into a real series store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from energy_orchestrator.model.wire import Kind
from energy_orchestrator.store.series.port import SeriesStore
from energy_orchestrator.store.series.rows import stored_schema

# The real time: the store drops what is older than its tables keep. On a window's edge.
START = datetime.fromtimestamp(datetime.now(UTC).timestamp() // 5 * 5 - 300, UTC)
COMMON: Mapping[str, Any] = {"tenant": "local", "host": "node-a", "interval_seconds": 1.0, "batch_id": "b"}
PROCESS: Mapping[str, Any] = {
    "workload_kind": "declared", "pid": 100, "process_started_ms": 1, "command": "python", "cpu_pct": 0.0,
    "cpus_allowed": 2.0, "mem_bytes": 50_000_000, "threads": 1, "voluntary_switches": 100, "involuntary_switches": 1,
}  # fmt: skip
KERNEL: Mapping[str, Any] = {"meter": "kernel", "zone": "cpu", "busy_cpu_seconds": 1.0, "steal_cpu_seconds": 0.0}
OPERATION: Mapping[str, Any] = {"operations": 10.0, "operation": "request", "source": "prometheus", "errors": 0.0}
ON_GPU: Mapping[str, Any] = {
    "gpu": "GPU-a", "zone": "gpu-a", "workload_kind": "declared", "pid": 100, "process_started_ms": 1,
    "memory_bytes": 10**9,
}  # fmt: skip
NODE: Mapping[str, Any] = {
    "scope": "node", "cpu_threads": 2, "cores": 1, "sockets": 1, "cpu_mhz": 2600.0, "memory_bytes": 8_000_000_000,
    "virtual": True, "capabilities": [], "missing": [], "libraries": [],
}  # fmt: skip


@dataclass
class World:
    """Collects rows; `put` stores them."""

    store: SeriesStore
    rows: dict[Kind, list[dict[str, Any]]] = field(default_factory=dict)

    def add(self, kind: Kind, second: float, **values: Any) -> None:
        """One row that ends `second` seconds after START."""
        base = {
            Kind.SAMPLES: PROCESS, Kind.METERS: KERNEL, Kind.OPERATIONS: OPERATION, Kind.INVENTORY: NODE,
            Kind.PROFILES: {}, Kind.COUNTERS: {}, Kind.GPU_PROCESSES: ON_GPU,
        }[kind]  # fmt: skip
        row = {**COMMON, **base, "timestamp": START + timedelta(seconds=second), **values}
        if kind is Kind.SAMPLES:
            row["cpu_pct"] = 100 * row["cpu_seconds"] / row["interval_seconds"]
        self.rows.setdefault(kind, []).append(row)

    def put(self) -> None:
        """Store what was collected."""
        for kind, rows in self.rows.items():
            schema = stored_schema(kind)
            self.store.insert(
                kind, pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in rows], schema)
            )
        self.rows.clear()

    def steady(self, seconds: int, cpu: Mapping[str, float], *, first: int = 1, busy: float | None = None) -> None:
        """Rows of each second: each workload of `cpu` uses so many cores; `busy` is what the kernel counted."""
        for second in range(first, first + seconds):
            for pid, (workload, cores) in enumerate(cpu.items(), start=100):
                self.add(Kind.SAMPLES, second, workload=workload, cpu_seconds=cores, pid=pid)
            self.add(Kind.METERS, second, busy_cpu_seconds=sum(cpu.values()) if busy is None else busy)

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Rows of a statement."""
        found: list[dict[str, Any]] = self.store.query(sql).to_pylist()
        return found


@dataclass
class Clock:
    """Shows what it is set to, in seconds after START."""

    second: float = 0.0

    def __call__(self) -> datetime:
        return START + timedelta(seconds=self.second)

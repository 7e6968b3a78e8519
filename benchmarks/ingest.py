"""Ingest: JetStream to queryable rows through the collector, against chDB taking the same Arrow batches directly.

    python -m benchmarks.ingest [--batches 200]

Publishes batches of 2,000 realistic samples to a real NATS server (synced writes), lets the collector drain them,
and counts the rows by a query. The other side is the same rows, unpacked beforehand, inserted in gathers of the same
size into an equal table. Both run in this process, in turns, since other work on the machine slows both; the ratio
is the median over the turns, the rates are those of the best turn. The bar is 0.5: checks, bus and settling may cost
as much as storing, not more. The number of batches is rounded up to whole gathers: the collector waits half a second
for a gather to fill, which is latency and not speed. `cpu_ratio` is the same ratio in CPU time of this process, which
a busy machine disturbs less. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import numpy as np
import psutil
import pyarrow as pa

from benchmarks.machine import describe
from energy_orchestrator.ingest.encode import EncodedBatch, encode
from energy_orchestrator.ingest.nats_bus import NatsBus, NatsLogin
from energy_orchestrator.ingest.validation import ValidBatch, validate
from energy_orchestrator.model.wire import Kind, arrow_schema
from energy_orchestrator.services.collector import Collector, Limits, together
from energy_orchestrator.services.nats_server import NatsServer
from energy_orchestrator.store.series.chdb_store import ChdbSeriesStore

ROWS = 2_000
GATHER = Limits().max_rows // ROWS
PROGRAMS = ["python3:server.py", "postgres", "nginx", "java:app.jar", "node:index.js", "redis-server", "kworker"]


def samples(host: str, at: datetime, random: np.random.Generator) -> pa.Table:
    """What a busy node of 200 processes says in ten seconds: few names, noisy numbers, many NULLs."""
    program = random.integers(0, len(PROGRAMS), ROWS)
    times = [at + timedelta(seconds=second) for second in range(10) for _ in range(ROWS // 10)]
    profiled = random.random(ROWS) < 0.3
    pid = np.tile(np.arange(1000, 1000 + ROWS // 10), 10)
    columns: dict[str, object] = {
        "timestamp": times,
        "tenant": ["local"] * ROWS,
        "host": [host] * ROWS,
        "interval_seconds": np.ones(ROWS),
        "workload": [f"process/{PROGRAMS[index]}" for index in program],
        "workload_kind": ["process"] * ROWS,
        "replica": [None] * ROWS,
        "container_id": [None] * ROWS,
        "pod_id": [None] * ROWS,
        "pid": pid,
        "process_started_ms": 1_700_000_000_000 + pid,
        "command": [PROGRAMS[index].partition(":")[0] for index in program],
        "cpu_seconds": random.exponential(0.05, ROWS).round(4),
        "cpu_pct": random.exponential(5, ROWS).round(2),
        "cpus_allowed": np.full(ROWS, 16.0),
        "mem_bytes": random.integers(1, 4_000_000, ROWS) * 4096,
        "read_bytes": [None if index % 3 else index * 4096 for index in range(ROWS)],
        "write_bytes": [None if index % 3 else index * 512 for index in range(ROWS)],
        "threads": random.integers(1, 64, ROWS),
        "voluntary_switches": random.integers(0, 5000, ROWS),
        "involuntary_switches": random.integers(0, 500, ROWS),
        "node_power_watts": random.normal(180, 5, ROWS).round(2),
        "gpu_power_watts": [None] * ROWS,
        "temp_c": random.normal(60, 2, ROWS).round(1),
        "hotspot_functions": [["main", "handle", f"f{i % 40}"] if flag else None for i, flag in enumerate(profiled)],
        "tier": ["on_die"] * ROWS,
    }
    schema = arrow_schema(Kind.SAMPLES)
    return pa.table([pa.array(columns[field.name], field.type) for field in schema], schema=schema)


def renamed(tables: Sequence[pa.Table]) -> list[EncodedBatch]:
    """The rows as messages with ids of their own, so that each round stores all of them."""
    return [encode(Kind.SAMPLES, table, batch_id=str(uuid.uuid4())) for table in tables]


@contextmanager
def empty_table(store: ChdbSeriesStore) -> Iterator[None]:
    """Before and after each round."""
    store.query("TRUNCATE TABLE telemetry_sample")
    yield
    store.query("TRUNCATE TABLE telemetry_sample")


def stored(store: ChdbSeriesStore) -> int:
    """Rows a reader finds."""
    return int(store.query("SELECT count() AS n FROM telemetry_sample")["n"][0].as_py())


def direct(store: ChdbSeriesStore, batches: Sequence[ValidBatch]) -> tuple[float, float]:
    """Seconds, and CPU seconds, for chDB to take the batches in gathers of the collector's size."""
    tables = [together(batches[at : at + GATHER]) for at in range(0, len(batches), GATHER)]
    with empty_table(store):
        start, cpu = time.perf_counter(), time.process_time()
        for table in tables:
            store.insert(Kind.SAMPLES, table)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        assert stored(store) == len(batches) * ROWS
    return seconds, cpu


async def collected(
    bus: NatsBus, store: ChdbSeriesStore, messages: Sequence[EncodedBatch]
) -> tuple[float, float, float]:
    """Seconds to publish, and seconds (and CPU seconds) from the first pull until a query finds every row."""
    with empty_table(store):
        start = time.perf_counter()
        for at in range(0, len(messages), 64):
            await asyncio.gather(*(message.publish(bus) for message in messages[at : at + 64]))
        published = time.perf_counter() - start
        stop, wanted = asyncio.Event(), len(messages) * ROWS
        collector = Collector(bus, store)
        start, cpu = time.perf_counter(), time.process_time()
        running = asyncio.create_task(collector.run(stop))
        while collector.counts.rows < wanted and not running.done():
            await asyncio.sleep(0.01)
        assert await asyncio.to_thread(stored, store) == wanted
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        stop.set()
        await running
    return published, seconds, cpu


async def measure(folder: Path, count: int, rounds: int) -> dict[str, object]:
    """All rounds."""
    count = -(-count // GATHER) * GATHER
    random, now = np.random.default_rng(7), datetime.now(UTC)
    tables = [samples(f"node-{i % 50}", now - timedelta(seconds=10 * (i // 50 + 1)), random) for i in range(count)]
    server = NatsServer(folder)
    server.start()
    try:
        bus = await NatsBus.connect(server.url, NatsLogin("eo", server.login_password_file))
        with ChdbSeriesStore(folder / "series") as store:
            store.migrate()
            published, through, straight, through_cpu, straight_cpu = [], [], [], [], []
            for _ in range(rounds):
                messages = renamed(tables)
                publish_seconds, seconds, cpu = await collected(bus, store, messages)
                published.append(publish_seconds)
                through.append(seconds)
                through_cpu.append(cpu)
                seconds, cpu = direct(store, [validate(m.subject, m.data, now=now) for m in messages])
                straight.append(seconds)
                straight_cpu.append(cpu)
            own = psutil.Process()
            figures = {
                "rows": count * ROWS,
                "bytes_a_row": round(sum(len(message.data) for message in messages) / (count * ROWS), 1),
                "publish_rows_per_second": round(count * ROWS / min(published)),
                "ingest_rows_per_second": round(count * ROWS / min(through)),
                "direct_rows_per_second": round(count * ROWS / min(straight)),
                "ratio": round(median(b / a for a, b in zip(through, straight, strict=True)), 3),
                "ratios": [round(b / a, 3) for a, b in zip(through, straight, strict=True)],
                "cpu_ratio": round(median(b / a for a, b in zip(through_cpu, straight_cpu, strict=True)), 3),
                "load_average": round(psutil.getloadavg()[0], 1),
                "process_rss_mb": round(own.memory_info().rss / 1e6),
                "nats_rss_mb": round(psutil.Process(server.pid).memory_info().rss / 1e6),
            }
        await bus.close()
    finally:
        server.stop()
    return figures


def main() -> None:
    """One run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--batches", type=int, default=200, help=f"messages of {ROWS} rows a round")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(Path(folder), given.batches, given.rounds))
    print(json.dumps({"benchmark": "ingest", **figures, "machine": describe()}))


if __name__ == "__main__":
    main()

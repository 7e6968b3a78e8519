"""A container that nobody declared, whose labels name its metrics: found in the inventory, read, and counted."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pytest

from energy_orchestrator.ingest.memory_bus import MemoryBus
from energy_orchestrator.ingest.operations_scraper import OperationsScraper
from energy_orchestrator.ingest.validation import validate
from energy_orchestrator.model.wire import Kind
from energy_orchestrator.services.annotated_targets import AnnotatedTargets
from energy_orchestrator.services.counting import Counting

from .world import Clock, World

WORKLOAD = "container/shop"


class Shop(BaseHTTPRequestHandler):
    """Shows a counter that grows by seven with each look."""

    done = 0

    def do_GET(self) -> None:
        type(self).done += 7
        body = f"# TYPE operations_total counter\noperations_total {self.done}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join(timeout=10)


def started_ms() -> int:
    """Of this process, which is the program that is read."""
    boot = re.search(r"btime (\d+)", Path("/proc/stat").read_text())
    assert boot
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return int(boot[1]) * 1000 + ticks * 1000 // os.sysconf("SC_CLK_TCK")


def known(world: World, *labels: str, workload: str = WORKLOAD, kind: str = "container", host: str = "node-a") -> None:
    world.add(
        Kind.INVENTORY, 200, scope="process", workload=workload, workload_kind=kind, pid=os.getpid(), host=host,
        process_started_ms=started_ms(), labels=list(labels),
    )  # fmt: skip
    world.put()


def looked(world: World) -> AnnotatedTargets:
    targets = AnnotatedTargets(world.store, "local", "node-a")
    targets.look()
    return targets


def test_operations_of_a_labelled_container_are_counted_as_annotation(world: World, port: int) -> None:
    known(world, "prometheus.io/scrape=true", f"prometheus.io/port={port}")
    targets = looked(world)
    assert targets.problem_of(WORKLOAD) is None

    async def rows() -> pa.RecordBatch:
        bus = MemoryBus()
        scraper = OperationsScraper(bus, "local", "node-a", targets.targets, clock=Clock(210))
        async with scraper.client() as client:
            assert await scraper.tick(client) == []
            await scraper.tick(client)
        assert scraper.problems == {}
        (delivery,) = await bus.pull(10, 0.1)
        return validate(delivery.subject, delivery.data, now=Clock(210)()).rows

    (row,) = asyncio.run(rows()).to_pylist()
    assert (row["workload"], row["source"], row["operations"], row["operation"]) == (
        WORKLOAD, "annotation", 7.0, "request",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "workload", "kind", "host"),
    [
        (["app=shop"], WORKLOAD, "container", "node-a"),
        (["prometheus.io/scrape=false", "prometheus.io/port={port}"], WORKLOAD, "container", "node-a"),
        (["eo.operations.port={port}"], "declared/shop", "declared", "node-a"),
        (["eo.operations.port={port}"], WORKLOAD, "container", "node-b"),
    ],
)
def test_what_does_not_ask_is_declared_or_runs_elsewhere_is_no_target(
    world: World, port: int, labels: list[str], workload: str, kind: str, host: str
) -> None:
    known(world, *(it.format(port=port) for it in labels), workload=workload, kind=kind, host=host)
    targets = looked(world)
    assert targets.targets() == []
    assert targets.problem_of(workload) is None


def test_labels_that_cannot_be_followed_are_the_workloads_problem(world: World) -> None:
    known(world, "prometheus.io/scrape=true", "prometheus.io/port=http")
    targets = looked(world)
    assert targets.targets() == []
    counting = Counting(targets.targets, dict, targets)
    problem = counting.problem_of(WORKLOAD) or ""
    assert "'http' is no port" in problem
    assert "prometheus.io/port" in problem


def test_a_port_on_which_the_container_does_not_listen_is_not_read(world: World) -> None:
    known(world, "eo.operations.port=1")
    targets = looked(world)
    assert targets.targets() == []
    assert "listens on port 1" in (targets.problem_of(WORKLOAD) or "")


def test_labels_that_were_taken_away_end_the_reading(world: World, port: int) -> None:
    known(world, f"eo.operations.port={port}")
    targets = looked(world)
    assert [it.workload for it in targets.targets()] == [WORKLOAD]
    world.store.query("TRUNCATE TABLE inventory")
    targets.look()
    assert targets.targets() == []

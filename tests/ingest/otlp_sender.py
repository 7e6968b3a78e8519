"""A receiver of OTLP metrics that listens on loopback, and the real OpenTelemetry SDK that sends to it."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.resources import Resource

from energy_orchestrator.errors import UnavailableError
from energy_orchestrator.ingest.memory_bus import MemoryBus
from energy_orchestrator.ingest.otlp_operations import OtlpOperations
from energy_orchestrator.ingest.otlp_receiver import PROTOBUF, OtlpReceiver
from energy_orchestrator.ingest.validation import validate
from energy_orchestrator.model.workload import Declaration
from energy_orchestrator.services.counting import serve

DELTA = {Counter: AggregationTemporality.DELTA, Histogram: AggregationTemporality.DELTA}


class ClosedBus(MemoryBus):
    """A bus that is away while `closed`."""

    closed = False

    async def publish(self, *args: Any, **kwargs: Any) -> Any:
        if self.closed:
            raise UnavailableError("the bus is away")
        return await super().publish(*args, **kwargs)


@dataclass
class Listening:
    """A receiver that listens."""

    url: str
    bus: ClosedBus
    operations: OtlpOperations

    async def _pull(self) -> list[dict[str, Any]]:
        sent = await self.bus.pull(100, 0)
        now = datetime.now(UTC)
        return [row for it in sent for row in validate(it.subject, it.data, now=now).rows.to_pylist()]

    def new_rows(self) -> list[dict[str, Any]]:
        """What was published since the last call."""
        return asyncio.run(self._pull())

    def post(self, body: bytes, **headers: str) -> httpx.Response:
        sent = {"content-type": PROTOBUF, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return httpx.post(f"{self.url}/v1/metrics", content=body, headers=sent, timeout=60, trust_env=False)


@contextmanager
def receiving(declared: Mapping[str, Declaration]) -> Iterator[Listening]:
    """A receiver in a thread."""
    ports: list[int] = []
    bus, operations = ClosedBus(), OtlpOperations(lambda: declared, time.time_ns())
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    receiver = OtlpReceiver(bus, "local", "node-a", operations)
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve(receiver, 0, stop, ports.append)))
    thread.start()
    while not ports:
        time.sleep(0.01)
    try:
        yield Listening(f"http://127.0.0.1:{ports[0]}", bus, operations)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@contextmanager
def sdk(listening: Listening, *, views: tuple[View, ...] = (), delta: bool = False, **resource: str) -> Iterator[Any]:
    """A meter of the real SDK that exports when told (`force_flush`)."""
    exporter = OTLPMetricExporter(
        endpoint=f"{listening.url}/v1/metrics",
        compression=Compression.Gzip,
        timeout=60,
        preferred_temporality=DELTA if delta else None,
    )
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=math.inf)
    named = {name.replace("__", "."): value for name, value in resource.items()}
    provider = MeterProvider([reader], resource=Resource(named), views=views)
    try:
        yield provider
    finally:
        provider.force_flush()
        provider.shutdown()

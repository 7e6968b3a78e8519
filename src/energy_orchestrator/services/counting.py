"""What counts operations on this machine: the scraper of declared sources, and the receiver of OTLP metrics.

Both publish to the bus as an agent would, and say what is wrong with the source of a workload. The receiver is off
unless `otlp_port` is set. It listens on loopback only: whoever can connect can count for any workload.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import uvicorn

from energy_orchestrator.config import Settings
from energy_orchestrator.errors import UnavailableError
from energy_orchestrator.ingest.bus import Publisher
from energy_orchestrator.ingest.operations import Target
from energy_orchestrator.ingest.operations_scraper import OperationsScraper
from energy_orchestrator.ingest.otlp_operations import OtlpOperations
from energy_orchestrator.ingest.otlp_receiver import OtlpReceiver
from energy_orchestrator.model.workload import Declaration
from energy_orchestrator.services.annotated_targets import AnnotatedTargets

LOOPBACK = "127.0.0.1"
MAX_CONNECTIONS = 64
RETRY_SECONDS = 5.0

log = logging.getLogger(__name__)


class Counting:
    """Keeps its state when the bus has to be connected again."""

    def __init__(
        self,
        targets: Callable[[], list[Target]],
        declarations: Callable[[], Mapping[str, Declaration]],
        annotated: AnnotatedTargets | None = None,
    ) -> None:
        self._targets = targets
        self._annotated = annotated
        self._received = OtlpOperations(declarations, time.time_ns(), self._labelled)
        self._scraper: OperationsScraper | None = None
        self._receiving = ""

    def problem_of(self, workload: str) -> str | None:
        """What is wrong with the source of a workload's operations; None where nothing is."""
        scraped = self._scraper.problem_of(workload) if self._scraper is not None else None
        labelled = self._annotated.problem_of(workload) if self._annotated is not None else None
        return scraped or labelled or self._received.problem_of(workload)

    async def run(self, bus: Publisher, settings: Settings, host: str, stop: asyncio.Event) -> None:
        """Count until `stop` is set."""
        self._scraper = OperationsScraper(bus, settings.tenant, host, self._targets, 1.0, lambda: datetime.now(UTC))
        tasks = [asyncio.create_task(self._scraper.run(stop))]
        if settings.otlp_port is not None:
            receiver = OtlpReceiver(bus, settings.tenant, host, self._received)
            tasks.append(asyncio.create_task(self._receive(receiver, settings.otlp_port, stop)))
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    def states(self) -> dict[str, str]:
        """The receiver, where there is one: `ok`, or what is wrong."""
        return {"OTLP receiver": self._receiving} if self._receiving else {}

    def _labelled(self) -> set[str]:
        return {target.workload for target in self._annotated.targets()} if self._annotated is not None else set()

    async def _receive(self, receiver: OtlpReceiver, port: int, stop: asyncio.Event) -> None:
        """A port that is taken must not stop the scraper: it is told, and tried again."""
        self._receiving = "starting"
        while not stop.is_set():
            try:
                await serve(receiver, port, stop, self._listening)
            except UnavailableError as error:
                if str(error) != self._receiving:
                    log.warning("%s", error)
                self._receiving = str(error)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), RETRY_SECONDS)

    def _listening(self, port: int) -> None:
        self._receiving = "ok"
        log.info("OTLP metrics are taken on http://%s:%s/v1/metrics", LOOPBACK, port)


async def serve(
    application: Any, port: int, stop: asyncio.Event, listening: Callable[[int], None] = lambda _port: None
) -> None:
    """Serve on loopback until `stop` is set; UnavailableError where the port is taken."""
    config = uvicorn.Config(
        application,
        host=LOOPBACK,
        port=port,
        log_level="warning",
        access_log=False,
        lifespan="off",
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=2,
        server_header=False,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(_serve(server, port))
    while not server.started and not serving.done():
        await asyncio.sleep(0.02)
    if server.started:
        listening(server.servers[0].sockets[0].getsockname()[1])
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    stopping.cancel()
    await serving


async def _serve(server: uvicorn.Server, port: int) -> None:
    try:
        await server.serve()
    except SystemExit as error:  # what uvicorn makes of a port that is taken
        raise UnavailableError(
            "the port for OTLP metrics is taken", where=f"{LOOPBACK}:{port}", next_step="choose another `otlp_port`"
        ) from error

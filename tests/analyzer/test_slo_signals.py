"""Latency and errors that a program reports by OTLP reach the judge: they pass the bus, the collector and the store,
and a canary that saves energy and breaks the SLO fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.ingest.otlp_sender import Listening, receiving, sdk

from energy_orchestrator.analyze.estimator import default_model
from energy_orchestrator.ingest.memory_bus import MemoryBus
from energy_orchestrator.model.analysis_run import AnalysisPhase, AnalysisRun
from energy_orchestrator.model.sample import MeasuredWindow
from energy_orchestrator.model.wire import Kind
from energy_orchestrator.model.workload import Declaration
from energy_orchestrator.services.analyzer import Analyzer
from energy_orchestrator.services.collector import Collector
from energy_orchestrator.services.measurements import SeriesMeasurements
from energy_orchestrator.verify.analysis import AnalysisTemplate, evaluate

from .world import START, Clock, World

API = Declaration.model_validate(
    {"name": "api", "command": ["x"], "slo": {"latency_p95_seconds": 0.2, "error_ratio": 0.02}}
)
TEMPLATE = AnalysisTemplate(initial_delay_seconds=0)


@pytest.fixture
def listening() -> Iterator[Listening]:
    with receiving({API.key: API}) as listening:
        yield listening


def work(listening: Listening, replica: str, *, seconds: float, failed: int = 0) -> None:
    """A hundred requests by a program with the SDK."""
    with sdk(listening, service__name="api", eo__replica=replica) as provider:
        bounds = (0.05, 0.1, 0.25, 0.5, 1.0)
        took = provider.get_meter("t").create_histogram(
            "http.server.request.duration", "s", explicit_bucket_boundaries_advisory=bounds
        )
        for place in range(100):
            took.record(seconds, {"http.response.status_code": 500 if place < failed else 200})


async def collect(bus: MemoryBus, world: World) -> None:
    ended = asyncio.Event()
    collecting = asyncio.create_task(Collector(bus, world.store).run(ended))
    while bus.waiting:
        await asyncio.sleep(0.02)
    ended.set()
    await collecting


def measured(world: World, listening: Listening) -> dict[str, list[MeasuredWindow]]:
    """Windows of both replicas; the canary uses half the CPU time."""
    at = (time.time() - START.timestamp()) // 5 * 5
    for second in range(int(at) - 9, int(at) + 11):
        for pid, (replica, cores) in enumerate((("api-0", 0.8), ("api-1", 0.4)), start=100):
            world.add(Kind.SAMPLES, second, workload=API.key, replica=replica, cpu_seconds=cores, pid=pid)
        world.add(Kind.METERS, second, busy_cpu_seconds=1.2)
    world.put()
    asyncio.run(collect(listening.bus, world))
    Analyzer(world.store, default_model(), 5.0, Clock(at + 20)).run_once()
    measurements = SeriesMeasurements(world.store, 5.0)
    start, end = Clock(at - 10)(), Clock(at + 10)()
    return {it: measurements.windows("local", API.key, [it], start, end) for it in ("api-0", "api-1")}


def judged(found: dict[str, list[MeasuredWindow]]) -> AnalysisRun:
    slo = API.slo
    template = replace(TEMPLATE, latency_p95_seconds=slo.latency_p95_seconds, error_ratio=slo.error_ratio)
    begun = found["api-1"][0].window_start
    return evaluate(template, found["api-0"], found["api-1"], begun, found["api-1"][-1].window_end)


@pytest.mark.parametrize(
    ("canary", "phase", "says"),
    [
        ({"seconds": 0.4}, AnalysisPhase.FAILED, "latency_p95: the canary broke the SLO of 0.2 s"),
        ({"seconds": 0.06, "failed": 5}, AnalysisPhase.FAILED, "error_ratio: the canary broke the SLO of 0.02"),
        ({"seconds": 0.06}, AnalysisPhase.RUNNING, ""),
    ],
    ids=["slow", "failing", "well"],
)
def test_what_a_program_reports_by_otlp_is_an_slo_signal(
    world: World, listening: Listening, canary: dict[str, float], phase: AnalysisPhase, says: str
) -> None:
    work(listening, "api-0", seconds=0.06)
    work(listening, "api-1", **canary)  # type: ignore[arg-type]
    found = measured(world, listening)
    told = [window for window in found["api-1"] if window.operations]
    assert len(told) == 1
    assert told[0].joules_per_operation is not None
    assert told[0].error_ratio == canary.get("failed", 0) / 100
    run = judged(found)
    assert run.phase is phase, run
    assert says in run.message

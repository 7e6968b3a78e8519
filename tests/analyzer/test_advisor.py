"""From rows to advice: the four wastes of the demo are found within a minute; what is young is left alone."""

from __future__ import annotations

import pytest

from energy_orchestrator.analyze.estimator import default_model
from energy_orchestrator.errors import NotFoundError
from energy_orchestrator.model.recommendation import Recommendation
from energy_orchestrator.model.wire import Kind
from energy_orchestrator.model.workload import Declaration, WorkloadFile
from energy_orchestrator.recommend.ranking import RankingSettings
from energy_orchestrator.services.advisor import Advisor
from energy_orchestrator.services.analyzer import Analyzer
from energy_orchestrator.services.measurements import SeriesMeasurements

from .world import START, Clock, World

SOURCE = {"prometheus": "http://127.0.0.1:{port}/metrics"}
FILE = WorkloadFile.model_validate(
    {
        "workloads": [
            {
                "name": "inference", "command": ["x"], "replicas": 2, "environment": {"BATCH_MAX": "1"},
                "knobs": {"BATCH_MAX": {"meaning": "batch_size", "allowed": ["1", "4", "8", "16"]}},
                "operations": SOURCE,
            },
            {
                "name": "matrix-batch", "command": ["x"], "environment": {"BLAS_THREADS": "8"},
                "knobs": {"BLAS_THREADS": {"meaning": "threads", "allowed": ["1", "2", "4", "8"]}},
                "operations": SOURCE,
            },
            {
                "name": "poller", "command": ["x"], "environment": {"POLL_WAIT_MS": "0"},
                "knobs": {"POLL_WAIT_MS": {"meaning": "poll_wait", "allowed": ["0", "5", "20"]}},
                "operations": SOURCE,
            },
            {"name": "idle-cache", "command": ["x"], "operations": SOURCE, "may_stop": True},
            {"name": "load", "command": ["x"]},
        ]
    }
)  # fmt: skip
DECLARED = {it.key: it for it in FILE.workloads}
STARTED_MS = int(START.timestamp() * 1000) - 3_600_000


def declaration_of(tenant: str, workload: str) -> Declaration:
    if tenant != "local" or workload not in DECLARED:
        raise NotFoundError(f"{workload} is not declared")
    return DECLARED[workload]


def demo(world: World, seconds: int, started_ms: int = STARTED_MS) -> None:
    """Rows as the agent and the scraper send them of the demo (figures from a busy 2-core machine)."""
    world.add(Kind.INVENTORY, 0)
    processes = [
        ("inference", "inference-0", 0.4, 4, 40, 5, 60_000_000),
        ("inference", "inference-1", 0.4, 4, 40, 5, 60_000_000),
        ("matrix-batch", "matrix-batch-0", 0.2, 9, 11, 118, 50_000_000),
        ("poller", "poller-0", 0.3, 2, 12, 116, 30_000_000),
        ("idle-cache", "idle-cache-0", 0.001, 1, 2, 0, 150_000_000),
        ("load", "load-0", 0.1, 1, 200, 1, 30_000_000),
    ]
    rates = {"inference-0": 32, "inference-1": 32, "matrix-batch-0": 0.33, "poller-0": 20, "idle-cache-0": 0}
    for second in range(1, seconds + 1):
        for pid, (name, replica, cores, threads, waits, forced, memory) in enumerate(processes, start=100):
            world.add(
                Kind.SAMPLES, second, workload=f"declared/{name}", replica=replica, pid=pid, cpu_seconds=cores,
                threads=threads, voluntary_switches=waits, involuntary_switches=forced, mem_bytes=memory,
                process_started_ms=started_ms,
            )  # fmt: skip
            if replica in rates:
                queue = float(second % 16) if name == "inference" else None
                world.add(
                    Kind.OPERATIONS, second, workload=f"declared/{name}", replica=replica, queue_depth=queue,
                    operations=rates[replica] * (1 + 0.3 * (second % 3 - 1)),
                )  # fmt: skip
        world.add(Kind.METERS, second, busy_cpu_seconds=1.6)
    world.put()


def advice(world: World, second: float) -> dict[str, Recommendation]:
    Analyzer(world.store, default_model(), 5.0, Clock(second)).run_once()
    advisor = Advisor(
        world.store,
        SeriesMeasurements(world.store, 5.0),
        declaration_of,
        lambda tenant, kind: [],
        RankingSettings(price_per_kwh=0.3, gco2e_per_kwh=400.0),
    )
    return {it.target.workload: it for it in advisor.recommend("local", Clock(second)())}


def test_the_demos_wastes_are_found_within_a_minute_and_nothing_else(world: World) -> None:
    demo(world, 60)
    found = advice(world, 63)
    assert {name: dict(it.change.patch) for name, it in found.items()} == {
        "declared/inference": {"environment": {"BATCH_MAX": "16"}},
        "declared/matrix-batch": {"environment": {"BLAS_THREADS": "2"}},
        "declared/poller": {"environment": {"POLL_WAIT_MS": "5"}},
        "declared/idle-cache": {"replicas": 0},
    }
    for it in found.values():
        assert it.change.executor == "local"
        assert it.expected_savings_j.upper <= it.target_spend_j.upper
        assert it.expected_savings_cost is not None
        assert it.expected_savings_gco2e is not None


def test_half_a_minute_is_the_least(world: World) -> None:
    demo(world, 25)
    assert advice(world, 28) == {}


def test_a_workload_just_restarted_is_given_time(world: World) -> None:
    demo(world, 60, started_ms=int(START.timestamp() * 1000) + 40_000)
    assert advice(world, 63) == {}


def test_a_restart_half_a_minute_ago_is_looked_at_from_then_on(world: World) -> None:
    demo(world, 60, started_ms=int(START.timestamp() * 1000) + 20_000)
    found = advice(world, 63)
    assert set(found) >= {"declared/inference", "declared/poller"}
    spans = {evidence.window_start for it in found.values() for evidence in it.evidence}
    assert min(spans) >= Clock(25)()


def oversubscribed(world: World, workload: str) -> None:
    """A minute of one program whose threads outnumber the CPUs."""
    world.add(
        Kind.INVENTORY,
        0,
        scope="process",
        workload=workload,
        pid=7,
        process_started_ms=1,
        libraries=["openblas"],
    )
    for second in range(1, 61):
        world.add(
            Kind.SAMPLES, second, workload=workload, workload_kind="process", pid=7, cpu_seconds=1.5,
            threads=32, involuntary_switches=400,
        )  # fmt: skip
        world.add(Kind.METERS, second, busy_cpu_seconds=1.5)
    world.put()


def test_an_undeclared_oversubscribed_program_gets_advice_for_a_person(world: World) -> None:
    oversubscribed(world, "process/train")
    it = advice(world, 63)["process/train"]
    assert it.change.executor == "none"
    assert it.change.patch == {"environment": {"OMP_NUM_THREADS": "2"}}
    assert it.target.host == "node-a"


@pytest.mark.parametrize("workload", ["process/python3:eo", "process/eo-agent"])
def test_ones_own_processes_are_left_alone(world: World, workload: str) -> None:
    oversubscribed(world, workload)
    assert advice(world, 63) == {}


@pytest.mark.parametrize(("samples", "advised"), [(40, True), (3, False)])
def test_a_hot_function_with_a_known_better_way_is_told_to_its_owner(world: World, samples: int, advised: bool) -> None:
    for second in range(1, 61):
        world.add(
            Kind.SAMPLES, second, workload="process/ingest", workload_kind="process", pid=7, cpu_seconds=1.5,
        )  # fmt: skip
        world.add(Kind.METERS, second, busy_cpu_seconds=1.5)
    for leaf, count in (("deflate_slow", samples), ("main", 100 - samples)):
        world.add(
            Kind.PROFILES, 30, workload="process/ingest", workload_kind="process", pid=7, sample_count=count,
            process_started_ms=1, stack=["_start", "main_loop", leaf], frequency_hz=19.0,
        )  # fmt: skip
    world.put()
    found = advice(world, 63)
    assert ("process/ingest" in found) is advised
    if advised:
        it = found["process/ingest"]
        assert (it.suggestion_type.value, it.change.executor) == ("code_path", "none")
        assert "40%" in it.explanation
        assert it.expected_savings_j.upper < 0.4 * it.target_spend_j.upper


@pytest.mark.parametrize("tenant", ["other", "nobody"])
def test_another_tenant_sees_nothing_of_it(world: World, tenant: str) -> None:
    demo(world, 60)
    Analyzer(world.store, default_model(), 5.0, Clock(63)).run_once()
    advisor = Advisor(
        world.store, SeriesMeasurements(world.store, 5.0), declaration_of, lambda t, k: [], RankingSettings()
    )
    assert advisor.recommend(tenant, Clock(63)()) == []

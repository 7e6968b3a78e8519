"""What the judge is given: windows of a group of replicas, each side measured by itself."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from energy_orchestrator.analyze.estimator import default_model
from energy_orchestrator.model.sample import MeasuredWindow
from energy_orchestrator.model.wire import Kind
from energy_orchestrator.services.analyzer import Analyzer
from energy_orchestrator.services.measurements import SeriesMeasurements

from .world import Clock, World

WORKLOAD = "declared/inference"


def measured(world: World, replicas: Sequence[str] | None, start: float = 0, end: float = 10) -> list[MeasuredWindow]:
    Analyzer(world.store, default_model(), 5.0, Clock(13)).run_once()
    measurements = SeriesMeasurements(world.store, 5.0)
    return measurements.windows("local", WORKLOAD, replicas, Clock(start)(), Clock(end)())


@pytest.fixture
def two_replicas(world: World) -> World:
    for second in range(1, 11):
        for replica, cores in (("inference-0", 0.9), ("inference-1", 0.3)):
            pid = 100 + int(replica[-1])
            world.add(Kind.SAMPLES, second, workload=WORKLOAD, replica=replica, cpu_seconds=cores, pid=pid)
            late = 0.5 if replica == "inference-0" else 0.1
            world.add(Kind.OPERATIONS, second, workload=WORKLOAD, replica=replica, latency_p95_seconds=late, errors=1.0)
        world.add(Kind.METERS, second, busy_cpu_seconds=1.2)
    world.put()
    return world


def test_canary_and_baseline_are_measured_each_by_itself(two_replicas: World) -> None:
    (slow, _), (fast, _) = (measured(two_replicas, [name]) for name in ("inference-0", "inference-1"))
    assert slow.window_start == fast.window_start
    assert slow.joules_per_operation is not None
    assert fast.joules_per_operation is not None
    assert slow.joules_per_operation == pytest.approx(3 * fast.joules_per_operation)
    assert (slow.latency_p95_seconds, fast.latency_p95_seconds) == (pytest.approx(0.5), pytest.approx(0.1))
    assert slow.operations == 50.0
    assert slow.error_ratio == pytest.approx(0.1)
    assert slow.cpu_seconds == pytest.approx(4.5)


def test_all_replicas_together_are_the_sum_and_the_slowest_latency(two_replicas: World) -> None:
    both = measured(two_replicas, None)[0]
    parts = [measured(two_replicas, [name])[0] for name in ("inference-0", "inference-1")]
    assert both.active_joules == pytest.approx(sum(part.active_joules or 0 for part in parts))
    assert both.operations == 100.0
    assert both.latency_p95_seconds == pytest.approx(0.5)


def test_only_windows_wholly_in_the_span_count(two_replicas: World) -> None:
    assert len(measured(two_replicas, None, 0, 10)) == 2
    assert len(measured(two_replicas, None, 1, 10)) == 1
    assert len(measured(two_replicas, None, 0, 9)) == 1
    assert measured(two_replicas, ["gone"]) == []


def test_one_slow_second_with_few_operations_is_not_the_windows_latency(world: World) -> None:
    world.steady(5, {WORKLOAD: 0.5})
    for second in range(1, 6):
        slow = second == 3
        world.add(
            Kind.OPERATIONS, second, workload=WORKLOAD, operations=1.0 if slow else 33.0,
            latency_p95_seconds=1.0 if slow else 0.1,
        )  # fmt: skip
    world.put()
    (window,) = measured(world, None)
    assert window.latency_p95_seconds == pytest.approx((1.0 + 4 * 33 * 0.1) / 133)


@pytest.mark.parametrize("operations", [None, 0.0])
def test_without_operations_there_is_no_joule_per_operation(world: World, operations: float | None) -> None:
    world.steady(5, {WORKLOAD: 0.5})
    if operations is not None:
        world.add(Kind.OPERATIONS, 3, workload=WORKLOAD, operations=operations, errors=None)
    world.put()
    (window,) = measured(world, None)
    assert window.joules_per_operation is None
    assert window.operations == operations
    assert window.active_joules is not None
    assert window.active_joules > 0


def test_another_tenants_workload_of_the_same_name_is_not_ours(two_replicas: World) -> None:
    assert SeriesMeasurements(two_replicas.store, 5.0).windows("other", WORKLOAD, None, Clock(0)(), Clock(10)()) == []


def test_neighbours_did_something_before_and_after_on_the_same_hosts(world: World) -> None:
    world.steady(10, {WORKLOAD: 0.5})
    did = {"declared/cache": range(1, 11), "declared/late": range(6, 11), "declared/poller": (2, 8)}
    for workload, seconds in did.items():
        for second in seconds:
            world.add(Kind.OPERATIONS, second, workload=workload)
    for second in range(1, 11):
        world.add(Kind.OPERATIONS, second, workload=WORKLOAD)
        world.add(Kind.OPERATIONS, second, workload="declared/elsewhere", host="node-b")
        world.add(Kind.OPERATIONS, second, workload="declared/idle", operations=0.0)
    world.put()
    Analyzer(world.store, default_model(), 5.0, Clock(13)).run_once()
    found = SeriesMeasurements(world.store, 5.0).neighbours("local", WORKLOAD, Clock(0)(), Clock(5)(), Clock(10)())
    assert found == ["declared/cache", "declared/poller"]

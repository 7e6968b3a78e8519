"""What the judge is given: windows of a group of replicas, each side measured by itself."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from energy_orchestrator.analyze.estimator import default_model
from energy_orchestrator.errors import NotFoundError
from energy_orchestrator.model.sample import MeasuredWindow
from energy_orchestrator.model.wire import Kind
from energy_orchestrator.model.workload import Declaration
from energy_orchestrator.services.analyzer import Analyzer
from energy_orchestrator.services.measurements import SeriesMeasurements
from energy_orchestrator.services.series_views import SeriesViews

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


def test_a_replica_whose_counter_nobody_reads_makes_nothing_look_dearer(world: World) -> None:
    for second in range(1, 11):
        for replica in ("inference-0", "inference-1"):
            pid = 100 + int(replica[-1])
            world.add(Kind.SAMPLES, second, workload=WORKLOAD, replica=replica, cpu_seconds=0.4, pid=pid)
        world.add(Kind.OPERATIONS, second, workload=WORKLOAD, replica="inference-0")
        world.add(Kind.METERS, second, busy_cpu_seconds=0.8)
    world.put()
    both, alone = (measured(world, names)[0] for names in (None, ["inference-0"]))
    assert both.joules_per_operation == pytest.approx(alone.joules_per_operation)
    assert both.active_joules == pytest.approx(2 * (alone.active_joules or 0.0))


def test_energy_that_comes_late_does_not_make_operations_cheap(world: World) -> None:
    """Of the second replica only operations have arrived so far."""
    for second in range(1, 11):
        world.add(Kind.SAMPLES, second, workload=WORKLOAD, replica="inference-0", cpu_seconds=0.4)
        world.add(Kind.METERS, second, busy_cpu_seconds=0.8)
        for replica in ("inference-0", "inference-1"):
            world.add(Kind.OPERATIONS, second, workload=WORKLOAD, replica=replica)
    world.put()
    both, alone = (measured(world, names)[0] for names in (None, ["inference-0"]))
    assert both.joules_per_operation == pytest.approx(alone.joules_per_operation)


def test_a_replica_too_quiet_to_be_sent_keeps_its_operations(world: World) -> None:
    for second in range(1, 21):
        if second <= 5 or second > 15:
            world.add(Kind.SAMPLES, second, workload=WORKLOAD, cpu_seconds=0.4)
        world.add(Kind.OPERATIONS, second, workload=WORKLOAD)
        world.add(Kind.METERS, second, busy_cpu_seconds=0.8)
    world.put()
    Analyzer(world.store, default_model(), 5.0, Clock(23)).run_once()
    got = SeriesMeasurements(world.store, 5.0).windows("local", WORKLOAD, None, Clock(0)(), Clock(20)())
    assert [window.operations for window in got] == [50.0] * 4
    assert [window.active_joules == 0 for window in got] == [False, True, True, False]
    assert [window.joules_per_operation == 0 for window in got] == [False, True, True, False]


def test_operations_without_any_energy_yet_cost_nothing_that_is_known(world: World) -> None:
    world.steady(5, {"declared/other": 0.5})
    world.add(Kind.OPERATIONS, 3, workload=WORKLOAD)
    world.put()
    assert [window.joules_per_operation for window in measured(world, None)] in ([], [None])


def test_a_replica_that_follows_another_within_a_window_is_no_cheaper(world: World) -> None:
    """Each names itself, as by OTLP, and lives for half of the window; the processes do not say who they are."""
    for second in range(1, 11):
        world.add(Kind.SAMPLES, second, workload=WORKLOAD, cpu_seconds=0.4)
        world.add(Kind.METERS, second, busy_cpu_seconds=0.4)
        name = "first" if second <= 7 else "second"
        world.add(Kind.OPERATIONS, second, workload=WORKLOAD, replica=name)
    world.put()
    one, changed = measured(world, None)
    assert changed.joules_per_operation == pytest.approx(one.joules_per_operation)
    views = SeriesViews(world.store, undeclared, 5.0).workloads("local", Clock(0)(), Clock(10)(), 10)
    (view,) = views
    assert view.operations_per_second == pytest.approx(10.0)
    assert view.joules_per_operation is not None
    assert view.joules_per_operation.value == pytest.approx(one.joules_per_operation)


def test_a_slow_scrape_counts_by_its_rate(world: World) -> None:
    world.steady(10, {WORKLOAD: 0.5})
    world.add(Kind.OPERATIONS, 10, workload=WORKLOAD, operations=100.0, interval_seconds=10.0)
    world.put()
    first, second = measured(world, None)
    assert first.joules_per_operation is None
    assert second.joules_per_operation == pytest.approx((second.active_joules or 0) / 50.0)
    (view,) = SeriesViews(world.store, undeclared, 5.0).workloads("local", Clock(0)(), Clock(10)(), 10)
    assert view.joules_per_operation is not None
    assert view.joules_per_operation.value == pytest.approx(second.joules_per_operation)


def test_a_replica_that_lives_for_part_of_a_window_costs_what_it_spent(world: World) -> None:
    for second in range(1, 11):
        for replica, first in (("inference-0", 1), ("inference-1", 9)):
            if second >= first:
                pid = 100 + int(replica[-1])
                world.add(Kind.SAMPLES, second, workload=WORKLOAD, replica=replica, cpu_seconds=0.4, pid=pid)
                world.add(Kind.OPERATIONS, second, workload=WORKLOAD, replica=replica)
        world.add(Kind.METERS, second, busy_cpu_seconds=1.0)
    world.put()
    old, new = (measured(world, [name])[-1] for name in ("inference-0", "inference-1"))
    assert new.joules_per_operation == pytest.approx(old.joules_per_operation)


def undeclared(tenant: str, workload: str) -> Declaration:
    raise NotFoundError(workload)

"""J/op by version and node type, on a real series store through the real analyzer."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest

from energy_orchestrator.analyze.estimator import default_model
from energy_orchestrator.analyze.operation_cost import NO_SOURCE, NOTHING_DONE, ONE_WINDOW
from energy_orchestrator.analyze.versions import MIXED, NO_NAME
from energy_orchestrator.api.control_plane import CostRowView, WorkloadCostView
from energy_orchestrator.errors import NotFoundError
from energy_orchestrator.model.wire import Kind
from energy_orchestrator.model.workload import Declaration
from energy_orchestrator.services.analyzer import Analyzer
from energy_orchestrator.services.operation_costs import By
from energy_orchestrator.services.series_views import SeriesViews

from .world import START, Clock, World

WORKLOAD = "declared/inference"
WINDOW = 5.0
STARTED = int(START.timestamp() * 1000) - 3_600_000


def undeclared(tenant: str, workload: str) -> Declaration:
    raise NotFoundError(f"{workload!r} is not declared for {tenant!r}")


def run(
    world: World,
    first: int,
    seconds: int,
    cores: float,
    *,
    pid: int = 100,
    operations: float | None = 10.0,
    **more: Any,
) -> None:
    """A process of the workload that uses so many cores, and what it does each second; its CPU wobbles by window."""
    noise = random.Random(first + pid)
    for second in range(first, first + seconds):
        if (second - first) % 5 == 0:
            wobble = noise.uniform(0.97, 1.03)
        used = cores * wobble
        world.add(
            Kind.SAMPLES, second, workload=WORKLOAD, cpu_seconds=used, pid=pid, process_started_ms=STARTED + pid, **more
        )
        where = {name: value for name, value in more.items() if name in {"host", "replica"}}
        host = {name: value for name, value in where.items() if name == "host"}
        world.add(Kind.METERS, second, busy_cpu_seconds=used, **host)
        if operations is not None:
            world.add(Kind.OPERATIONS, second, workload=WORKLOAD, operations=operations, **where)


def known(world: World, pid: int, second: float = 1.0, **what: Any) -> None:
    row = {"scope": "process", "workload": WORKLOAD, "pid": pid, "process_started_ms": STARTED + pid} | what
    world.add(Kind.INVENTORY, second, **row)


def cost(world: World, by: By = By.VERSION, *, seconds: float = 60) -> WorkloadCostView:
    world.put()
    clock = Clock(seconds + 3)
    Analyzer(world.store, default_model(), WINDOW, clock).run_once()
    views = SeriesViews(world.store, undeclared, WINDOW)
    return views.workload_cost("local", WORKLOAD, by, START, clock())


def by_version(view: WorkloadCostView) -> dict[str | None, CostRowView]:
    return {row.version: row for row in view.rows}


def test_a_version_that_costs_more_says_by_how_much_with_an_interval(world: World) -> None:
    run(world, 1, 60, 0.50)
    run(world, 61, 60, 0.56, pid=101)
    known(world, 100, checksum="aaa")
    known(world, 101, 61, checksum="bbb")
    view = cost(world, seconds=120)
    assert (view.version_named_by, view.operation, view.window_seconds) == ("checksum", "request", WINDOW)
    old, new = view.rows
    assert (old.version, new.version, old.windows, new.windows) == ("aaa", "bbb", 12, 12)
    for row in view.rows:
        assert row.joules_per_operation is not None
        assert row.joules_per_operation_by_meter is not None
        assert row.operations == pytest.approx(600)
        assert row.joules_per_operation.value == pytest.approx(row.active_joules / 600)
        assert row.joules_per_operation.lower < row.joules_per_operation_by_meter.lower
        assert row.joules_per_operation.upper > row.joules_per_operation_by_meter.upper
        assert row.tier == "model"
    (found,) = view.comparisons
    assert found.ratio is not None
    assert found.same_meter
    assert found.differs
    assert found.ratio.value == pytest.approx(1.12, abs=0.03)
    assert 1.0 < found.ratio.lower < found.ratio.upper < 1.25
    assert found.message.startswith("bbb costs 1")
    assert found.message.endswith("more than aaa")


def test_replicas_of_two_versions_at_once_are_told_apart_where_both_sides_tell_replicas(world: World) -> None:
    run(world, 1, 60, 0.3, replica="0")
    run(world, 1, 60, 0.6, pid=101, replica="1")
    known(world, 100, image_digest="sha256:1", image="shop:latest")
    known(world, 101, image_digest="sha256:2", image="shop:latest")
    rows = by_version(cost(world))
    assert set(rows) == {"sha256:1", "sha256:2"}
    cheap, dear = (rows[name].joules_per_operation for name in ("sha256:1", "sha256:2"))
    assert cheap is not None
    assert dear is not None
    assert dear.value / cheap.value == pytest.approx(2, rel=0.1)


def test_where_operations_are_told_for_all_replicas_a_rolling_update_is_of_neither(world: World) -> None:
    run(world, 1, 30, 0.3, operations=None, replica="0")
    run(world, 1, 30, 0.3, pid=101, operations=None, replica="1")
    for second in range(1, 31):
        world.add(Kind.OPERATIONS, second, workload=WORKLOAD)
    known(world, 100, checksum="aaa")
    known(world, 101, checksum="bbb")
    (row,) = cost(world, seconds=30).rows
    assert (row.version, row.version_reason) == (None, MIXED)
    assert row.joules_per_operation is not None
    assert cost(world, seconds=30).comparisons == []


def test_without_inventory_the_version_is_unknown_and_the_cost_is_not(world: World) -> None:
    run(world, 1, 30, 0.5)
    view = cost(world, seconds=30)
    (row,) = view.rows
    assert (row.version, row.version_reason, view.version_named_by) == (None, NO_NAME, None)
    assert row.joules_per_operation is not None


def test_by_node_type_each_is_compared_with_the_one_that_does_most_and_meters_count_for_both(world: World) -> None:
    run(world, 1, 60, 0.3)
    run(world, 1, 60, 0.6, pid=101, operations=5.0, host="node-b")
    world.add(Kind.INVENTORY, 1, cpu_model="Xeon", node_type="R750")
    world.add(Kind.INVENTORY, 1, host="node-b", instance_type="m5.large", node_type="Amazon EC2")
    view = cost(world, By.NODE_TYPE)
    assert [row.node_type for row in sorted(view.rows, key=lambda it: it.node_type or "")] == [
        "R750, Xeon, 2 threads",
        "m5.large",
    ]
    (found,) = view.comparisons
    assert (found.base, found.other, found.same_meter) == ("R750, Xeon, 2 threads", "m5.large", False)
    assert found.ratio is not None
    assert found.ratio.value > 2, "twice the CPU time for half the operations, on another curve"
    assert found.ratio.upper / found.ratio.lower > 1.5, "both meters' bounds are in it"
    assert all(row.version is None and row.version_reason is None for row in view.rows)


def test_a_node_that_changes_type_is_two_types_and_the_window_between_is_neither(world: World) -> None:
    run(world, 1, 60, 0.3)
    world.add(Kind.INVENTORY, 1, instance_type="m5.large")
    world.add(Kind.INVENTORY, 27, instance_type="m7.large")
    world.add(Kind.INVENTORY, 50, instance_type="m7.large")
    view = cost(world, By.NODE_TYPE)
    assert [(row.node_type, row.node_type_reason, row.windows) for row in view.rows] == [
        ("m5.large", None, 5),
        (None, MIXED, 1),
        ("m7.large", None, 6),
    ]
    assert len(view.comparisons) == 1


def test_by_both_versions_are_compared_on_the_same_node_type_only(world: World) -> None:
    for host, start in (("node-a", 1), ("node-b", 61)):
        run(world, start, 60, 0.3, pid=100, host=host)
        known(world, 100, start, checksum="aaa", host=host)
    run(world, 121, 60, 0.6, pid=101, host="node-b")
    known(world, 101, 121, checksum="bbb", host="node-b")
    world.add(Kind.INVENTORY, 1, instance_type="m5.large")
    world.add(Kind.INVENTORY, 1, instance_type="m7.large", host="node-b")
    view = cost(world, By.BOTH, seconds=180)
    assert {(row.version, row.node_type) for row in view.rows} == {
        ("aaa", "m5.large"),
        ("aaa", "m7.large"),
        ("bbb", "m7.large"),
    }
    (found,) = view.comparisons
    assert (found.base, found.other, found.node_type) == ("aaa", "bbb", "m7.large")


def test_one_window_has_the_meters_bounds_and_no_comparison(world: World) -> None:
    run(world, 1, 5, 0.3)
    run(world, 6, 5, 0.6, pid=101)
    known(world, 100, checksum="aaa")
    known(world, 101, checksum="bbb")
    view = cost(world, seconds=10)
    for row in view.rows:
        assert row.joules_per_operation == row.joules_per_operation_by_meter is not None
        assert row.note == ONE_WINDOW
    (found,) = view.comparisons
    assert found.ratio is None
    assert not found.differs
    assert "one window only" in (found.reason or "")


def test_no_operation_no_source_and_a_gap_have_each_its_reason(world: World) -> None:
    run(world, 1, 30, 0.3, operations=0.0)
    (row,) = cost(world, seconds=30).rows
    assert (row.joules_per_operation, row.joules_per_operation_reason, row.operations) == (None, NOTHING_DONE, 0)


def test_without_a_source_there_is_no_cost(world: World) -> None:
    run(world, 1, 30, 0.3, operations=None)
    (row,) = cost(world, seconds=30).rows
    assert (row.joules_per_operation, row.joules_per_operation_reason, row.operations) == (None, NO_SOURCE, None)
    assert row.active_joules > 0


def test_windows_that_nobody_counted_are_gaps_and_do_not_dilute_the_cost(world: World) -> None:
    run(world, 1, 30, 0.3)
    whole = cost(world, seconds=30).rows[0]
    run(world, 31, 30, 0.3, operations=None)
    (row,) = cost(world).rows
    assert (row.windows, row.windows_without_operations) == (6, 6)
    assert row.joules_per_operation is not None
    assert whole.joules_per_operation is not None
    assert row.joules_per_operation.value == pytest.approx(whole.joules_per_operation.value, rel=1e-6)


def test_a_long_span_has_wider_windows_and_the_same_cost(world: World) -> None:
    run(world, 1, 60, 0.5)
    narrow = cost(world).rows[0]
    views = SeriesViews(world.store, undeclared, WINDOW)
    wide = views.workload_cost("local", WORKLOAD, By.VERSION, START - timedelta(hours=2), Clock(61)())
    assert wide.window_seconds > WINDOW
    assert wide.rows[0].joules_per_operation is not None
    assert narrow.joules_per_operation is not None
    assert wide.rows[0].joules_per_operation.value == pytest.approx(narrow.joules_per_operation.value)


def test_a_workload_that_nobody_knows_is_not_found(world: World) -> None:
    with pytest.raises(NotFoundError, match="nothing is known"):
        cost(world)

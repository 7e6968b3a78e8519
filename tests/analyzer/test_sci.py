"""Energy by reservation, on a real series store through the real analyzer: it adds up, and names what it rests on."""

from __future__ import annotations

from typing import Any

import pytest

from energy_orchestrator.analyze.estimator import default_model
from energy_orchestrator.analyze.operation_cost import NO_SOURCE, NOTHING_DONE
from energy_orchestrator.api.control_plane import SciView, SciWorkloadView
from energy_orchestrator.errors import NotFoundError
from energy_orchestrator.model.wire import Kind
from energy_orchestrator.model.workload import Declaration, Limits
from energy_orchestrator.services.analyzer import Analyzer
from energy_orchestrator.services.sci_views import NO_GRID, NO_SIZE, SECONDS_PER_YEAR, Carbon
from energy_orchestrator.services.series_views import SeriesViews

from .world import START, Clock, World

SECONDS = 180
INFERENCE, POLLER = "declared/inference", "declared/poller"
LOAD = {INFERENCE: 0.5, POLLER: 0.25, "service/cron": 0.05}
GRID = Carbon(380.0, {"*": 1000.0}, 4.0)
LIMITS = {INFERENCE: Limits(cpu=1.0, memory_bytes=2_000_000_000)}


def declared(tenant: str, workload: str) -> Declaration:
    if workload not in LIMITS:
        raise NotFoundError(f"{workload!r} is not declared for {tenant!r}")
    return Declaration(name=workload.partition("/")[2], command=("python",), limits=LIMITS[workload])


def sci(world: World, carbon: Carbon = GRID) -> SciView:
    world.put()
    clock = Clock(SECONDS + 3)
    Analyzer(world.store, default_model(), 5.0, clock).run_once()
    return SeriesViews(world.store, declared, 5.0, carbon=carbon).sci("local", START, clock())


def filled(world: World, **allowed: float) -> None:
    """Three workloads on a node of two CPUs and 8 GB; `poller` may use fewer CPUs where that is said."""
    world.add(Kind.INVENTORY, 1)
    for second in range(1, SECONDS + 1):
        for pid, (workload, cores) in enumerate(LOAD.items(), start=100):
            free: dict[str, Any] = {"cpus_allowed": allowed.get(workload.partition("/")[2], 2.0)}
            world.add(Kind.SAMPLES, second, workload=workload, cpu_seconds=cores, pid=pid, **free)
        world.add(Kind.METERS, second, busy_cpu_seconds=0.9)
        world.add(Kind.OPERATIONS, second, workload=INFERENCE)


def rows(view: SciView) -> dict[str, SciWorkloadView]:
    return {row.workload: row for row in view.workloads}


def test_reserved_and_unreserved_idle_are_the_idle_of_the_node(world: World) -> None:
    filled(world, poller=0.5)
    view = sci(world)
    (node,) = view.nodes
    stored = world.query("SELECT sum(idle_joules) AS idle, sum(active_joules) AS active FROM node_energy FINAL")[0]
    assert node.idle_joules == pytest.approx(stored["idle"])
    reserved = sum(row.reserved_idle_joules or 0 for row in view.workloads)
    assert reserved + node.unreserved_idle_joules == pytest.approx(stored["idle"], rel=1e-12)
    assert sum(row.active_joules for row in view.workloads) == pytest.approx(stored["active"])
    assert node.unreserved_idle_joules > 0
    assert node.unattributed_joules > 0


def test_each_share_names_what_it_rests_on(world: World) -> None:
    filled(world, poller=0.5)
    found = rows(sci(world))
    inference, poller, cron = found[INFERENCE], found[POLLER], found["service/cron"]
    assert (inference.cpu_basis, inference.memory_basis) == (["declared limit"], ["declared limit"])
    assert (poller.cpu_basis, poller.memory_basis) == (["CPUs allowed"], ["use"])
    assert (cron.cpu_basis, cron.memory_basis) == (["use"], ["use"])
    memory = 50 / 8000
    assert inference.reserved_share == pytest.approx(0.5 * 1 / 2 + 0.5 * 2 / 8)
    assert poller.reserved_share == pytest.approx(0.5 * 0.5 / 2 + 0.5 * memory)
    assert cron.reserved_share == pytest.approx(0.5 * 0.05 / 2 + 0.5 * memory)


def test_sci_is_energy_times_grid_plus_embodied_by_operation(world: World) -> None:
    filled(world)
    row = rows(sci(world))[INFERENCE]
    assert row.energy_joules is not None
    assert row.energy_joules.value == pytest.approx(row.active_joules + (row.reserved_idle_joules or 0))
    assert row.operations == pytest.approx(10 * SECONDS)
    assert row.operational_gco2e == pytest.approx(row.energy_joules.value / 3.6e6 * 380)
    assert row.reserved_share is not None
    assert row.embodied_gco2e == pytest.approx(1_000_000 * SECONDS / (4 * SECONDS_PER_YEAR) * row.reserved_share)
    per = row.sci_gco2e_per_operation
    assert per is not None
    assert per.value == pytest.approx((row.operational_gco2e + row.embodied_gco2e) / row.operations)
    assert per.lower < per.value < per.upper
    assert row.sci_reason is None


def test_what_is_reserved_and_idle_counts_though_it_hardly_runs(world: World) -> None:
    """A quiet process is told of twice a minute."""
    world.add(Kind.INVENTORY, 1)
    for second in range(1, SECONDS + 1):
        world.add(Kind.METERS, second, busy_cpu_seconds=0.1)
        if second % 30 == 0:
            world.add(Kind.SAMPLES, second, workload=INFERENCE, cpu_seconds=0.01, interval_seconds=30.0)
    assert rows(sci(world))[INFERENCE].reserved_share == pytest.approx(0.375)


def test_what_is_not_configured_is_null_with_its_reason(world: World) -> None:
    filled(world)
    view = sci(world, Carbon())
    row = rows(view)[INFERENCE]
    assert (view.grid_gco2e_per_kwh, view.grid_reason) == (None, NO_GRID)
    assert (row.operational_gco2e, row.embodied_gco2e, row.sci_gco2e_per_operation) == (None, None, None)
    assert row.sci_reason == NO_GRID
    assert "embodied_kgco2e" in (row.embodied_reason or "")
    assert "embodied_kgco2e" in (view.nodes[0].reason or "")
    assert row.energy_joules is not None
    only_grid = rows(sci(world, Carbon(380.0)))[INFERENCE]
    assert only_grid.sci_gco2e_per_operation is None
    assert only_grid.sci_reason == only_grid.embodied_reason
    assert only_grid.operational_gco2e is not None


def test_embodied_emissions_of_a_host_go_before_those_of_its_type() -> None:
    carbon = Carbon(None, {"node-a": 1.0, "m5.large": 2.0, "*": 3.0}, 1.0)
    names = [("node-a", "m5.large"), ("node-b", "m5.large"), ("node-b", None)]
    assert [carbon.embodied_grams(it, SECONDS_PER_YEAR) for it in names] == pytest.approx([1000, 2000, 3000])
    assert Carbon().embodied_grams(("node-a",), 1.0) is None


def test_without_operations_there_is_no_sci_and_with_none_done_neither(world: World) -> None:
    filled(world)
    for second in range(1, SECONDS + 1):
        world.add(Kind.OPERATIONS, second, workload=POLLER, operations=0.0)
    found = rows(sci(world))
    assert (found["service/cron"].sci_reason, found["service/cron"].operations) == (NO_SOURCE, None)
    assert (found[POLLER].sci_reason, found[POLLER].operations) == (NOTHING_DONE, 0)


def test_a_node_of_unknown_size_shares_no_idle_and_says_so(world: World) -> None:
    filled(world)
    world.rows[Kind.INVENTORY].clear()
    view = sci(world)
    (node,) = view.nodes
    assert NO_SIZE in (node.reason or "")
    assert node.unreserved_idle_joules == node.idle_joules > 0
    row = rows(view)[INFERENCE]
    assert (row.reserved_idle_joules, row.energy_joules, row.reserved_share, row.embodied_gco2e) == (None,) * 4
    assert (row.sci_reason, row.embodied_reason) == (NO_SIZE, NO_SIZE)
    assert row.active_joules > 0


def test_nothing_seen_is_an_empty_view(world: World) -> None:
    view = SeriesViews(world.store, declared, 5.0).sci("local", START, Clock(60)())
    assert (view.nodes, view.workloads) == ([], [])


def test_each_replica_has_its_limit_and_a_helper_without_a_replica_has_none(world: World) -> None:
    world.add(Kind.INVENTORY, 1, cpu_threads=8)
    for second in range(1, SECONDS + 1):
        world.add(Kind.METERS, second, busy_cpu_seconds=0.3)
        for pid, replica in enumerate(("0", "1", None)):
            world.add(Kind.SAMPLES, second, workload=INFERENCE, cpu_seconds=0.1, pid=pid + 1, replica=replica)
    assert rows(sci(world))[INFERENCE].reserved_share == pytest.approx(0.5 * 2 / 8 + 0.5 * 4 / 8)

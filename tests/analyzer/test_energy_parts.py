"""Who pays for a fast clock and for memory: by counters where there are any, through the real store."""

from __future__ import annotations

import pytest

from energy_orchestrator.analyze.estimator import default_model
from energy_orchestrator.model.wire import Kind
from energy_orchestrator.services.analyzer import Analyzer

from .world import Clock, World

FAST, SLOW = "declared/fast", "declared/slow"
NODES = "SELECT * FROM node_energy FINAL ORDER BY timestamp"


def active(world: World, second: float = 13) -> dict[str, float]:
    Analyzer(world.store, default_model(), 5.0, Clock(second)).run_once()
    rows = world.query("SELECT workload, sum(active_joules) AS joules FROM workload_energy FINAL GROUP BY workload")
    for node in world.query(NODES):
        whole = node["idle_joules"] + node["active_joules"] + node["unattributed_joules"]
        assert whole == pytest.approx(node["node_joules"], rel=1e-9)
    return {row["workload"]: row["joules"] for row in rows}


def counted(world: World, second: int, workload: str | None, cycles: float | None, misses: float = 0.0) -> None:
    node = workload is None
    world.add(
        Kind.COUNTERS, second, cgroup="node" if node else f"/{workload}", workload=workload, cycles=cycles,
        workload_kind=None if node else "declared", cpu_seconds=None if node else 0.5, cache_misses=misses,
        counted_share=1.0,
    )  # fmt: skip


def test_the_same_cpu_time_with_twice_the_cycles_costs_twice(world: World) -> None:
    world.steady(10, {FAST: 0.5, SLOW: 0.5})
    for second in range(1, 11):
        counted(world, second, None, 3e9)
        counted(world, second, FAST, 2e9)
        counted(world, second, SLOW, 1e9)
    world.put()
    found = active(world)
    assert found[FAST] == pytest.approx(2 * found[SLOW])


@pytest.mark.parametrize("node", [None, 3e9])
def test_counters_of_one_side_only_change_nothing(world: World, node: float | None) -> None:
    """A node whose kernel counts for it alone, or cgroups without their node."""
    world.steady(10, {FAST: 0.5, SLOW: 0.5})
    for second in range(1, 11):
        if node is None:
            counted(world, second, FAST, 2e9)
        else:
            counted(world, second, None, node)
    world.put()
    found = active(world)
    assert found[FAST] == pytest.approx(found[SLOW])


def test_what_no_counter_tells_counts_by_the_cycles_that_are_left(world: World) -> None:
    world.steady(10, {FAST: 0.5, SLOW: 0.5})
    for second in range(1, 11):
        counted(world, second, None, 3e9)
        counted(world, second, FAST, 2e9)
    world.put()
    found = active(world)
    assert found[FAST] == pytest.approx(2 * found[SLOW])


@pytest.mark.parametrize(("clock", "ratio"), [((1000.0, 3000.0), 3.0), ((2000.0, 2010.0), 1.0), ((None, 3000.0), 1.0)])
def test_cpu_time_under_a_higher_clock_costs_more(
    world: World, clock: tuple[float | None, float | None], ratio: float
) -> None:
    """One works while the clock is low, the other while it is high, both in every window; and where the clock is
    known only now and then, it is not asked."""
    for second in range(1, 11):
        low = second % 2 == 0
        world.add(Kind.SAMPLES, second, workload=SLOW if low else FAST, cpu_seconds=0.5, pid=100 + low)
        world.add(Kind.METERS, second, busy_cpu_seconds=0.5, frequency_mhz=clock[0] if low else clock[1])
    world.put()
    found = active(world)
    assert found[FAST] / 5 == pytest.approx(ratio * found[SLOW] / 5, rel=0.1 if ratio > 1 else 1e-6)


def test_memory_is_paid_by_those_whose_misses_reach_it(world: World) -> None:
    """Package 40 W at work and 10 at rest; memory 20 W at work and 5 at rest."""
    world.add(Kind.INVENTORY, -290)
    for second in range(-289, 11):
        works = second > 0
        world.add(Kind.METERS, second, busy_cpu_seconds=1.0 if works else 0.0)
        for zone, joules in (("package-0", 40.0 if works else 10.0), ("dram", 20.0 if works else 5.0)):
            world.add(Kind.METERS, second, meter="rapl", zone=zone, tier="on_die", energy_joules=joules)
        if works:
            for pid, workload in enumerate((FAST, SLOW), start=100):
                world.add(Kind.SAMPLES, second, workload=workload, cpu_seconds=0.5, pid=pid)
            counted(world, second, None, 2e9, misses=1e6)
            counted(world, second, FAST, 1e9, misses=0.9e6)
            counted(world, second, SLOW, 1e9, misses=0.1e6)
    world.put()
    Analyzer(world.store, default_model(), 2.0, Clock(3)).run_once()
    found = active(world)
    of_memory = 15.0 * 10
    assert found[FAST] - found[SLOW] == pytest.approx(0.8 * of_memory, rel=0.05)


def gpu_world(world: World, *, rapl: bool, silent: bool = False) -> None:
    """A GPU of 20 W at rest for two minutes, then 120 W: two thirds of its time `train`'s, one third of `waiting`'s,
    which uses no CPU time. Both other workloads use the same CPU time."""
    world.add(Kind.INVENTORY, -290)
    for second in range(-289, 11):
        works = second > 0
        world.add(Kind.METERS, second, busy_cpu_seconds=1.0 if works else 0.0)
        drawn = None if silent and works else 120.0 if works else 20.0
        board = {"meter": "nvml", "zone": "gpu-0", "tier": "on_die", "energy_joules": drawn, "power_watts": drawn}
        world.add(Kind.METERS, second, **board | {"busy_cpu_seconds": None, "steal_cpu_seconds": None})
        if rapl:
            joules = 40.0 if works else 10.0
            world.add(Kind.METERS, second, meter="rapl", zone="package-0", tier="on_die", energy_joules=joules)
        if works:
            for pid, workload in enumerate((FAST, SLOW), start=100):
                world.add(Kind.SAMPLES, second, workload=workload, cpu_seconds=0.5, pid=pid)
            for pid, (workload, use) in enumerate({FAST: 0.6, "declared/waiting": 0.3}.items(), start=100):
                world.add(
                    Kind.GPU_PROCESSES, second, workload=workload, sm_utilization_ratio=use, pid=pid, zone="gpu-0"
                )
    world.put()
    Analyzer(world.store, default_model(), 2.0, Clock(3)).run_once()


@pytest.mark.parametrize("rapl", [True, False])
def test_a_gpus_energy_is_its_users_with_or_without_a_meter_of_the_cpu(world: World, rapl: bool) -> None:
    gpu_world(world, rapl=rapl)
    found = active(world)
    of_gpu = 100.0 * 10
    assert found["declared/waiting"] == pytest.approx(of_gpu / 3, rel=0.02)
    assert found[FAST] - found[SLOW] == pytest.approx(of_gpu * 2 / 3, rel=0.02)
    node = world.query(NODES)[-1]
    assert node["tier"] == ("on_die" if rapl else "model")
    assert "nvml: gpu-0" in node["power_source"]


def test_a_gpu_that_falls_silent_makes_no_one_cheap_or_dear(world: World) -> None:
    gpu_world(world, rapl=True, silent=True)
    found = active(world)
    assert found[FAST] == pytest.approx(found[SLOW])
    node = world.query(NODES)[-1]
    assert node["tier"] == "model"
    assert "does not answer" in node["power_source"]

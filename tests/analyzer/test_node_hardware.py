"""A node's name may stand for another machine tomorrow: nothing of the old one is taken for the new one's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from energy_orchestrator.analyze.estimator import NodeHardware, default_model
from energy_orchestrator.model.wire import Kind
from energy_orchestrator.services.analyzer import Analyzer
from energy_orchestrator.services.node_hardware import HardwareHistory, InForce

from .world import Clock, World

NODE = ("local", "node-a")
SMALL, LARGE = NodeHardware(threads=2), NodeHardware(threads=64)
NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
NODES = "SELECT * FROM node_energy FINAL ORDER BY host, timestamp"


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def history(*machines: tuple[NodeHardware, float, float]) -> HardwareHistory:
    return HardwareHistory({NODE: tuple(InForce(known, at(since), at(until)) for known, since, until in machines)})


def test_a_window_is_told_by_the_machine_of_its_time() -> None:
    found = history((SMALL, 0, 40), (LARGE, 45, 90))
    assert [found.at(NODE, at(minute)) for minute in (-5, 0, 30, 44, 45, 200)] == [
        SMALL, SMALL, SMALL, SMALL, LARGE, LARGE,
    ]  # fmt: skip
    assert found.present() == {NODE: LARGE}
    assert found.changed() == {NODE: at(45)}


def test_a_machine_that_comes_back_is_itself_again() -> None:
    found = history((SMALL, 0, 100), (LARGE, 45, 60))
    assert [found.at(NODE, at(minute)) for minute in (44, 50, 100)] == [SMALL, LARGE, SMALL]
    assert found.present() == {NODE: SMALL}
    assert found.changed() == {NODE: at(60)}


def test_a_node_that_never_changed_has_not_changed_and_one_never_seen_is_unknown() -> None:
    found = history((SMALL, 0, 100))
    assert found.changed() == {}
    assert found.at(("local", "nobody"), NOON) == NodeHardware()


def test_a_node_that_becomes_another_machine_is_told_by_the_machine_of_each_window(world: World) -> None:
    world.add(Kind.INVENTORY, 0, cpu_threads=2, cores=1, virtual=False)
    world.add(Kind.INVENTORY, 10, cpu_threads=128, cores=64, sockets=2, virtual=False, cpu_model="AMD EPYC 7763")
    world.steady(20, {"declared/inference": 1.0})
    world.put()
    Analyzer(world.store, default_model(), 5.0, Clock(23)).run_once()
    watts = [row["node_joules"] / row["window_seconds"] for row in world.query(NODES)]
    assert watts[0] == pytest.approx(watts[1], rel=0.2)
    assert watts[2] == watts[3]
    assert watts[2] > 2 * watts[0]


@pytest.mark.parametrize("changes", [False, True])
def test_what_another_machine_drew_at_rest_is_not_this_ones_idle(world: World, changes: bool) -> None:
    world.add(Kind.INVENTORY, -290, cpu_model="Intel(R) Xeon(R) CPU E3-1240")
    if changes:
        world.add(Kind.INVENTORY, 0, cpu_model="AMD EPYC 7763")
    for second in range(-289, 31):
        quiet = second <= 20
        world.add(Kind.METERS, second, busy_cpu_seconds=0.0 if quiet else 1.5)
        for zone, joules in (("package-0", 10.0 if quiet else 50.0),):
            world.add(Kind.METERS, second, meter="rapl", zone=zone, tier="on_die", energy_joules=joules)
    world.put()
    clock = Clock(22)
    analyzer = Analyzer(world.store, default_model(), 2.0, clock)
    analyzer.run_once()
    clock.second = 33
    analyzer.run_once()
    newest = world.query(NODES)[-1]
    learned = newest["idle_joules"] / newest["window_seconds"] == pytest.approx(10.0, rel=0.05)
    assert learned is not changes
    assert ("no rest seen yet" in newest["power_source"]) is changes


def test_a_node_that_is_never_at_rest_has_an_idle_fitted_from_its_loads(world: World) -> None:
    """20 W of idle and 40 W by the model's own shape, seen between a quarter and all of its CPUs."""
    known = NodeHardware(threads=2, cores=1, sockets=1, mhz=2600.0, memory_gb=8.0, virtual=False)
    curve = default_model().curve(known)
    world.add(Kind.INVENTORY, -290, virtual=False)
    for second in range(-289, 31):
        load = 0.25 + 0.75 * (second % 8) / 7
        share = float(curve.active(np.array([load]))[0][0]) / curve.dynamic.value
        world.add(Kind.METERS, second, busy_cpu_seconds=2 * load)
        joules = 20.0 + 40.0 * share
        world.add(Kind.METERS, second, meter="rapl", zone="package-0", tier="on_die", energy_joules=joules)
    world.put()
    clock = Clock(22)
    analyzer = Analyzer(world.store, default_model(), 1.0, clock)
    analyzer.run_once()
    clock.second = 33
    analyzer.run_once()
    newest = world.query(NODES)[-1]
    assert newest["idle_joules"] / newest["window_seconds"] == pytest.approx(20.0, rel=0.1)

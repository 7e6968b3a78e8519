"""Alerts as windows come have the figures of the batch over the same span, with late rows and after a restart."""

from __future__ import annotations

import random
from datetime import timedelta

from energy_orchestrator.analyze.estimator import default_model
from energy_orchestrator.model.wire import Kind
from energy_orchestrator.services.alert_stream import AlertStream
from energy_orchestrator.services.alerts import Alerts
from energy_orchestrator.services.analyzer import Analyzer

from .world import Clock, World

SECONDS, CHANGED, WINDOW = 280, 140, 2.0
SPAN = timedelta(seconds=200)
WORKLOADS = ("declared/inference", "declared/poller", "declared/steady")


def telemetry(world: World, second: int, noise: random.Random) -> None:
    """At CHANGED one rises, one falls, one stays."""
    ratio = {"declared/inference": 1.6, "declared/poller": 0.6, "declared/steady": 1.0}
    cores = {name: 0.3 * (ratio[name] if second > CHANGED else 1.0) * noise.uniform(0.97, 1.03) for name in WORKLOADS}
    world.steady(1, cores, first=second - SECONDS)
    for name in WORKLOADS:
        world.add(Kind.OPERATIONS, second - SECONDS, workload=name)


def test_the_stream_has_the_figures_of_the_batch_at_every_look(world: World) -> None:
    noise, clock = random.Random(5), Clock()
    analyzer = Analyzer(world.store, default_model(), WINDOW, clock)
    stream = AlertStream(world.store, "local", WINDOW, SPAN)
    batch = Alerts(world.store, WINDOW)
    told, seen = [], []
    for second in range(1, SECONDS + 1):
        telemetry(world, second, noise)
        if second % 20:
            continue
        world.put()
        clock.second = second - SECONDS + 3
        analyzer.run_once()
        found = stream.look(clock())
        assert found == batch.listed("local", clock() - SPAN, clock())
        seen.append(len(found))
        told += stream.fresh(found)
    assert seen[0] == 0
    assert {(alert.workload, alert.severity) for alert in told} == {
        ("declared/inference", "warning"),
        ("declared/poller", "info"),
    }
    assert len(told) == 2, "each shift is told once"
    again = AlertStream(world.store, "local", WINDOW, SPAN)
    assert again.look(clock()) == found


def test_operations_that_come_late_by_less_than_two_minutes_are_taken_in(world: World) -> None:
    noise, clock = random.Random(6), Clock()
    for second in range(1, SECONDS + 1):
        telemetry(world, second, noise)
    edge = Clock(-100)()
    whole = world.rows[Kind.OPERATIONS]
    world.rows[Kind.OPERATIONS] = [row for row in whole if row["timestamp"] <= edge]
    world.put()
    clock.second = 3
    Analyzer(world.store, default_model(), WINDOW, clock).run_once()
    stream = AlertStream(world.store, "local", WINDOW, SPAN)
    before = stream.look(clock())
    world.rows[Kind.OPERATIONS] = [row for row in whole if row["timestamp"] > edge]
    world.put()
    clock.second = 5
    after = stream.look(clock())
    assert after == Alerts(world.store, WINDOW).listed("local", clock() - SPAN, clock())
    assert len(after) == 2
    assert before != after

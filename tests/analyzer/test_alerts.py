"""A deploy that costs energy is an alert: through the real analyzer on a real series store."""

from __future__ import annotations

import random

import pytest

from energy_orchestrator.analyze.estimator import default_model
from energy_orchestrator.api.control_plane import AlertView
from energy_orchestrator.model.wire import Kind
from energy_orchestrator.services.alerts import Alerts
from energy_orchestrator.services.analyzer import Analyzer

from .world import START, Clock, World

SPAN = 400
CHANGED = 200
WORKLOAD = "declared/inference"


def alerts_of(world: World, *, before: float, after: float, deployed_at: int | None) -> list[AlertView]:
    """A workload of ten operations a second whose CPU time for each moves at CHANGED; windows are of five seconds."""
    noise = random.Random(5)
    for second in range(1, SPAN + 1):
        if second % 5 == 1:
            wobble = noise.uniform(0.97, 1.03)
        cores = (before if second <= CHANGED else after) * wobble
        world.steady(1, {WORKLOAD: cores}, first=second - SPAN)
        world.add(Kind.OPERATIONS, second - SPAN, workload=WORKLOAD)
    for digest, second in (("sha256:old", 1), ("sha256:new", deployed_at)):
        if second is not None:
            world.add(
                Kind.INVENTORY, second - SPAN, scope="process", workload=WORKLOAD, pid=100, process_started_ms=1,
                image="shop/inference:latest", image_digest=digest,
            )  # fmt: skip
    world.put()
    clock = Clock()
    clock.second = 3
    Analyzer(world.store, default_model(), 5.0, clock).run_once()
    return list(Alerts(world.store, 5.0).listed("local", START.fromtimestamp(0, START.tzinfo), clock()))


def test_a_deploy_that_costs_energy_is_an_alert_that_names_the_version(world: World) -> None:
    (alert,) = alerts_of(world, before=0.6, after=0.9, deployed_at=CHANGED)
    assert alert.severity == "warning"
    assert abs((alert.at - START).total_seconds() - (CHANGED - SPAN)) <= 15
    assert (alert.version_before, alert.version_after) == ("sha256:old", "sha256:new")
    assert alert.change_ratio == pytest.approx(0.5, abs=0.05)


def test_a_shift_without_a_deploy_near_it_has_no_cause(world: World) -> None:
    (alert,) = alerts_of(world, before=0.9, after=0.6, deployed_at=60)
    assert (alert.severity, alert.version_after) == ("info", None)
    assert "no version change is known near it" in alert.message


def test_a_deploy_that_costs_nothing_is_no_alert(world: World) -> None:
    assert alerts_of(world, before=0.6, after=0.6, deployed_at=CHANGED) == []

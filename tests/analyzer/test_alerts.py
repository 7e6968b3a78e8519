"""A deploy that costs energy is an alert: through the real analyzer on a real series store."""

from __future__ import annotations

import random
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from energy_orchestrator.analyze.estimator import default_model
from energy_orchestrator.api.control_plane import AlertView
from energy_orchestrator.model.wire import Kind
from energy_orchestrator.services.alert_metrics import CHANGE, AlertMetrics
from energy_orchestrator.services.alert_stream import AlertStream
from energy_orchestrator.services.alerts import Alerts
from energy_orchestrator.services.analyzer import Analyzer

from .world import START, Clock, World

SPAN = 400
CHANGED = 200
WORKLOAD = "declared/inference"
OLD, NEW = {"image_digest": "sha256:old"}, {"image_digest": "sha256:new"}


def known(world: World, second: float, pid: int, *, workload: str = WORKLOAD, **named: str) -> None:
    """A process that started at `second`, as its agent tells a little later."""
    row = {"scope": "process", "pid": pid, "process_started_ms": int((START.timestamp() + second - SPAN) * 1000)}
    world.add(Kind.INVENTORY, second - SPAN + 2, workload=workload, command_line="server", **row | named)


def telemetry(world: World, *, before: float, after: float) -> None:
    """A workload of ten operations a second whose CPU time for each moves at CHANGED; windows are of five seconds."""
    noise = random.Random(5)
    for second in range(1, SPAN + 1):
        if second % 5 == 1:
            wobble = noise.uniform(0.97, 1.03)
        cores = (before if second <= CHANGED else after) * wobble
        world.steady(1, {WORKLOAD: cores}, first=second - SPAN)
        world.add(Kind.OPERATIONS, second - SPAN, workload=WORKLOAD)


def alerts_of(
    world: World, *, before: float, after: float, deploys: list[tuple[float, dict[str, Any]]]
) -> list[AlertView]:
    telemetry(world, before=before, after=after)
    for place, (second, named) in enumerate(deploys):
        known(world, second, 100 + place, **named)
    world.put()
    clock = Clock(3)
    Analyzer(world.store, default_model(), 5.0, clock).run_once()
    return list(Alerts(world.store, 5.0).listed("local", START.fromtimestamp(0, START.tzinfo), clock()))


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ({**OLD, "image": "shop/inference:latest"}, {**NEW, "image": "shop/inference:latest"}, "image_digest"),
        ({"image": "shop/inference:1"}, {"image": "shop/inference:2"}, "image"),
        ({"checksum": "9f86d081884c7d65" * 4}, {"checksum": "2c26b46b68ffc68f" * 4}, "checksum"),
    ],
)
def test_a_deploy_that_costs_energy_is_an_alert_that_names_the_version(
    world: World, old: dict[str, str], new: dict[str, str], kind: str
) -> None:
    (alert,) = alerts_of(world, before=0.6, after=0.9, deploys=[(1, old), (CHANGED, new)])
    assert alert.severity == "warning"
    assert abs((alert.at - START).total_seconds() - (CHANGED - SPAN)) <= 15
    assert (alert.version_before, alert.version_after, alert.version_named_by) == (old[kind], new[kind], kind)
    assert alert.change_ratio == alert.change.value == pytest.approx(0.5, abs=0.05)
    assert 0.4 < alert.change.lower < alert.change.value < alert.change.upper < 0.6
    shown = "9f86d081884c\N{HORIZONTAL ELLIPSIS}" if kind == "checksum" else old[kind]
    assert f"{shown} was replaced by" in alert.message


def test_a_deploy_that_was_taken_back_is_a_fall_with_its_cause(world: World) -> None:
    """The older version is named again: when it was first seen says nothing."""
    (alert,) = alerts_of(world, before=0.9, after=0.6, deploys=[(1, OLD), (60, NEW), (CHANGED, OLD)])
    assert (alert.severity, alert.version_before, alert.version_after) == ("info", "sha256:new", "sha256:old")
    assert alert.change.upper < 0
    assert "J/op fell by 33" in alert.message


def test_a_process_told_of_once_before_the_span_is_what_the_deploy_replaced(world: World) -> None:
    telemetry(world, before=0.6, after=0.9)
    known(world, -60, 90, **OLD)
    known(world, CHANGED, 91, **NEW)
    world.put()
    clock = Clock(3)
    Analyzer(world.store, default_model(), 5.0, clock).run_once()
    (alert,) = Alerts(world.store, 5.0).listed("local", Clock(1 - SPAN)(), clock())
    assert (alert.version_before, alert.version_after) == ("sha256:old", "sha256:new")


def test_a_deploy_of_another_workload_or_a_restart_is_no_cause(world: World) -> None:
    known(world, 1, 200, workload="declared/poller", **OLD)
    known(world, CHANGED, 201, workload="declared/poller", **NEW)
    (alert,) = alerts_of(world, before=0.6, after=0.9, deploys=[(1, OLD), (CHANGED, OLD)])
    assert alert.version_after is None
    assert "no version change is known near it" in alert.message


def test_a_shift_without_a_deploy_near_it_has_no_cause(world: World) -> None:
    (alert,) = alerts_of(world, before=0.9, after=0.6, deploys=[(1, OLD), (60, NEW)])
    assert (alert.severity, alert.version_after) == ("info", None)
    assert "no version change is known near it" in alert.message


def test_a_deploy_that_costs_nothing_is_no_alert(world: World) -> None:
    assert alerts_of(world, before=0.6, after=0.6, deploys=[(1, OLD), (CHANGED, NEW)]) == []


def test_an_alert_is_a_metric_until_it_leaves_the_window_and_is_counted_once(world: World) -> None:
    found = alerts_of(world, before=0.6, after=0.9, deploys=[(1, OLD), (CHANGED, NEW)])
    stream, metrics, registry = AlertStream(world.store, "local", 5.0), AlertMetrics(), CollectorRegistry()
    registry.register(metrics)
    labels = {"tenant": "local", "workload": WORKLOAD, "severity": "warning", "version_after": "sha256:new"}
    for second, expected in ((3, found[0].change_ratio), (8, found[0].change_ratio), (7200, None)):
        alerts = stream.look(Clock(second)())
        metrics.keep(stream.tenant, alerts, stream.fresh(alerts))
        assert registry.get_sample_value(CHANGE, labels) == pytest.approx(expected)
    assert registry.get_sample_value("eo_alerts_total", {"tenant": "local", "severity": "warning"}) == 1

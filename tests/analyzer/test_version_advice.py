"""From rows of the series store to advice about versions: the cheaper one is named only where it surely is."""

from __future__ import annotations

from datetime import timedelta

import pytest

from energy_orchestrator.analyze.estimator import default_model
from energy_orchestrator.model.recommendation import Recommendation, Tried
from energy_orchestrator.model.wire import Kind
from energy_orchestrator.recommend.ranking import RankingSettings
from energy_orchestrator.services import version_advice
from energy_orchestrator.services.analyzer import Analyzer
from energy_orchestrator.services.fleet_analysis import Task, advise
from energy_orchestrator.services.past import Past
from energy_orchestrator.services.shards import Worker
from energy_orchestrator.services.version_advice import VersionAdvice

from .test_operation_costs import WINDOW, WORKLOAD, known, run, undeclared
from .world import START, Clock, World


@pytest.fixture(autouse=True)
def short_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a real day windows of four minutes are made; here the day is two minutes long."""
    monkeypatch.setattr(version_advice, "LOOKED_BACK", timedelta(seconds=123))


def two_versions(
    world: World, before: float, after: float, first: str = "sha256:aa", second: str = "sha256:bb"
) -> None:
    """A minute of each, one after the other, the same operations."""
    run(world, 1, 60, before)
    run(world, 61, 60, after, pid=101)
    known(world, 100, image_digest="sha256:aa", image="shop:latest")
    known(world, 101, 61, image_digest=second, image="shop:latest")
    world.add(Kind.INVENTORY, 1, cpu_model="Xeon", node_type="R750")
    world.put()
    Analyzer(world.store, default_model(), WINDOW, Clock(123)).run_once()


def advice(world: World, past: Past | None = None, worker: Worker | None = None) -> list[Recommendation]:
    made = VersionAdvice(world.store, WINDOW, undeclared, past or Past(), RankingSettings())
    return made.recommend("local", Clock(123)(), worker or Worker())


def test_an_older_version_that_took_less_is_named_with_its_interval(world: World) -> None:
    two_versions(world, 0.4, 0.6)
    (it,) = advice(world)
    assert (it.suggestion_type.value, it.change.executor) == ("image", "none")
    assert (it.change.patch, it.change.inverse) == ({"image_digest": "sha256:aa"}, {"image_digest": "sha256:bb"})
    assert it.target.workload == WORKLOAD
    share = it.expected_savings_j.value / it.target_spend_j.value
    evidence = {row.name: row.value for row in it.evidence}
    ratio = float(evidence["other: sha256:aa"]) / float(evidence["now: sha256:bb"])
    assert 0.5 < ratio < 0.85
    assert share == pytest.approx(1 - ratio, abs=0.01)
    assert 0 < it.expected_savings_j.lower < it.expected_savings_j.value < it.expected_savings_j.upper
    assert it.expected_savings_j.upper <= it.target_spend_j.upper
    assert "On R750, Xeon, 2 threads sha256:aa took 0.7" in it.explanation
    assert "by the same meters" in it.explanation


@pytest.mark.parametrize(("before", "after"), [(0.6, 0.4), (0.5, 0.5)])
def test_a_version_that_took_more_or_as_much_is_not(world: World, before: float, after: float) -> None:
    two_versions(world, before, after)
    assert advice(world) == []


def test_a_few_windows_are_not_enough(world: World) -> None:
    run(world, 1, 20, 0.4)
    run(world, 21, 100, 0.6, pid=101)
    known(world, 100, image_digest="sha256:aa")
    known(world, 101, 21, image_digest="sha256:bb")
    world.add(Kind.INVENTORY, 1, cpu_model="Xeon", node_type="R750")
    world.put()
    Analyzer(world.store, default_model(), WINDOW, Clock(123)).run_once()
    assert advice(world) == []


def test_one_version_or_another_tenant_is_no_candidate(world: World) -> None:
    two_versions(world, 0.4, 0.6, second="sha256:aa")
    assert advice(world) == []
    other = VersionAdvice(world.store, WINDOW, undeclared, Past(), RankingSettings())
    assert other.recommend("other", Clock(123)()) == []


def test_one_of_several_workers_tells_it(world: World) -> None:
    two_versions(world, 0.4, 0.6)
    found = [advice(world, worker=Worker(number, 3)) for number in range(3)]
    assert sorted(len(it) for it in found) == [0, 0, 1]


def test_it_comes_with_the_batch_and_minds_what_was_tried(world: World) -> None:
    two_versions(world, 0.4, 0.6)
    past = Past(tries={("local", "image"): [Tried("declared/other", None, None)]})
    task = Task(START, Clock(123)(), WINDOW, past=past)
    found = {it.source: it for it in advise(world.store, task)}
    assert "0 of 1 such changes" in found["version"].confidence_reason
    assert found["version"].confidence < advice(world)[0].confidence

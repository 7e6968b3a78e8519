"""Which advice may be followed together, and how often a target is touched."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from energy_orchestrator.model.recommendation import SuggestionType
from energy_orchestrator.model.units import Bounded
from energy_orchestrator.recommend.observation import Finding
from energy_orchestrator.recommend.ranking import RankingSettings, recommendation
from energy_orchestrator.recommend.selection import Candidate, ChurnLimits, select
from energy_orchestrator.recommend.subject import Found, Subject

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def candidate(
    workload: str, watts: float, claims: dict[str, str] | None = None, kind: str = "power_cap", moves: int = 0
) -> Candidate:
    finding = Finding(
        strategy=kind,
        suggestion_type=SuggestionType(kind),
        patch={"x": 1},
        inverse={"x": 0},
        saved_watts=Bounded(watts, watts / 2, watts),
        spent_watts=Bounded(100, 100, 100),
        confidence=0.8,
        confidence_reason="test",
        risk_parts={"availability": 0.1},
        evidence=[],
        explanation="1",
        restarted_replicas=1,
    )
    made = recommendation(
        Found(Subject("t", workload, None, NOW, NOW), finding), 1000.0, RankingSettings(), workload, NOW
    )
    return Candidate(made, claims or {}, moves)


def kept(*candidates: Candidate, limits: ChurnLimits | None = None, **more: object) -> list[str]:
    chosen = select(candidates, limits or ChurnLimits(), more.get("changed", {}), int(more.get("moved", 0)), NOW)  # type: ignore[arg-type, call-overload]
    assert len(chosen.kept) + len(chosen.withheld) == len(candidates)
    assert all(reason for _, reason in chosen.withheld)
    return [it.recommendation.target.workload for it in chosen.kept]


def test_the_same_target_is_changed_once_by_what_ranks_higher() -> None:
    assert kept(candidate("w", 5), candidate("w", 9, kind="batching")) == ["w"]


def test_a_node_that_sleeps_needs_no_power_cap() -> None:
    sleeps = candidate("placement/n1", 50, {"node/n1": ""}, "placement")
    cap = candidate("training", 5, {"node/n1": "", "training": ""})
    assert kept(cap, sleeps) == ["placement/n1"]
    assert kept(cap, candidate("placement/n2", 50, {"node/n2": ""}, "placement")) == ["placement/n2", "training"]


def test_a_workload_that_is_shut_down_is_not_moved() -> None:
    stop = candidate("idle", 50, {"idle": ""}, "idle_shutdown")
    move = candidate("placement/n1", 5, {"node/n1": "", "idle": "plan"}, "placement")
    assert kept(stop, move) == ["idle"]


def test_parts_of_one_plan_go_together() -> None:
    parts = [candidate(f"placement/n{n}", 5 + n, {f"node/n{n}": "", "web": "plan"}, "placement") for n in (1, 2)]
    assert kept(*parts) == ["placement/n2", "placement/n1"]


@pytest.mark.parametrize(("minutes", "left"), [(30, []), (90, ["w"])])
def test_a_target_rests_after_a_change(minutes: float, left: list[str]) -> None:
    assert kept(candidate("w", 5), changed={"w": NOW - timedelta(minutes=minutes)}) == left


def test_only_so_many_moves_a_day_and_the_rest_waits() -> None:
    parts = [candidate(f"placement/n{n}", 5 + n, kind="placement", moves=4) for n in range(4)]
    assert kept(*parts, limits=ChurnLimits(moves_per_day=10)) == ["placement/n3", "placement/n2"]
    assert kept(*parts, limits=ChurnLimits(moves_per_day=10), moved=7) == []


def test_too_little_is_not_worth_it() -> None:
    limits = ChurnLimits(minimum_savings_j_per_day=6 * 86_400)
    assert kept(candidate("small", 5), candidate("large", 7), limits=limits) == ["large"]

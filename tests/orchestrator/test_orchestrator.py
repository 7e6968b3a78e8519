"""Decide, execute, verify and the records joined: what a person or the analyzer asks, and what then happens."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from uuid_utils.compat import uuid7

from energy_orchestrator.audit.chain import verify
from energy_orchestrator.decide.decision import Budget
from energy_orchestrator.decide.policy import load_policies
from energy_orchestrator.errors import (
    ConflictError,
    DeniedError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from energy_orchestrator.execute.dry_run import DryRunExecutor
from energy_orchestrator.model.decision import DecisionOutcome, Mode
from energy_orchestrator.model.recommendation import Recommendation, RecommendationStatus, SuggestionType
from energy_orchestrator.model.rollout import Rollout
from energy_orchestrator.model.sample import MeasuredWindow
from energy_orchestrator.model.saving import Saving, SavingMethod
from energy_orchestrator.model.workload import Declaration
from energy_orchestrator.services.batch import keep
from energy_orchestrator.services.orchestrator import Orchestrator, OrchestratorSettings
from energy_orchestrator.store.records import audit_log, outcomes, recommendations, rollouts
from energy_orchestrator.store.records.database import Database
from energy_orchestrator.verify.analysis import AnalysisTemplate
from records.examples import NOW, advice

KEYS = {f"declared/{name}": name for name in ("inference", "poller", "cache")}
TEMPLATE = AnalysisTemplate(count=6, interval_seconds=1, initial_delay_seconds=0, grace_seconds=10)


@dataclass
class Measured:
    """Windows of one second. `canary` is the energy of what was changed, as a share of what it was before."""

    canary: float = 0.5
    operations: float | None = 100.0
    down: bool = False
    asked: int = 0
    later: tuple[datetime, dict[str, float]] | None = None
    """A moment, and what each workload's energy is from then on, as a share of what it was."""

    def windows(
        self, tenant: str, workload: str, replicas: Sequence[str] | None, start: datetime, end: datetime
    ) -> list[MeasuredWindow]:
        self.asked += 1
        if self.down:
            raise UnavailableError("the series store does not answer")
        changed = replicas is not None and any(name.endswith("-1") for name in replicas)
        made = []
        while start + timedelta(seconds=1) <= end:
            level = self.canary if changed else 1.0
            if self.later and start >= self.later[0]:
                level = self.later[1].get(workload, 1.0)
            jitter = (start.second * 7 % 11) / 100
            made.append(
                MeasuredWindow(
                    start,
                    start + timedelta(seconds=1),
                    5.0,
                    self.operations,
                    level + jitter if self.operations else None,
                    0.01,
                    0.0,
                )
            )
            start += timedelta(seconds=1)
        return made

    def neighbours(self, tenant: str, workload: str, start: datetime, changed: datetime, end: datetime) -> list[str]:
        return [name for name in (self.later[1] if self.later else ()) if name != workload]


class Plant:
    """An orchestrator on real records, a dry-run executor and a clock that the test moves."""

    def __init__(self, database: Database, mode: Mode = Mode.APPROVE, **budget: Any) -> None:
        self.database, self.now = database, NOW
        self.executor, self.measured = DryRunExecutor(2), Measured()
        self.labels = {"environment": "demo"}
        self.settings = OrchestratorSettings(mode=mode, budget=Budget(**budget), analysis=TEMPLATE, watch_windows=4)
        self.restart()

    def restart(self) -> None:
        self.it = Orchestrator(
            self.database,
            {"local": self.executor},
            self.declaration,
            load_policies(None),
            self.measured,
            self.settings,
            lambda: self.now,
        )

    def declaration(self, tenant: str, workload: str) -> Declaration:
        if workload not in KEYS or tenant != "local":
            raise NotFoundError(f"{workload} is not declared")
        return Declaration.model_validate(
            {
                "name": KEYS[workload],
                "command": ["true"],
                "replicas": 2,
                "environment": {"BATCH_MAX": "1", "SECRET": "x"},
                "knobs": {"BATCH_MAX": {"meaning": "batch_size", "allowed": ["1", "4", "8"]}},
                "slo": {"latency_p95_seconds": 0.1},
                "labels": self.labels,
            }
        )

    def found(self, *ones: Recommendation) -> None:
        self.it.store_found(ones)

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds / 0.5)):
            self.now += timedelta(seconds=0.5)
            self.it.tick()

    def status(self, one: Recommendation) -> RecommendationStatus:
        with self.database.transaction() as connection:
            return recommendations.get(connection, one.target.tenant, one.id).status

    def rollouts(self) -> list[Rollout]:
        with self.database.transaction() as connection:
            return rollouts.listed(connection, "local")

    def actions(self) -> list[str]:
        with self.database.transaction() as connection:
            entries = list(audit_log.entries(connection))
            assert verify(entries, {"database": audit_log.head(connection)}).ok
        return [entry.action for entry in entries]

    def decision(self, one: Recommendation) -> DecisionOutcome | None:
        with self.database.transaction() as connection:
            found = recommendations.last_decision(connection, one.target.tenant, one.id)
        return found.outcome if found else None


@pytest.fixture
def plant(database: Database) -> Plant:
    return Plant(database)


def test_an_approved_saving_is_tried_measured_and_kept(plant: Plant) -> None:
    one = advice()
    plant.found(one)
    assert plant.decision(one) is DecisionOutcome.NEEDS_APPROVAL
    plant.run(3)
    assert plant.rollouts() == []
    plant.it.approve("local", one.id, "ada")
    plant.run(30)
    assert plant.status(one) is RecommendationStatus.SUCCESSFUL
    assert plant.executor.applied == [("declared/inference", 50), ("declared/inference", 100)]
    with plant.database.transaction() as connection:
        saved = rollouts.savings(connection, "local", plant.rollouts()[0].id)
        kept = outcomes.tried(connection, "local", "batching")
    assert saved is not None
    assert saved.lower <= 0.5 <= saved.upper
    assert kept[0].saved_share == pytest.approx(0.5, abs=0.1)
    actions = plant.actions()
    assert actions[:4] == ["recommendation.found", "decision", "recommendation.approved", "rollout.created"]


def test_what_a_batch_put_into_the_records_is_decided_about_once(plant: Plant) -> None:
    one = advice(life=timedelta(hours=1))
    assert keep(plant.database, [one], plant.now, timedelta(hours=1)) == 1
    assert plant.decision(one) is None
    plant.run(2)
    assert plant.decision(one) is DecisionOutcome.NEEDS_APPROVAL
    assert plant.actions() == ["recommendation.found", "decision"]
    plant.it.approve("local", one.id, "ada")
    plant.run(30)
    assert plant.status(one) is RecommendationStatus.SUCCESSFUL


@pytest.fixture
def lone(database: Database) -> Plant:
    """With one replica, changed at once, and windows enough for a comparison with neighbours."""
    plant = Plant(database)
    plant.executor = DryRunExecutor(1)
    plant.settings = replace(plant.settings, analysis=replace(TEMPLATE, count=14))
    plant.restart()
    return plant


def kept_saving(plant: Plant, workload: str, later: dict[str, float]) -> Saving | None:
    """Change a workload; from then on energies are these shares of what they were."""
    plant.measured.later = (plant.now + timedelta(seconds=1), later)
    one = advice(workload=workload, at=plant.now)
    plant.found(one)
    plant.it.approve("local", one.id, "ada")
    plant.run(30)
    assert plant.status(one) is RecommendationStatus.SUCCESSFUL
    with plant.database.transaction() as connection:
        run = rollouts.last_analysis(connection, "local", plant.rollouts()[0].id)
    return run.saving if run else None


def test_what_the_time_did_to_neighbours_is_taken_off_the_saving_of_a_lone_replica(lone: Plant) -> None:
    """The change halves the energy; meanwhile all on the node came to take 1.4 of what they took."""
    saving = kept_saving(lone, "declared/inference", {"declared/inference": 0.7, "declared/cache": 1.4})
    assert saving is not None
    assert saving.method is SavingMethod.DIFFERENCE_IN_DIFFERENCES
    assert saving.ratio is not None
    assert saving.ratio.value == pytest.approx(0.5, abs=0.02)


def test_a_neighbour_that_was_itself_changed_is_no_control(lone: Plant) -> None:
    kept_saving(lone, "declared/cache", {"declared/cache": 0.7})
    saving = kept_saving(lone, "declared/inference", {"declared/inference": 0.7, "declared/cache": 1.4})
    assert saving is not None
    assert saving.method is not SavingMethod.DIFFERENCE_IN_DIFFERENCES


def test_a_change_that_costs_energy_is_put_back_and_rests(plant: Plant) -> None:
    plant.measured.canary = 1.5
    one = advice()
    plant.found(one)
    plant.it.approve("local", one.id, "ada")
    plant.run(30)
    assert plant.status(one) is RecommendationStatus.REVERTED
    assert plant.executor.promoted["local", "declared/inference"] == {}
    again, other = advice(at=plant.now), advice(patch={"environment": {"BATCH_MAX": "4"}}, at=plant.now)
    plant.found(again, other)
    assert plant.decision(again) is None  # the same rests for a day
    assert plant.decision(other) is DecisionOutcome.DENY  # its target cools down
    with pytest.raises(DeniedError, match="cooling down"):
        plant.it.approve("local", other.id, "ada")


def test_no_difference_waits_for_a_person_who_can_retry_or_abort(plant: Plant) -> None:
    plant.measured.canary = 1.0
    one = advice()
    plant.found(one)
    plant.it.approve("local", one.id, "ada")
    plant.run(15)
    rollout = plant.rollouts()[0]
    assert rollout.phase == "Inconclusive"
    plant.it.decide_inconclusive("local", rollout.id, "ada", retry=True)
    plant.run(15)
    assert plant.rollouts()[0].phase == "Inconclusive"
    plant.it.decide_inconclusive("local", rollout.id, "bob", retry=False)
    plant.run(3)
    assert plant.rollouts()[0].phase == "Failed"
    with pytest.raises(ConflictError, match="it is Failed"):
        plant.it.decide_inconclusive("local", rollout.id, "ada", retry=True)
    with plant.database.transaction() as connection:
        assert "bob" in {entry.actor for entry in audit_log.entries(connection)}


def test_a_store_that_is_down_for_long_reverts_and_for_a_moment_does_not(plant: Plant) -> None:
    one = advice()
    plant.found(one)
    plant.it.approve("local", one.id, "ada")
    plant.run(3)
    plant.measured.down = True
    plant.run(3)
    plant.measured.down = False
    plant.run(2)
    assert plant.rollouts()[0].phase == "Running"
    plant.measured.down = True
    plant.run(8)
    ended = plant.rollouts()[0]
    assert (ended.phase, "could not be taken" in ended.message) == ("Error", True)
    assert plant.executor.promoted["local", "declared/inference"] == {}


def test_the_series_are_asked_at_most_once_a_second(plant: Plant) -> None:
    one = advice()
    plant.found(one)
    plant.it.approve("local", one.id, "ada")
    plant.run(3)
    before = plant.measured.asked
    for _ in range(50):
        plant.now += timedelta(milliseconds=100)
        plant.it.tick()
    assert plant.measured.asked - before <= 2 * 6  # canary and baseline


@pytest.mark.parametrize("environment", ["demo", "production"])
def test_auto_runs_alone_only_outside_production(database: Database, environment: str) -> None:
    plant = Plant(database, Mode.AUTO)
    plant.labels = {"environment": environment}
    one = advice()
    plant.found(one)
    plant.run(30)
    wanted = RecommendationStatus.SUCCESSFUL if environment == "demo" else RecommendationStatus.EXPIRED
    if environment != "demo":
        plant.now += timedelta(minutes=5)
        plant.run(1)
    assert plant.status(one) is wanted


def test_one_change_at_a_time_also_after_a_restart(database: Database) -> None:
    plant = Plant(database, Mode.AUTO)
    plant.found(*[advice(workload=key) for key in KEYS])
    for _ in range(3):
        plant.restart()  # VPA #2180: everything at once after a restart
        plant.found(*[advice(workload=key) for key in KEYS])
        plant.run(1)
        assert len(plant.rollouts()) == 1


def test_the_hourly_limit_survives_a_restart(database: Database) -> None:
    plant = Plant(database, Mode.APPROVE, max_rollouts_per_hour=1)
    first, second = advice(), advice(workload="declared/poller", life=timedelta(days=1))
    plant.found(first, second)
    plant.it.approve("local", first.id, "ada")
    plant.run(30)
    plant.it.approve("local", second.id, "ada")
    plant.restart()
    plant.run(5)
    assert plant.status(second) is RecommendationStatus.APPROVED
    plant.now += timedelta(hours=1)
    plant.run(30)
    assert plant.status(second) is RecommendationStatus.SUCCESSFUL


def test_a_pause_stops_everything_at_once_and_says_who_and_why(plant: Plant) -> None:
    one, two = advice(), advice(workload="declared/poller", life=timedelta(hours=3))
    plant.found(one, two)
    plant.it.approve("local", one.id, "ada")
    plant.run(1.5)
    done = list(plant.executor.applied)
    plant.it.pause("local", "ada", "heat wave")
    plant.restart()
    plant.run(60)
    assert plant.executor.applied == done
    with pytest.raises(DeniedError, match="paused by ada: heat wave"):
        plant.it.approve("local", two.id, "bob")
    plant.it.resume("local", "ada")
    plant.run(30)
    assert plant.status(one) is RecommendationStatus.SUCCESSFUL
    assert {"pause", "resume"} <= set(plant.actions())


def test_what_expired_or_was_decided_can_not_be_approved(plant: Plant) -> None:
    old, refused = advice(), advice(workload="declared/poller")
    plant.found(old, refused)
    plant.it.refuse("local", refused.id, "ada", "no")
    with pytest.raises(ConflictError, match="it is refused"):
        plant.it.approve("local", refused.id, "ada")
    plant.now += timedelta(minutes=3)
    with pytest.raises(ConflictError, match="it is expired"):  # even before the tick that says so
        plant.it.approve("local", old.id, "ada")
    plant.it.tick()
    assert plant.status(old) is RecommendationStatus.EXPIRED


def test_an_approval_that_never_got_its_turn_lapses(plant: Plant) -> None:
    one = advice()
    plant.found(one)
    plant.it.approve("local", one.id, "ada")
    plant.it.pause("local", "ada", "heat wave")
    plant.run(1)
    plant.now += timedelta(hours=2)
    plant.it.resume("local", "ada")
    plant.run(2)
    assert plant.status(one) is RecommendationStatus.EXPIRED
    assert plant.rollouts() == []


def test_a_busy_moment_does_not_look_like_a_refusal(plant: Plant) -> None:
    first, second = advice(), advice(workload="declared/poller")
    plant.found(first)
    plant.it.approve("local", first.id, "ada")
    plant.run(2)
    plant.found(second)
    assert plant.decision(second) is DecisionOutcome.NEEDS_APPROVAL
    plant.it.approve("local", second.id, "ada")
    plant.run(2)
    assert plant.status(second) is RecommendationStatus.APPROVED
    plant.run(40)
    assert plant.status(second) is RecommendationStatus.SUCCESSFUL


def test_of_two_people_at_once_one_approves(plant: Plant) -> None:
    one = advice()
    plant.found(one)

    def approve(name: str) -> bool:
        try:
            plant.it.approve("local", one.id, name)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(approve, ["ada", "bob", "eve"])) == [False, False, True]


def test_people_and_the_loop_at_once_do_not_deadlock(plant: Plant) -> None:
    many = [advice(workload=key, patch={"environment": {"BATCH_MAX": str(n)}}) for key in KEYS for n in range(8)]
    plant.found(*many)

    def refuse(one: Recommendation) -> None:
        plant.it.refuse("local", one.id, "ada", "no")

    def find(_: int) -> None:
        # The analyzer gives each finding an id of its own, also when it says the same again.
        plant.found(*(replace(one, id=str(uuid7())) for one in many))

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(refuse, one) for one in many] + [pool.submit(find, n) for n in range(4)]
        assert [job.exception() for job in jobs] == [None] * len(jobs)
    assert plant.actions().count("recommendation.refused") == len(many)


def test_what_nobody_declared_can_not_be_approved(plant: Plant) -> None:
    one = advice(executor="none", workload="process/redis")
    plant.found(one)
    assert plant.decision(one) is DecisionOutcome.DENY
    with pytest.raises(DeniedError, match="declare it"):
        plant.it.approve("local", one.id, "ada")


def test_an_approval_that_no_executor_here_takes_fails_and_says_why(plant: Plant) -> None:
    one = advice(executor="kubernetes")
    plant.found(one)
    plant.it.approve("local", one.id, "ada")
    plant.run(1)
    assert plant.status(one) is RecommendationStatus.FAILED
    assert "recommendation.failed" in plant.actions()


def test_a_proposal_takes_the_same_road_and_promises_nothing(plant: Plant) -> None:
    one = plant.it.propose("local", "declared/inference", {"BATCH_MAX": "8"}, None, "ada", "try it", 4_000.0)
    assert (one.source, one.suggestion_type) == ("operator", SuggestionType.BATCHING)
    assert (one.expected_savings_j.value, one.expected_savings_j.upper) == (0.0, 4_000.0)
    assert one.change.inverse == {"environment": {"BATCH_MAX": "1"}}
    with pytest.raises(ConflictError, match="already proposed"):
        plant.it.propose("local", "declared/inference", {"BATCH_MAX": "8"}, None, "bob", "", 4_000.0)
    plant.it.approve("local", one.id, "ada")
    plant.run(30)
    assert plant.status(one) is RecommendationStatus.SUCCESSFUL


@pytest.mark.parametrize(
    ("environment", "replicas", "words"),
    [
        ({"BATCH_MAX": "5"}, None, ["inference.environment.BATCH_MAX", "1, 4, 8"]),
        ({"SECRET": "y"}, None, ["SECRET is not a knob", "BATCH_MAX"]),
        ({"BATCH_MAX": "1"}, None, ["already"]),
        ({}, None, ["nothing to change"]),
        ({}, 65, ["0 to 64"]),
        ({}, -1, ["0 to 64"]),
        ({}, 2, ["already"]),
    ],
)
def test_a_wrong_proposal_names_the_field_and_what_is_allowed(
    plant: Plant, environment: dict[str, str], replicas: int | None, words: list[str]
) -> None:
    with pytest.raises(InvalidInputError) as error:
        plant.it.propose("local", "declared/inference", environment, replicas, "ada", "", 1.0)
    assert all(word in str(error.value) for word in words)
    with plant.database.transaction() as connection:
        assert recommendations.listed(connection, "local") == []


def test_a_proposal_for_an_unknown_workload_is_not_found(plant: Plant) -> None:
    with pytest.raises(NotFoundError):
        plant.it.propose("local", "declared/nobody", {"A": "1"}, None, "ada", "", 1.0)


@pytest.mark.parametrize(("operations", "phase"), [(0.0, "Successful"), (3.0, "Failed"), (None, "Inconclusive")])
def test_only_what_does_nothing_is_stopped(plant: Plant, operations: float | None, phase: str) -> None:
    plant.measured.operations = operations
    one = advice(
        workload="declared/cache",
        patch={"replicas": 0},
        inverse={"replicas": 2},
        kind=SuggestionType.IDLE_SHUTDOWN,
    )
    plant.found(one)
    plant.it.approve("local", one.id, "ada")
    plant.run(20)
    assert plant.rollouts()[0].phase == phase
    stopped = plant.executor.promoted.get(("local", "declared/cache"), {}) == {"replicas": 0}
    assert stopped == (phase == "Successful")
    with plant.database.transaction() as connection:
        ratios = [it.saved_share for it in outcomes.tried(connection, "local", "idle_shutdown")]
    assert ratios == {"Successful": [1.0], "Failed": [None], "Inconclusive": []}[phase]


def test_tenants_have_their_own_pause_and_budget(plant: Plant) -> None:
    mine, theirs = advice(), replace(advice(tenant="other"), labels={})
    plant.found(mine, theirs)
    plant.it.pause("other", "eve", "theirs")
    plant.it.approve("local", mine.id, "ada")
    plant.run(30)
    assert plant.status(mine) is RecommendationStatus.SUCCESSFUL
    with pytest.raises(NotFoundError):
        plant.it.refuse("other", mine.id, "eve", "not mine")

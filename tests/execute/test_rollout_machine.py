"""The rules of a rollout, driven through a simulated world with crashes, pauses and people in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy_orchestrator.errors import ConflictError
from energy_orchestrator.execute import rollout_machine as machine
from energy_orchestrator.execute.driver import Driver
from energy_orchestrator.execute.dry_run import DryRunExecutor
from energy_orchestrator.execute.port import TargetState
from energy_orchestrator.execute.rollout_machine import Action, Observation, Transition
from energy_orchestrator.model.analysis_run import AnalysisPhase, AnalysisRun
from energy_orchestrator.model.rollout import Rollout, RolloutPhase, StepKind

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
PATCH = {"environment": {"BATCH_MAX": "8"}}
BEFORE = {"promoted": {"environment": {"BATCH_WAIT_MS": "2"}}}
AFTER = {"environment": {"BATCH_WAIT_MS": "2", "BATCH_MAX": "8"}}
UP = TargetState(True, False, "", ("inference-1",), ("inference-0",))
DOWN = replace(UP, converged=False, message="waiting for inference-1")
BROKEN = replace(DOWN, failed=True, message="inference-1 keeps dying")


def rollout(replicas: int = 2, patch: Mapping[str, Any] = PATCH, **changes: Any) -> Rollout:
    made = Rollout(
        id="r1",
        recommendation_id="rec1",
        tenant="local",
        workload="declared/inference",
        executor="dry_run",
        patch=patch,
        pre_image=BEFORE,
        steps=machine.plan(replicas, patch),
        started_at=NOW,
        step_started_at=NOW,
    )
    return replace(made, **changes)


def at_step(kind: StepKind, **changes: Any) -> Rollout:
    base = rollout()
    index = next(n for n, step in enumerate(base.steps) if step.kind is kind)
    phase = RolloutPhase.WATCHING if kind is StepKind.WATCH else RolloutPhase.RUNNING
    return replace(base, step_index=index, phase=phase, **changes)


def seen(
    state: str | None = None, target: TargetState = UP, run: AnalysisPhase | None = None, *, paused: bool = False
) -> Observation:
    analysis = AnalysisRun(run, (), "canary_vs_baseline", "said the judge") if run else None
    return Observation(paused, state, "because", target, analysis)


def kinds(replicas: int, patch: Mapping[str, Any]) -> list[StepKind]:
    return [step.kind for step in machine.plan(replicas, patch)]


SCOPE, SMOKE, WATCH, PAUSE = StepKind.SET_SCOPE, StepKind.SMOKE, StepKind.WATCH, StepKind.PAUSE


def test_a_canary_comes_first_where_there_are_several_replicas() -> None:
    assert kinds(2, PATCH) == [SCOPE, SMOKE, StepKind.ANALYSIS, SCOPE, SMOKE, WATCH]
    assert [step.percent for step in machine.plan(4, PATCH) if step.kind is SCOPE] == [25, 100]


@pytest.mark.parametrize(
    ("replicas", "patch", "wanted"),
    [
        (1, PATCH, [SCOPE, SMOKE, WATCH]),
        (4, {"replicas": 3}, [SCOPE, SMOKE, WATCH]),
        (2, {"replicas": 0}, [StepKind.IDLE_CHECK, SCOPE, PAUSE]),
        (0, {"replicas": 2}, [SCOPE, SMOKE, PAUSE]),
    ],
)
def test_other_changes_have_a_plan_that_fits_them(replicas: int, patch: dict[str, int], wanted: list[StepKind]) -> None:
    assert kinds(replicas, patch) == wanted


@pytest.mark.parametrize("run", AnalysisPhase)
@pytest.mark.parametrize("kind", [StepKind.ANALYSIS, StepKind.WATCH])
def test_only_successful_goes_on(kind: StepKind, run: AnalysisPhase) -> None:
    found = machine.advance(at_step(kind), seen(run=run), NOW).rollout
    expected = {
        AnalysisPhase.RUNNING: at_step(kind).phase,
        AnalysisPhase.FAILED: RolloutPhase.REVERTING,
        AnalysisPhase.ERROR: RolloutPhase.REVERTING,
        AnalysisPhase.INCONCLUSIVE: RolloutPhase.INCONCLUSIVE,
        AnalysisPhase.SUCCESSFUL: RolloutPhase.RUNNING if kind is StepKind.ANALYSIS else RolloutPhase.SUCCESSFUL,
    }
    assert found.phase is expected[run]
    assert (found.step_index > at_step(kind).step_index) == (run is AnalysisPhase.SUCCESSFUL)


@pytest.mark.parametrize("phase", [RolloutPhase.SUCCESSFUL, RolloutPhase.FAILED, RolloutPhase.ERROR])
def test_what_is_finished_never_changes(phase: RolloutPhase) -> None:
    ended = rollout(phase=phase, finished_at=NOW)
    for transition in (
        machine.advance(ended, seen("done"), NOW),
        machine.abort(ended, "no", NOW),
        machine.retry(ended, NOW),
    ):
        assert transition == Transition(ended)


def test_inconclusive_waits_for_a_person_and_reverts_in_the_end() -> None:
    waiting = at_step(StepKind.ANALYSIS, message="no difference")
    waiting = replace(waiting, phase=RolloutPhase.INCONCLUSIVE)
    soon, late = NOW + timedelta(minutes=14), NOW + timedelta(minutes=16)
    assert machine.advance(waiting, seen(), soon) == Transition(waiting)
    again = machine.retry(waiting, soon).rollout
    assert (again.phase, again.attempt, again.step_started_at) == (RolloutPhase.RUNNING, 1, soon)
    assert machine.advance(waiting, seen(), late).rollout.phase is RolloutPhase.REVERTING


def test_a_replica_that_does_not_come_up_reverts() -> None:
    applied = rollout(phase=RolloutPhase.RUNNING)
    assert machine.advance(applied, seen("done", BROKEN), NOW).rollout.phase is RolloutPhase.REVERTING
    assert machine.advance(applied, seen("done", DOWN), NOW).rollout == applied
    late = NOW + timedelta(seconds=machine.CONVERGE_SECONDS + 1)
    assert machine.advance(applied, seen("done", DOWN), late).rollout.phase is RolloutPhase.REVERTING


def test_reverting_ends_only_when_the_pre_image_is_back() -> None:
    reverting = rollout(phase=RolloutPhase.REVERTING, failure=RolloutPhase.ERROR)
    assert machine.advance(reverting, seen("done", DOWN), NOW).rollout == reverting
    ended = machine.advance(reverting, seen("done", UP), NOW).rollout
    assert (ended.phase, ended.finished_at) == (RolloutPhase.ERROR, NOW)


def test_a_failed_revert_is_repeated_as_a_new_act() -> None:
    reverting = rollout(phase=RolloutPhase.REVERTING, failure=RolloutPhase.FAILED)
    again = machine.advance(reverting, seen("failed", DOWN), NOW + timedelta(seconds=31)).rollout
    first, second = machine.action_of(reverting), machine.action_of(again)
    assert first is not None
    assert second is not None
    assert first.id != second.id


@pytest.mark.parametrize("phase", [phase for phase in RolloutPhase if not phase.finished])
@pytest.mark.parametrize("state", [None, "intended", "done", "failed"])
def test_a_pause_lets_nothing_begin(phase: RolloutPhase, state: str | None) -> None:
    before = rollout(phase=phase)
    stopped = machine.advance(before, seen(state, paused=True), NOW)
    assert stopped.action is None
    assert stopped.rollout == replace(before, paused_at=NOW)
    assert machine.advance(stopped.rollout, seen(state, paused=True), NOW + timedelta(days=9)) == Transition(
        stopped.rollout
    )


def test_time_spent_paused_does_not_pass_for_a_step() -> None:
    applied = rollout(phase=RolloutPhase.RUNNING, paused_at=NOW + timedelta(seconds=60))
    resumed_at = NOW + timedelta(hours=9)
    resumed = machine.advance(applied, seen("done", DOWN), resumed_at).rollout
    assert resumed.paused_at is None
    in_time, too_late = resumed_at + timedelta(seconds=29), resumed_at + timedelta(seconds=31)
    assert machine.advance(resumed, seen("done", DOWN), in_time).rollout.phase is RolloutPhase.RUNNING
    assert machine.advance(resumed, seen("done", DOWN), too_late).rollout.phase is RolloutPhase.REVERTING


def test_each_step_has_its_own_time() -> None:
    """Else a slow first step would use up the time of the second."""
    late = NOW + timedelta(seconds=80)
    second = machine.advance(at_step(StepKind.SMOKE), seen("done"), late).rollout
    assert second.step_started_at == late


def test_a_pause_between_the_intent_and_the_act_stops_the_act() -> None:
    journal, executor = MemoryJournal(), DryRunExecutor()
    journal.kept["r1"] = rollout()

    def pause_then(point: str) -> None:
        journal.is_paused = point == "after_store" and journal.begun != []

    driver = Driver(journal, {"dry_run": executor}, lambda *_: None, pause_then)
    for n in range(3):
        driver.tick(NOW + timedelta(seconds=n))
        assert executor.applied == []
        if journal.is_paused:
            break
    assert journal.acts == {"r1/0/0/apply": ("intended", "")}
    journal.is_paused = False
    driver = Driver(journal, {"dry_run": executor}, lambda *_: None)
    for n in range(3, 8):
        driver.tick(NOW + timedelta(seconds=n))
    assert executor.applied == [("declared/inference", 50)]


def test_an_analysis_starts_afresh_after_a_pause() -> None:
    paused = at_step(StepKind.ANALYSIS, paused_at=NOW + timedelta(seconds=20))
    later = NOW + timedelta(hours=1)
    assert machine.advance(paused, seen(), later).rollout.step_started_at == later


# -- the whole loop ---------------------------------------------------------------------------------------------


class Crash(BaseException):
    """The process is gone."""


@dataclass
class MemoryJournal:
    """The journal in memory; what is stored survives a crash, as a committed transaction does."""

    kept: dict[str, Rollout] = field(default_factory=dict)
    acts: dict[str, tuple[str, str]] = field(default_factory=dict)
    begun: list[str] = field(default_factory=list)
    is_paused: bool = False

    def active(self) -> list[Rollout]:
        return [it for it in self.kept.values() if not it.phase.finished]

    def paused(self, tenant: str) -> bool:
        return self.is_paused

    def action(self, tenant: str, action_id: str) -> tuple[str | None, str]:
        return self.acts.get(action_id, (None, ""))

    def store(self, transition: Transition, now: datetime) -> None:
        made = transition.rollout
        if self.kept[made.id].version != made.version:
            raise ConflictError("it moved on meanwhile")
        self.kept[made.id] = replace(made, version=made.version + 1)
        if transition.action and transition.action.id not in self.acts:
            self.acts[transition.action.id] = ("intended", "")
            self.begun.append(transition.action.id)

    def store_analysis(self, rollout: Rollout, run: AnalysisRun, now: datetime) -> None:
        pass

    def finish(self, rollout: Rollout, action: Action, failed: str | None, message: str, now: datetime) -> None:
        assert self.acts[action.id][0] == "intended"
        self.acts[action.id] = ("done" if failed is None else "failed", failed or message)


KEY = ("local", "declared/inference")
POINTS = ("before_store", "after_store", "after_act", "after_finish")
EVENTS = st.lists(
    st.sampled_from(
        [
            *["tick"] * 6,
            "wait",
            *[f"crash {point}" for point in POINTS],
            *["pause", "resume", "abort", "retry"],
            *[f"judge {phase.value}" for phase in AnalysisPhase],
            *["judge Successful"] * 3,
        ]
    ),
    max_size=60,
)


class World:
    """A rollout with everything around it, moved by named events."""

    def __init__(self, replicas: int, patch: Mapping[str, Any]) -> None:
        self.journal, self.executor = MemoryJournal(), DryRunExecutor(replicas)
        self.executor.promoted[KEY] = dict(BEFORE["promoted"])
        self.journal.kept["r1"] = rollout(replicas, patch)
        self.now = NOW
        self.verdict = AnalysisPhase.RUNNING
        self.crash_at = ""
        self.restart()

    def restart(self) -> None:
        self.driver = Driver(self.journal, {"dry_run": self.executor}, self.analyze, self.crash_point)

    def do(self, event: str) -> None:
        self.now += timedelta(seconds=100 if event == "wait" else 0.4)
        match event.split():
            case ["tick" | "wait"]:
                self.tick()
            case ["crash", point]:
                self.crash_at = point
                self.tick()
            case ["pause" | "resume"]:
                self.journal.is_paused = event == "pause"
            case ["abort"]:
                self.journal.store(machine.abort(self.rollout, "by a person", self.now), self.now)
            case ["retry"]:
                self.journal.store(machine.retry(self.rollout, self.now), self.now)
            case ["judge", verdict]:
                self.verdict = AnalysisPhase(verdict)

    def tick(self) -> None:
        try:
            self.driver.tick(self.now)
        except Crash:
            self.restart()

    def crash_point(self, point: str) -> None:
        if point == self.crash_at:
            self.crash_at = ""
            raise Crash

    def analyze(self, rollout: Rollout, target: TargetState, now: datetime) -> AnalysisRun:
        return AnalysisRun(self.verdict, (), "canary_vs_baseline", "said")

    def finish(self) -> None:
        """Nothing disturbs it any more."""
        self.journal.is_paused, self.crash_at = False, ""
        if self.verdict is AnalysisPhase.RUNNING:
            self.verdict = AnalysisPhase.SUCCESSFUL
        for _ in range(80):
            self.now += timedelta(seconds=20)
            self.tick()

    @property
    def rollout(self) -> Rollout:
        return self.journal.kept["r1"]


@settings(deadline=None, max_examples=400)
@given(EVENTS, st.integers(0, 4), st.sampled_from([PATCH, {"replicas": 0}, {"replicas": 3}]))
def test_it_always_ends_with_the_whole_change_or_the_exact_pre_image(
    events: list[str], replicas: int, patch: dict[str, Any]
) -> None:
    world = World(replicas, patch)
    for event in events:
        before = list(world.executor.applied), list(world.journal.begun)
        world.do(event)
        if world.journal.is_paused:
            assert (world.executor.applied, world.journal.begun) == before
    world.finish()
    ended = world.rollout
    assert ended.phase.finished
    changed = AFTER if patch == PATCH else {**BEFORE["promoted"], **patch}
    whole = ended.phase is RolloutPhase.SUCCESSFUL
    assert world.executor.promoted[KEY] == (changed if whole else BEFORE["promoted"])
    assert world.executor.canaries.get(KEY, 0) == 0
    assert len(world.journal.begun) == len(set(world.journal.begun))


@pytest.mark.parametrize("verdict", ["Successful", "Failed", "Error", "Inconclusive"])
def test_each_verdict_has_its_end(verdict: str) -> None:
    world = World(2, PATCH)
    for event in [f"judge {verdict}", *["tick"] * 40]:
        world.do(event)
    world.finish()
    wanted = {"Successful": "Successful", "Failed": "Failed", "Error": "Error", "Inconclusive": "Failed"}
    assert world.rollout.phase == wanted[verdict]


def finished(crash_at: str, number: int) -> tuple[Rollout, DryRunExecutor]:
    """A successful rollout whose process ends once, at the nth passing of a point."""
    journal, executor = MemoryJournal(), DryRunExecutor(2)
    journal.kept["r1"] = rollout(pre_image={"promoted": {}})
    passed = 0

    def crash_point(point: str) -> None:
        nonlocal passed
        passed += point == crash_at
        if point == crash_at and passed == number:
            raise Crash

    def analyze(rollout: Rollout, target: TargetState, now: datetime) -> AnalysisRun:
        return AnalysisRun(AnalysisPhase.SUCCESSFUL, (), "canary_vs_baseline")

    driver = Driver(journal, {"dry_run": executor}, analyze, crash_point)
    for n in range(40):
        try:
            driver.tick(NOW + timedelta(seconds=n))
        except Crash:
            driver = Driver(journal, {"dry_run": executor}, analyze, crash_point)
    return journal.kept["r1"], executor


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("number", range(1, 8))
def test_a_crash_at_any_point_ends_the_same(point: str, number: int) -> None:
    (plain, undisturbed), (crashed, executor) = finished("", 0), finished(point, number)
    assert crashed.phase is plain.phase is RolloutPhase.SUCCESSFUL
    assert executor.promoted == undisturbed.promoted
    # What was begun and not marked done is set once more, to the same value; nothing else is.
    assert list(dict.fromkeys(executor.applied)) == undisturbed.applied
    assert len(executor.applied) - len(undisturbed.applied) <= (point == "after_act")


def test_a_step_gets_its_time_again_after_a_restart_and_only_once() -> None:
    class Slow(DryRunExecutor):
        def observe(self, tenant: str, workload: str) -> TargetState:
            return DOWN

    journal, executor = MemoryJournal(), Slow()
    journal.kept["r1"] = rollout()
    driver = Driver(journal, {"dry_run": executor}, lambda *_: None)
    for n in range(4):
        driver.tick(NOW + timedelta(seconds=n))
    back = NOW + timedelta(hours=1)
    driver = Driver(journal, {"dry_run": executor}, lambda *_: None)
    for n in range(0, 80, 10):
        driver.tick(back + timedelta(seconds=n))
    assert journal.kept["r1"].phase is RolloutPhase.RUNNING
    for n in range(80, 200, 10):
        driver.tick(back + timedelta(seconds=n))
    assert journal.kept["r1"].phase is RolloutPhase.REVERTING


def test_trouble_with_one_rollout_does_not_hold_up_the_others() -> None:
    journal = MemoryJournal()
    journal.kept = {
        "r0": rollout(executor="gone", id="r0"),
        "r1": rollout(id="r1"),
    }
    driver = Driver(journal, {"dry_run": DryRunExecutor()}, lambda *_: None)
    for _ in range(4):
        with pytest.raises(Exception, match="no executor 'gone'"):
            driver.tick(NOW)
    assert journal.kept["r1"].step_index == 1
    assert journal.kept["r0"].step_index == 0


def test_a_person_who_was_faster_is_not_overwritten() -> None:
    journal, executor = MemoryJournal(), DryRunExecutor()
    journal.kept["r1"] = rollout()

    def abort_meanwhile(point: str) -> None:
        if point == "before_store" and journal.kept["r1"].phase is RolloutPhase.PENDING:
            journal.store(machine.abort(journal.kept["r1"], "by a person", NOW), NOW)

    Driver(journal, {"dry_run": executor}, lambda *_: None, abort_meanwhile).tick(NOW)
    assert journal.kept["r1"].phase is RolloutPhase.REVERTING
    assert executor.applied == []


def test_a_failed_smoke_test_reverts() -> None:
    class Silent(DryRunExecutor):
        def smoke(self, tenant: str, workload: str) -> tuple[bool, str]:
            return False, "no answer"

    journal, executor = MemoryJournal(), Silent()
    journal.kept["r1"] = rollout()
    driver = Driver(journal, {"dry_run": executor}, lambda *_: None)
    for n in range(12):
        driver.tick(NOW + timedelta(seconds=n))
    assert journal.kept["r1"].phase is RolloutPhase.FAILED
    assert "no answer" in journal.kept["r1"].message
    assert executor.promoted["local", "declared/inference"] == BEFORE["promoted"]
    assert journal.begun[-1] == "r1/revert/0"

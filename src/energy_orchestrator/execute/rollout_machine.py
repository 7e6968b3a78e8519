"""The rules of a rollout. Pure: a state, what was observed and the time give the next state and at most one act.

Words follow Argo Rollouts (https://argo-rollouts.readthedocs.io/en/stable/features/specification/). The rules:

- One act at a time. An act has an id made of rollout, step and attempt, so asking for it again is the same act.
- While paused by the kill switch nothing is begun: no act, no step. Time spent paused does not pass for a step, and
  an analysis that was interrupted starts again with fresh windows. So does a step that a restart interrupted: while
  the orchestrator was away nothing could converge and nothing was measured, which is not the change's fault.
- setScope is done when the executor says that what runs is what is wanted; when that fails, or takes longer than
  CONVERGE_SECONDS, the rollout reverts.
- smoke must answer at once; a failed smoke test reverts.
- analysis: Successful goes on; Failed and Error revert; Inconclusive stops in phase Inconclusive and never passes.
  There an operator may retry or abort; after INCONCLUSIVE_SECONDS it reverts by itself.
- watch is an analysis after full rollout, with the same consequences: failing there still restores the pre-image.
- A workload is stopped only after idleCheck found that it did nothing.
- Reverting goes on until the executor says that the pre-image is back. Only then the rollout is Failed or Error.
- A finished rollout never changes again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from energy_orchestrator.execute.port import TargetState
from energy_orchestrator.model.analysis_run import AnalysisPhase, AnalysisRun
from energy_orchestrator.model.rollout import Rollout, RolloutPhase, Step, StepKind

CONVERGE_SECONDS = 90.0
REVERT_AGAIN_SECONDS = 30.0
INCONCLUSIVE_SECONDS = 900.0
SETTLE_SECONDS = 10.0
"""How long a stopped or newly started workload is left alone before it counts as done."""
MEASURING = (StepKind.ANALYSIS, StepKind.WATCH, StepKind.IDLE_CHECK)


class ActionKind(StrEnum):
    """What the driver is to do."""

    APPLY = "apply"
    SMOKE = "smoke"
    REVERT = "revert"


@dataclass(frozen=True, slots=True)
class Action:
    """An act with the id under which it is journalled."""

    id: str
    kind: ActionKind
    percent: int = 0


@dataclass(frozen=True, slots=True)
class Observation:
    """What the driver found out. `action_state` is the journal's word on the present act: None, intended, done,
    failed; `action_message` what came of it."""

    paused: bool
    action_state: str | None
    action_message: str
    target: TargetState | None
    analysis: AnalysisRun | None
    restarted: bool = False
    """The process that moves the rollout is a new one, and this is its first look."""


@dataclass(frozen=True, slots=True)
class Transition:
    """The next state, an act to do after it is stored, and a line for the history (empty for none)."""

    rollout: Rollout
    action: Action | None = None
    event: str = ""


def plan(replicas: int, patch: Mapping[str, object]) -> tuple[Step, ...]:
    """Steps for a target: a canary of one replica where there are several, else before and after.

    A change of the number of replicas has no canary: no single replica has it. One that stands still has no before.
    """
    everywhere = Step(StepKind.SET_SCOPE, percent=100)
    settle = Step(StepKind.PAUSE, seconds=SETTLE_SECONDS)
    wanted = patch.get("replicas")
    if wanted == 0:
        return (Step(StepKind.IDLE_CHECK), everywhere, settle)
    if replicas == 0:
        return (everywhere, Step(StepKind.SMOKE), settle)
    if replicas == 1 or wanted is not None:
        return (everywhere, Step(StepKind.SMOKE), Step(StepKind.WATCH))
    return (
        Step(StepKind.SET_SCOPE, percent=max(1, 100 // replicas)),
        Step(StepKind.SMOKE),
        Step(StepKind.ANALYSIS),
        everywhere,
        Step(StepKind.SMOKE),
        Step(StepKind.WATCH),
    )


def action_of(rollout: Rollout) -> Action | None:
    """The act that the present state is about, if any."""
    if rollout.phase is RolloutPhase.REVERTING:
        return Action(f"{rollout.id}/revert/{rollout.attempt}", ActionKind.REVERT)
    step = rollout.step
    if rollout.phase.finished or step is None:
        return None
    name = f"{rollout.id}/{rollout.step_index}/{rollout.attempt}"
    if step.kind is StepKind.SET_SCOPE:
        return Action(f"{name}/apply", ActionKind.APPLY, step.percent or 100)
    return Action(f"{name}/smoke", ActionKind.SMOKE) if step.kind is StepKind.SMOKE else None


def advance(rollout: Rollout, seen: Observation, now: datetime) -> Transition:
    """One step of the rules above."""
    held = _held(rollout, seen, now)
    if held is not None:
        return held
    if rollout.phase is RolloutPhase.PENDING:
        started = replace(rollout, phase=_phase_of(rollout.step), step_started_at=now)
        return Transition(started, event=f"started: {_describe(rollout.step)}")
    if rollout.phase is RolloutPhase.REVERTING:
        return _reverting(rollout, seen, now)
    if rollout.phase is RolloutPhase.INCONCLUSIVE:
        return _inconclusive(rollout, now)
    step = rollout.step
    if step is None:
        return _succeed(rollout, now)
    match step.kind:
        case StepKind.SET_SCOPE:
            return _set_scope(rollout, step, seen, now)
        case StepKind.SMOKE:
            return _smoke(rollout, seen, now)
        case StepKind.PAUSE:
            waited = now - rollout.step_started_at >= timedelta(seconds=step.seconds or 0)
            return _next_step(rollout, now) if waited else Transition(rollout)
        case StepKind.ANALYSIS | StepKind.WATCH | StepKind.IDLE_CHECK:
            return _analysis(rollout, seen, now)


def _held(rollout: Rollout, seen: Observation, now: datetime) -> Transition | None:
    """What keeps it from moving now: its end, a pause, or time lost that it gets back first."""
    if rollout.phase.finished:
        return Transition(rollout)
    if seen.paused:
        return Transition(rollout) if rollout.paused_at else Transition(replace(rollout, paused_at=now), event="paused")
    if rollout.paused_at is not None:
        return _resumed(rollout, rollout.paused_at, now)
    if seen.restarted:
        return Transition(
            replace(rollout, step_started_at=now), event="the orchestrator was restarted; the step goes on"
        )
    return None


def abort(rollout: Rollout, reason: str, now: datetime, *, failure: RolloutPhase = RolloutPhase.FAILED) -> Transition:
    """Begin to revert; nothing changes when it already does or has finished."""
    if rollout.phase.finished or rollout.phase is RolloutPhase.REVERTING:
        return Transition(rollout)
    reverting = replace(
        rollout, phase=RolloutPhase.REVERTING, failure=failure, message=reason, step_started_at=now, attempt=0
    )
    return Transition(reverting, event=f"reverting: {reason}")


def retry(rollout: Rollout, now: datetime) -> Transition:
    """Repeat an inconclusive step with fresh windows."""
    if rollout.phase is not RolloutPhase.INCONCLUSIVE:
        return Transition(rollout)
    again = replace(
        rollout, phase=_phase_of(rollout.step), attempt=rollout.attempt + 1, step_started_at=now, message=""
    )
    return Transition(again, event="repeated by an operator")


def _resumed(rollout: Rollout, paused_at: datetime, now: datetime) -> Transition:
    fresh = rollout.step is not None and rollout.step.kind in MEASURING and not _waits_for_a_person(rollout)
    begun = now if fresh else rollout.step_started_at + (now - paused_at)
    return Transition(replace(rollout, paused_at=None, step_started_at=begun), event="resumed")


def _waits_for_a_person(rollout: Rollout) -> bool:
    return rollout.phase is RolloutPhase.INCONCLUSIVE


def _set_scope(rollout: Rollout, step: Step, seen: Observation, now: datetime) -> Transition:
    if seen.action_state in (None, "intended"):
        applying = replace(rollout, scope_percent=step.percent or 100)
        return Transition(applying, action_of(rollout), f"{step.describe()}" if seen.action_state is None else "")
    if seen.action_state == "failed":
        return abort(rollout, f"{step.describe()}: {seen.action_message}", now, failure=RolloutPhase.ERROR)
    if seen.target is not None and seen.target.converged:
        return _next_step(rollout, now)
    if seen.target is not None and seen.target.failed:
        return abort(rollout, f"{step.describe()}: {seen.target.message}", now)
    if now - rollout.step_started_at > timedelta(seconds=CONVERGE_SECONDS):
        return abort(rollout, f"{step.describe()}: not done within {CONVERGE_SECONDS:g} s", now)
    return Transition(rollout)


def _smoke(rollout: Rollout, seen: Observation, now: datetime) -> Transition:
    if seen.action_state in (None, "intended"):
        return Transition(rollout, action_of(rollout))
    if seen.action_state == "failed":
        return abort(rollout, f"smoke test: {seen.action_message}", now)
    return _next_step(rollout, now, f"smoke test passed: {seen.action_message}")


def _analysis(rollout: Rollout, seen: Observation, now: datetime) -> Transition:
    run = seen.analysis
    if seen.target is not None and seen.target.failed:
        return abort(rollout, seen.target.message, now)
    if run is None or run.phase is AnalysisPhase.RUNNING:
        return Transition(rollout)
    if run.phase is AnalysisPhase.SUCCESSFUL:
        return _next_step(rollout, now, f"{_describe(rollout.step)}: Successful. {run.message}")
    if run.phase is AnalysisPhase.INCONCLUSIVE:
        waiting = replace(rollout, phase=RolloutPhase.INCONCLUSIVE, message=run.message, step_started_at=now)
        return Transition(waiting, event=f"Inconclusive: {run.message}")
    failure = RolloutPhase.ERROR if run.phase is AnalysisPhase.ERROR else RolloutPhase.FAILED
    return abort(rollout, f"{run.phase.value}: {run.message}", now, failure=failure)


def _inconclusive(rollout: Rollout, now: datetime) -> Transition:
    if now - rollout.step_started_at > timedelta(seconds=INCONCLUSIVE_SECONDS):
        return abort(rollout, f"inconclusive, and nobody decided: {rollout.message}", now)
    return Transition(rollout)


def _reverting(rollout: Rollout, seen: Observation, now: datetime) -> Transition:
    if seen.action_state in (None, "intended"):
        return Transition(replace(rollout, scope_percent=0), action_of(rollout))
    waited = now - rollout.step_started_at
    if seen.action_state == "failed":
        if waited <= timedelta(seconds=REVERT_AGAIN_SECONDS):
            return Transition(rollout)
        again = replace(rollout, attempt=rollout.attempt + 1, step_started_at=now)
        return Transition(again, event=f"the revert failed and is repeated: {seen.action_message}")
    if seen.target is not None and seen.target.converged:
        ended = replace(rollout, phase=rollout.failure or RolloutPhase.FAILED, finished_at=now)
        return Transition(ended, event=f"reverted: {rollout.message}")
    if waited > timedelta(seconds=CONVERGE_SECONDS):
        why = seen.target.message if seen.target else "the executor does not answer"
        return Transition(replace(rollout, step_started_at=now), event=f"still reverting: {why}")
    return Transition(rollout)


def _next_step(rollout: Rollout, now: datetime, event: str = "") -> Transition:
    moved = replace(rollout, step_index=rollout.step_index + 1, attempt=0, step_started_at=now, message="")
    if moved.step is None:
        done = _succeed(moved, now)
        return Transition(done.rollout, event="; ".join(filter(None, (event, done.event))))
    moved = replace(moved, phase=_phase_of(moved.step))
    return Transition(moved, event=event or f"{_describe(rollout.step)}: done")


def _succeed(rollout: Rollout, now: datetime) -> Transition:
    ended = replace(rollout, phase=RolloutPhase.SUCCESSFUL, finished_at=now, scope_percent=100)
    return Transition(ended, event="Successful: the change stays")


def _phase_of(step: Step | None) -> RolloutPhase:
    return RolloutPhase.WATCHING if step is not None and step.kind is StepKind.WATCH else RolloutPhase.RUNNING


def _describe(step: Step | None) -> str:
    return step.describe() if step else "end"

"""Drives rollouts: looks, asks the machine, writes the intent down, then acts.

The order of one tick is what makes a kill -9 harmless at any point:

1. read the rollout and the journal, look at what runs, evaluate the analysis;
2. ask `rollout_machine.advance`;
3. in one transaction store the new state, the history line, the audit entry and the intended act;
4. check the pause again, let the executor act, mark the act done.

A state that somebody else changed meanwhile (a person aborts) is refused by the journal, and looked at anew at the
next tick. What goes wrong with one rollout does not keep the others from moving.

Killed before 3 nothing happened. Killed between 3 and 4 the act is still `intended` and is done at the next tick;
executors set desired states, so doing it twice is doing it once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

from energy_orchestrator.errors import ConflictError, EoError, UnavailableError
from energy_orchestrator.execute import rollout_machine
from energy_orchestrator.execute.port import Executor, TargetState
from energy_orchestrator.execute.rollout_machine import Action, ActionKind, Observation, Transition
from energy_orchestrator.model.analysis_run import AnalysisRun
from energy_orchestrator.model.rollout import Rollout, RolloutPhase

log = logging.getLogger(__name__)


class Journal(Protocol):
    """What the driver needs of the records; implemented in `services/rollout_journal.py`."""

    def active(self) -> list[Rollout]:
        """Rollouts that are not finished."""
        ...

    def paused(self, tenant: str) -> bool:
        """Whether a pause is in force."""
        ...

    def action(self, tenant: str, action_id: str) -> tuple[str | None, str]:
        """State (None, intended, done, failed) and message of an act."""
        ...

    def store(self, transition: Transition, now: datetime) -> None:
        """Step 3 above; ConflictError when the rollout is not in the state the transition began at."""
        ...

    def store_analysis(self, rollout: Rollout, run: AnalysisRun, now: datetime) -> None:
        """Keep the newest state of an analysis."""
        ...

    def finish(self, rollout: Rollout, action: Action, failed: str | None, message: str, now: datetime) -> None:
        """Mark an act done, or failed with its reason."""
        ...


Analyze = Callable[[Rollout, TargetState, datetime], AnalysisRun | None]


def no_crash(point: str) -> None:
    """Tests put something here that ends the process at a named point."""


class Driver:
    """One tick moves every active rollout by at most one act."""

    def __init__(
        self,
        journal: Journal,
        executors: Mapping[str, Executor],
        analyze: Analyze,
        crash_point: Callable[[str], None] = no_crash,
    ) -> None:
        self._journal = journal
        self._executors = executors
        self._analyze = analyze
        self._crash_point = crash_point
        self._known: set[str] = set()

    def tick(self, now: datetime) -> None:
        """Move all active rollouts; raises the first error once every one had its turn."""
        errors: list[Exception] = []
        for rollout in self._journal.active():
            try:
                self._move(rollout, now)
            except ConflictError as error:
                log.info("rollout %s: %s", rollout.id, error)
            except Exception as error:  # raised below
                errors.append(error)
        if errors:
            raise errors[0]

    def _move(self, rollout: Rollout, now: datetime) -> None:
        transition = rollout_machine.advance(rollout, self._look(rollout, now), now)
        if transition.rollout == rollout and transition.action is None:
            return
        self._crash_point("before_store")
        self._journal.store(transition, now)
        if not transition.rollout.paused_at:
            self._known.add(rollout.id)
        self._crash_point("after_store")
        if transition.action is not None and not self._journal.paused(rollout.tenant):
            self._act(transition.rollout, transition.action, now)

    def _look(self, rollout: Rollout, now: datetime) -> Observation:
        paused = self._journal.paused(rollout.tenant)
        action = rollout_machine.action_of(rollout)
        state, message = self._journal.action(rollout.tenant, action.id) if action else (None, "")
        if paused or self._is_new_here(rollout):
            return Observation(paused, state, message, None, None, restarted=not paused)
        target = self._executor(rollout).observe(rollout.tenant, rollout.workload)
        run = None
        if not target.failed and _analysing(rollout):
            run = self._analyze(rollout, target, now)
            if run is not None:
                self._journal.store_analysis(rollout, run, now)
        return Observation(False, state, message, target, run)

    def _act(self, rollout: Rollout, action: Action, now: datetime) -> None:
        executor = self._executor(rollout)
        failed, message = None, ""
        try:
            match action.kind:
                case ActionKind.APPLY:
                    executor.apply(rollout.tenant, rollout.workload, rollout.patch, rollout.pre_image, action.percent)
                case ActionKind.REVERT:
                    executor.revert(rollout.tenant, rollout.workload, rollout.pre_image)
                case ActionKind.SMOKE:
                    passed, message = executor.smoke(rollout.tenant, rollout.workload)
                    failed = None if passed else message
        except (EoError, ValueError) as error:
            failed = str(error)
        self._crash_point("after_act")
        self._journal.finish(rollout, action, failed, message, now)
        self._crash_point("after_finish")

    def _is_new_here(self, rollout: Rollout) -> bool:
        return rollout.id not in self._known and rollout.phase is not RolloutPhase.PENDING

    def _executor(self, rollout: Rollout) -> Executor:
        if rollout.executor not in self._executors:
            raise UnavailableError(
                f"no executor {rollout.executor!r} here",
                where=f"rollout {rollout.id}",
                next_step="start with the executor that began it; nothing is moved until then",
            )
        return self._executors[rollout.executor]


def _analysing(rollout: Rollout) -> bool:
    measuring = rollout.step is not None and rollout.step.kind in rollout_machine.MEASURING
    return measuring and rollout.phase in (RolloutPhase.RUNNING, RolloutPhase.WATCHING) and rollout.paused_at is None

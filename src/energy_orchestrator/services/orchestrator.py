"""The orchestrator: joins decide, execute and verify on the records.

`tick` is called about twice a second: it expires what nobody found again, starts what was approved as far as the
budget allows, and moves every rollout by at most one act. The other methods are what people ask for; each is one
transaction with its audit entry inside.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from uuid_utils.compat import uuid7

from energy_orchestrator.decide.decision import Budget, over_budget
from energy_orchestrator.decide.policy import Policies
from energy_orchestrator.errors import (
    ConflictError,
    DeniedError,
    EoError,
    NotFoundError,
    UnavailableError,
)
from energy_orchestrator.execute import rollout_machine
from energy_orchestrator.execute.driver import Driver, no_crash
from energy_orchestrator.execute.port import Executor
from energy_orchestrator.model.decision import Decision, DecisionOutcome, Mode
from energy_orchestrator.model.pause import Pause
from energy_orchestrator.model.recommendation import (
    Recommendation,
    RecommendationStatus,
)
from energy_orchestrator.model.rollout import Rollout
from energy_orchestrator.services.decisions import Decisions
from energy_orchestrator.services.declarations import DeclarationOf
from energy_orchestrator.services.proposal import proposal
from energy_orchestrator.services.rollout_journal import RolloutJournal
from energy_orchestrator.services.step_analysis import Measurements, StepAnalysis
from energy_orchestrator.store.records import audit_log, outcomes, pauses, recommendations, rollouts
from energy_orchestrator.store.records.database import Connection, Database
from energy_orchestrator.verify.analysis import AnalysisTemplate

log = logging.getLogger(__name__)

APPROVAL_LIFE = timedelta(hours=1)
STORE_TRIES = 5


@dataclass(frozen=True, slots=True)
class OrchestratorSettings:
    """How strictly changes are tried."""

    mode: Mode = Mode.APPROVE
    budget: Budget = field(default_factory=Budget)
    analysis: AnalysisTemplate = field(default_factory=AnalysisTemplate)
    watch_windows: int = 6


class Orchestrator:
    """See the module. `executors` by name; `declaration_of` gives the declaration in force or raises NotFoundError."""

    def __init__(
        self,
        database: Database,
        executors: Mapping[str, Executor],
        declaration_of: DeclarationOf,
        policies: Policies,
        measurements: Measurements,
        settings: OrchestratorSettings,
        clock: Callable[[], datetime],
        crash_point: Callable[[str], None] = no_crash,
    ) -> None:
        self._database = database
        self._executors = executors
        self._declaration_of = declaration_of
        self._decisions = Decisions(policies, declaration_of, settings.mode, settings.budget)
        self._settings = settings
        self._clock = clock
        self._driver = Driver(
            RolloutJournal(database),
            executors,
            StepAnalysis(measurements, declaration_of, settings.analysis, settings.watch_windows, self._changed_since),
            crash_point,
        )

    # -- the loop -------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """One pass."""
        now = self._clock()
        with self._database.transaction() as connection:
            for old in recommendations.expire(connection, now):
                self._audit(connection, old, "orchestrator", "recommendation.expired", {}, now)
        self._decide_about_batches(now)
        self._start_approved(now)
        self._driver.tick(now)

    def _changed_since(self, tenant: str, since: datetime) -> set[str]:
        with self._database.transaction() as connection:
            return rollouts.workloads_since(connection, tenant, since)

    def store_found(self, found: Sequence[Recommendation]) -> None:
        """Keep what the analyzer found; decide about what is new. A transaction each: the audit log's lock is then
        always taken after the rows."""
        now = self._clock()
        for one in found:
            with self._database.transaction() as connection:
                kept = recommendations.upsert_found(connection, one, now)
                if kept is not None:
                    self._decide_if_new(connection, kept, now)

    def _decide_about_batches(self, now: datetime) -> None:
        """What a batch, maybe on another machine, has put into the records."""
        with self._database.transaction() as connection:
            waiting = recommendations.undecided(connection)
        for it in waiting:
            with self._database.transaction() as connection:
                self._decide_if_new(connection, it, now)

    def _decide_if_new(self, connection: Connection, row: Recommendation, now: datetime) -> None:
        decision = self._decisions.about(connection, row, now)
        before = recommendations.last_decision(connection, row.target.tenant, row.id)
        if before is None:
            self._audit(connection, row, row.source, "recommendation.found", _summary(row), now)
        if before is None or before.outcome is not decision.outcome:
            recommendations.add_decision(connection, row.target.tenant, row.id, decision, "policy", now)
            self._audit(connection, row, "policy", "decision", _decision_body(decision), now)
        if decision.outcome is DecisionOutcome.ALLOW:
            recommendations.transition(
                connection,
                row.target.tenant,
                row.id,
                [RecommendationStatus.OPEN],
                RecommendationStatus.APPROVED,
                now,
            )
            self._audit(connection, row, "policy", "recommendation.approved", {"mode": decision.mode.value}, now)

    def _start_approved(self, now: datetime) -> None:
        with self._database.transaction() as connection:
            tenants = connection.execute("SELECT DISTINCT tenant FROM recommendation WHERE status = 'approved'")
            waiting = [
                it
                for row in tenants.fetchall()
                for it in recommendations.listed(connection, row["tenant"], ["approved"])
            ]
        for recommendation in waiting:
            try:
                if recommendation.expires_at + APPROVAL_LIFE < now:
                    self._lapse(recommendation, now)
                else:
                    self._start(recommendation, now)
            except ConflictError:
                continue
            except UnavailableError as error:  # the approval stays, and is tried again
                log.info("recommendation %s waits: %s", recommendation.id, error)
            except EoError as error:
                log.warning("recommendation %s can't start: %s", recommendation.id, error)
                self._give_up(recommendation, str(error), now)

    def _start(self, it: Recommendation, now: datetime) -> None:
        executor = self._executors.get(it.change.executor)
        if executor is None:
            raise NotFoundError(f"no executor {it.change.executor!r} here", where=it.target.workload)
        tenant, workload = it.target.tenant, it.target.workload
        pre_image = executor.pre_image(tenant, workload)
        steps = rollout_machine.plan(executor.replicas(tenant, workload), dict(it.change.patch))
        with self._database.transaction() as connection:
            circumstances = self._decisions.circumstances(connection, it, now)
            if circumstances.pause or over_budget(it, circumstances, self._settings.budget, now):
                return
            recommendations.transition(
                connection, tenant, it.id, [RecommendationStatus.APPROVED], RecommendationStatus.EXECUTING, now
            )
            rollout = Rollout(
                id=str(uuid7()),
                recommendation_id=it.id,
                tenant=tenant,
                workload=workload,
                executor=it.change.executor,
                patch=dict(it.change.patch),
                pre_image=pre_image,
                steps=steps,
                started_at=now,
                step_started_at=now,
            )
            rollouts.insert(connection, rollout)
            body = {"patch": dict(rollout.patch), "pre_image": dict(pre_image), "steps": [s.describe() for s in steps]}
            self._audit(connection, it, "orchestrator", "rollout.created", body | {"rollout": rollout.id}, now)

    def _lapse(self, it: Recommendation, now: datetime) -> None:
        """Approved long ago and never begun (a pause, a full budget): what it rests on may not be true any more."""
        with self._database.transaction() as connection:
            recommendations.transition(
                connection,
                it.target.tenant,
                it.id,
                [RecommendationStatus.APPROVED],
                RecommendationStatus.EXPIRED,
                now,
            )
            body = {"reason": f"approved, but not begun within {APPROVAL_LIFE} after it expired"}
            self._audit(connection, it, "orchestrator", "recommendation.expired", body, now)

    def _give_up(self, it: Recommendation, why: str, now: datetime) -> None:
        with self._database.transaction() as connection:
            recommendations.transition(
                connection,
                it.target.tenant,
                it.id,
                [RecommendationStatus.APPROVED],
                RecommendationStatus.FAILED,
                now,
            )
            self._audit(connection, it, "orchestrator", "recommendation.failed", {"reason": why}, now)

    # -- what people ask for --------------------------------------------------------------------------------

    def approve(self, tenant: str, recommendation_id: str, actor: str) -> Recommendation:
        """Approve an open recommendation that no policy denies.

        Raises:
            ConflictError: expired or decided before. DeniedError: a policy, the mode or a pause forbids it.
        """
        now = self._clock()
        with self._database.transaction() as connection:
            it = recommendations.get(connection, tenant, recommendation_id)
            self._must_be_open(it, now)
            decision = self._decisions.about(connection, it, now, for_approval=True)
            if decision.outcome is DecisionOutcome.DENY:
                raise DeniedError(
                    "; ".join(decision.reasons),
                    where=f"recommendation {it.id}",
                    next_step="change the policy, the mode or lift the pause; `eo recommendations show` explains",
                )
            done = recommendations.transition(
                connection, tenant, it.id, [RecommendationStatus.OPEN], RecommendationStatus.APPROVED, now
            )
            self._audit(connection, it, actor, "recommendation.approved", {"patch": dict(it.change.patch)}, now)
        return done

    def refuse(self, tenant: str, recommendation_id: str, actor: str, reason: str) -> Recommendation:
        """Refuse an open recommendation; it is not found again for a while."""
        now = self._clock()
        with self._database.transaction() as connection:
            it = recommendations.get(connection, tenant, recommendation_id)
            self._must_be_open(it, now)
            done = recommendations.transition(
                connection, tenant, it.id, [RecommendationStatus.OPEN], RecommendationStatus.REFUSED, now
            )
            outcomes.add(connection, it, "refused", None, now)
            self._audit(connection, it, actor, "recommendation.refused", {"reason": reason}, now)
        return done

    def propose(
        self,
        tenant: str,
        workload: str,
        environment: Mapping[str, str],
        replicas: int | None,
        actor: str,
        reason: str,
        spend_j_per_day: float,
    ) -> Recommendation:
        """An operator's own change: the same road as any other, with no promise of a saving."""
        now = self._clock()
        one = proposal(
            tenant,
            self._declaration_of(tenant, workload),
            environment,
            replicas,
            actor,
            reason,
            spend_j_per_day,
            now,
        )
        with self._database.transaction() as connection:
            recommendations.insert(connection, one, now)
            self._audit(connection, one, actor, "recommendation.proposed", _summary(one), now)
            recommendations.add_decision(
                connection, tenant, one.id, self._decisions.about(connection, one, now), "policy", now
            )
        return one

    def decide_inconclusive(self, tenant: str, rollout_id: str, actor: str, *, retry: bool) -> Rollout:
        """Retry or abort; abort also ends a running rollout. ConflictError when it is finished."""
        now = self._clock()
        for _ in range(STORE_TRIES):
            with self._database.transaction() as connection:
                rollout = rollouts.get(connection, tenant, rollout_id)
            change = _person_decides(rollout, actor, now, retry=retry)
            with contextlib.suppress(ConflictError):  # the driver was faster: look again
                RolloutJournal(self._database).store(change, now, actor=actor)
                return change.rollout
        raise ConflictError("it keeps changing", where=f"rollout {rollout_id}", next_step="repeat the call")

    def pause(self, tenant: str, actor: str, reason: str) -> Pause:
        """Stop every executor of the tenant."""
        now = self._clock()
        with self._database.transaction() as connection:
            pause = pauses.add(connection, tenant, actor, reason, now)
            audit_log.append(
                connection,
                now,
                tenant=tenant,
                actor=actor,
                action="pause",
                subject=f"pause/{pause.id}",
                body={"reason": reason},
            )
        return pause

    def resume(self, tenant: str, actor: str) -> list[Pause]:
        """Lift every pause of the tenant."""
        now = self._clock()
        with self._database.transaction() as connection:
            lifted = pauses.lift_all(connection, tenant, actor, now)
            for pause in lifted:
                audit_log.append(
                    connection,
                    now,
                    tenant=tenant,
                    actor=actor,
                    action="resume",
                    subject=f"pause/{pause.id}",
                    body={},
                )
        return lifted

    # -- helpers --------------------------------------------------------------------------------------------

    def _must_be_open(self, it: Recommendation, now: datetime) -> None:
        if it.status is not RecommendationStatus.OPEN or it.expires_at < now:
            state = it.status.value if it.status is not RecommendationStatus.OPEN else "expired"
            raise ConflictError(
                f"it is {state}, so it can't be decided any more",
                where=f"recommendation {it.id}",
                next_step="`eo recommendations list` shows those that are open",
            )

    @staticmethod
    def _audit(
        connection: Connection, it: Recommendation, actor: str, action: str, body: Mapping[str, Any], now: datetime
    ) -> None:
        audit_log.append(
            connection,
            now,
            tenant=it.target.tenant,
            actor=actor,
            action=action,
            subject=f"recommendation/{it.id}",
            body=body,
        )


def _person_decides(rollout: Rollout, actor: str, now: datetime, *, retry: bool) -> rollout_machine.Transition:
    change = (
        rollout_machine.retry(rollout, now) if retry else rollout_machine.abort(rollout, f"aborted by {actor}", now)
    )
    if change.rollout == rollout:
        possible = "only an inconclusive step can be repeated" if retry else "it can't be aborted any more"
        raise ConflictError(f"it is {rollout.phase.value}: {possible}", where=f"rollout {rollout.id}")
    return change


def _summary(it: Recommendation) -> dict[str, Any]:
    return {
        "target": it.target.workload,
        "suggestion_type": it.suggestion_type.value,
        "patch": dict(it.change.patch),
        "inverse": dict(it.change.inverse),
        "expected_savings_j": [it.expected_savings_j.lower, it.expected_savings_j.value, it.expected_savings_j.upper],
        "confidence": it.confidence,
        "risk_score": it.risk_score,
    }


def _decision_body(decision: Decision) -> dict[str, Any]:
    return {"outcome": decision.outcome.value, "mode": decision.mode.value, "reasons": list(decision.reasons)}

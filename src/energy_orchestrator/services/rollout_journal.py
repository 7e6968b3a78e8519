"""The driver's journal on Postgres: state, history, audit entry and intent in one transaction.

When a rollout ends, the same transaction ends its recommendation and keeps the outcome for the playbook.
"""

from __future__ import annotations

from datetime import datetime

from energy_orchestrator.execute.rollout_machine import Action, Transition
from energy_orchestrator.model.analysis_run import AnalysisRun
from energy_orchestrator.model.recommendation import RecommendationStatus
from energy_orchestrator.model.rollout import Rollout, RolloutPhase
from energy_orchestrator.store.records import audit_log, outcomes, pauses, recommendations, rollouts
from energy_orchestrator.store.records.database import Connection, Database
from energy_orchestrator.verify import savings


class RolloutJournal:
    """Implements `execute.driver.Journal`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def active(self) -> list[Rollout]:
        """As the port says."""
        with self._database.transaction() as connection:
            return rollouts.active(connection)

    def paused(self, tenant: str) -> bool:
        """As the port says."""
        with self._database.transaction() as connection:
            return pauses.in_force(connection, tenant) is not None

    def action(self, tenant: str, action_id: str) -> tuple[str | None, str]:
        """As the port says."""
        with self._database.transaction() as connection:
            entry = rollouts.journal_entry(connection, tenant, action_id)
        return (entry.state, entry.message) if entry else (None, "")

    def store(self, transition: Transition, now: datetime, actor: str = "orchestrator") -> None:
        """As the port says; `actor` is who the audit log names."""
        rollout, action = transition.rollout, transition.action
        with self._database.transaction() as connection:
            rollouts.save(connection, rollout)  # first: refuses what is based on an older state
            if action is not None:
                payload = {"percent": action.percent, "patch": dict(rollout.patch)}
                rollouts.intend(connection, rollout, action.id, action.kind.value, payload, now)
            if rollout.phase.finished:
                self._close(connection, rollout, now)
            if transition.event:
                rollouts.add_event(connection, rollout, now, transition.event)
                self._audit(connection, rollout, transition.event, actor, now)  # last: its lock is taken after all rows

    def store_analysis(self, rollout: Rollout, run: AnalysisRun, now: datetime) -> None:
        """As the port says."""
        with self._database.transaction() as connection:
            rollouts.save_analysis(connection, rollout, run, now)

    def finish(self, rollout: Rollout, action: Action, failed: str | None, message: str, now: datetime) -> None:
        """As the port says."""
        state = "failed" if failed is not None else "done"
        with self._database.transaction() as connection:
            rollouts.finish_action(connection, rollout.tenant, action.id, state, failed or message, now)

    @staticmethod
    def _audit(connection: Connection, rollout: Rollout, event: str, actor: str, now: datetime) -> None:
        body = {"phase": rollout.phase.value, "step": rollout.step_index, "event": event, "patch": dict(rollout.patch)}
        audit_log.append(
            connection,
            now,
            tenant=rollout.tenant,
            actor=actor,
            action="rollout",
            subject=f"rollout/{rollout.id}",
            body=body,
        )

    @staticmethod
    def _close(connection: Connection, rollout: Rollout, now: datetime) -> None:
        """End the recommendation and remember what came of it."""
        kept = rollout.phase is RolloutPhase.SUCCESSFUL
        status = RecommendationStatus.SUCCESSFUL if kept else RecommendationStatus.REVERTED
        of = recommendations.transition(
            connection,
            rollout.tenant,
            rollout.recommendation_id,
            [RecommendationStatus.EXECUTING],
            status,
            now,
        )
        run = rollouts.canary_analysis(connection, rollout.tenant, rollout.id)
        if run is not None and kept and (saved := savings.per_operation(run)) is not None:
            rollouts.save_savings(connection, rollout, saved)
        measured = savings.ratio(run) if run is not None and kept else None
        outcomes.add(connection, of, status.value, measured, now)

"""Fetches what `decide/` asks for about one recommendation, in the caller's transaction: the declaration in force, the
mode, the policies' verdicts, the pause and what the budget has used up. Everything counted comes from the records, so
limits hold across restarts.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from energy_orchestrator.decide.decision import Budget, Circumstances, chosen_mode, decide, policy_context
from energy_orchestrator.decide.policy import Policies
from energy_orchestrator.model.decision import Decision, DecisionOutcome, Mode
from energy_orchestrator.model.recommendation import Recommendation
from energy_orchestrator.services.declarations import DeclarationOf, declared
from energy_orchestrator.store.records import outcomes, pauses, rollouts
from energy_orchestrator.store.records.database import Connection


class Decisions:
    """`declaration_of` gives the declaration in force or raises NotFoundError."""

    def __init__(
        self,
        policies: Policies,
        declaration_of: DeclarationOf,
        default_mode: Mode,
        budget: Budget,
    ) -> None:
        self._policies = policies
        self._declaration_of = declaration_of
        self._default_mode = default_mode
        self._budget = budget

    def about(
        self, connection: Connection, it: Recommendation, now: datetime, *, for_approval: bool = False
    ) -> Decision:
        """An approval waits for its turn, so other rollouts and the hourly rate do not speak against one; they do
        against what would run by itself."""
        declaration = declared(self._declaration_of, it.target.tenant, it.target.workload)
        verdicts = self._policies.evaluate(policy_context(it, declaration))
        namespace = declaration.labels.get("namespace") if declaration else None
        rule = self._policies.mode_for(it.target.tenant, namespace, it.suggestion_type)
        mode = chosen_mode(declaration.mode if declaration else None, rule, self._default_mode)
        present = self.circumstances(connection, it, now)
        calm = replace(present, active_rollouts=0, rollouts_last_hour=0)

        def under(circumstances: Circumstances) -> Decision:
            return decide(it, declaration, mode, verdicts, circumstances, self._budget, now)

        decision = under(calm)
        if decision.outcome is DecisionOutcome.ALLOW and not for_approval:
            return under(present)
        return decision

    def circumstances(self, connection: Connection, it: Recommendation, now: datetime) -> Circumstances:
        """What the records say at this moment."""
        tenant = it.target.tenant
        return Circumstances(
            pause=pauses.in_force(connection, tenant),
            active_rollouts=sum(rollout.tenant == tenant for rollout in rollouts.active(connection)),
            rollouts_last_hour=rollouts.started_since(connection, tenant, now - timedelta(hours=1)),
            last_revert_of_target=outcomes.last_revert(connection, tenant, it.target.workload),
        )

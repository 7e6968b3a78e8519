"""From records to the views of the API: one function per view, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from energy_orchestrator.analyze.function_energy import FlameTree
from energy_orchestrator.api.control_plane import (
    AuditEntryView,
    BoundedView,
    FlameNode,
    MetricView,
    PauseView,
    RecommendationView,
    RolloutEventView,
    RolloutView,
    SavingView,
)
from energy_orchestrator.model.analysis_run import AnalysisRun
from energy_orchestrator.model.audit_record import AuditRecord
from energy_orchestrator.model.decision import Decision
from energy_orchestrator.model.pause import Pause
from energy_orchestrator.model.recommendation import Recommendation
from energy_orchestrator.model.rollout import Rollout
from energy_orchestrator.model.units import Bounded
from energy_orchestrator.model.workload import Declaration
from energy_orchestrator.store.records.rollouts import RolloutEvent


def bounded(value: Bounded | None) -> BoundedView | None:
    """None stays None."""
    return BoundedView(**asdict(value)) if value is not None else None


def recommendation_view(
    it: Recommendation, declaration: Declaration | None, decision: Decision | None, rollout_id: str | None
) -> RecommendationView:
    """A recommendation with its present values, decision and rollout."""
    return RecommendationView(
        id=it.id,
        created_at=it.created_at,
        expires_at=it.expires_at,
        tenant=it.target.tenant,
        host=it.target.host,
        workload=it.target.workload,
        suggestion_type=it.suggestion_type.value,
        status=it.status.value,
        executor=it.change.executor,
        patch=dict(it.change.patch),
        inverse=dict(it.change.inverse),
        current=_present(it.change.patch, declaration.model_dump(mode="json")) if declaration else {},
        expected_savings_j=BoundedView(**asdict(it.expected_savings_j)),
        target_spend_j=BoundedView(**asdict(it.target_spend_j)),
        expected_savings_cost=bounded(it.expected_savings_cost),
        expected_savings_gco2e=bounded(it.expected_savings_gco2e),
        tier=it.tier.value,
        confidence=it.confidence,
        confidence_reason=it.confidence_reason,
        risk_score=it.risk_score,
        risk_parts=dict(it.risk_parts),
        rank_score=it.rank_score,
        evidence=[asdict(item) for item in it.evidence],
        explanation=it.explanation,
        source=it.source,
        decision=decision.outcome.value if decision else None,
        decision_reasons=list(decision.reasons) if decision else [],
        rollout_id=rollout_id,
    )


def _present(patch: Mapping[str, Any], declaration: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a declaration that a patch would set."""
    found: dict[str, Any] = {}
    for key, value in patch.items():
        now = declaration.get(key)
        found[key] = _present(value, now) if isinstance(value, Mapping) and isinstance(now, Mapping) else now
    return found


def rollout_view(
    it: Rollout,
    events: Sequence[RolloutEvent],
    run: AnalysisRun | None,
    saved: Bounded | None,
    proof: AnalysisRun | None = None,
) -> RolloutView:
    """A rollout with its history and newest analysis; `proof` is the run that its saving comes from."""
    return RolloutView(
        id=it.id,
        recommendation_id=it.recommendation_id,
        tenant=it.tenant,
        workload=it.workload,
        executor=it.executor,
        phase=it.phase.value,
        step_index=it.step_index,
        steps=[step.describe() for step in it.steps],
        scope_percent=it.scope_percent,
        patch=dict(it.patch),
        started_at=it.started_at,
        finished_at=it.finished_at,
        message=it.message,
        metrics=[MetricView(**asdict(metric) | {"phase": metric.phase.value}) for metric in run.metrics] if run else [],
        events=[RolloutEventView(at=e.at, step=e.step, phase=e.phase, message=e.message) for e in events],
        verified_savings_j_per_operation=bounded(saved),
        measured_saving=SavingView(**asdict(proof.saving)) if proof is not None and proof.saving else None,
    )


def pause_view(it: Pause) -> PauseView:
    """A pause."""
    return PauseView(**asdict(it))


def audit_view(it: AuditRecord) -> AuditEntryView:
    """An entry of the log."""
    return AuditEntryView.model_validate(asdict(it))


def flame_view(tree: FlameTree) -> FlameNode:
    """The tree in d3-flame-graph's form."""
    return FlameNode(name=tree.name, value=tree.joules, children=[flame_view(c) for c in tree.children.values()])

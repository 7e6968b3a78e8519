"""Records as the stages make them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from uuid_utils.compat import uuid7

from energy_orchestrator.model.recommendation import (
    Change,
    Evidence,
    Recommendation,
    RecommendationStatus,
    SuggestionType,
    Target,
)
from energy_orchestrator.model.rollout import Rollout, Step, StepKind
from energy_orchestrator.model.units import Bounded, Tier

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
BATCH = {"environment": {"BATCH_MAX": "8"}}


def advice(
    *,
    tenant: str = "local",
    workload: str = "declared/inference",
    patch: Mapping[str, Any] = BATCH,
    inverse: Mapping[str, Any] | None = None,
    executor: str = "local",
    kind: SuggestionType = SuggestionType.BATCHING,
    savings: float = 5_000.0,
    confidence: float = 0.8,
    risk: float = 0.2,
    at: datetime = NOW,
    life: timedelta = timedelta(minutes=2),
    source: str = "batching",
    rank: float = 1.0,
) -> Recommendation:
    return Recommendation(
        id=str(uuid7()),
        created_at=at,
        expires_at=at + life,
        target=Target(tenant, workload, "node-1"),
        suggestion_type=kind,
        change=Change(executor, patch, inverse or {"environment": {"BATCH_MAX": "1"}}),
        expected_savings_j=Bounded(savings, savings / 2, savings * 2),
        target_spend_j=Bounded(*[savings * 4] * 3),
        tier=Tier.MODEL,
        confidence=confidence,
        confidence_reason="prior",
        risk_score=risk,
        risk_parts={"latency": risk},
        evidence=(Evidence("batch size", 1.0, "operations", at - timedelta(minutes=1), at, "mean"),),
        explanation="It handles one operation at a time.",
        source=source,
        rank_score=rank,
        expected_savings_cost=Bounded(0.1, 0.05, 0.2),
        status=RecommendationStatus.OPEN,
        labels={"environment": "demo"},
    )


def rollout_of(it: Recommendation, at: datetime = NOW) -> Rollout:
    return Rollout(
        id=str(uuid7()),
        recommendation_id=it.id,
        tenant=it.target.tenant,
        workload=it.target.workload,
        executor="local",
        patch=it.change.patch,
        pre_image={"promoted": {}},
        steps=(Step(StepKind.SET_SCOPE, percent=50), Step(StepKind.PAUSE, seconds=1.5), Step(StepKind.WATCH)),
        started_at=at,
        step_started_at=at,
    )

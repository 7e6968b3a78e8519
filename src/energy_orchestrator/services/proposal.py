"""A change that a person proposes, made into a recommendation like any other: it is decided, tried as a canary,
measured, and put back if it does not save. Pure: the declaration and the present spend come in as values.

Nothing was estimated, so it promises nothing: its saving lies between nothing and all that the workload spends.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from uuid_utils.compat import uuid7

from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.model.recommendation import Change, Evidence, Recommendation, SuggestionType, Target
from energy_orchestrator.model.units import Bounded, Tier
from energy_orchestrator.model.workload import Declaration, KnobMeaning

PROPOSAL_LIFE = timedelta(hours=1)


def proposal(
    tenant: str,
    declaration: Declaration,
    environment: Mapping[str, str],
    replicas: int | None,
    actor: str,
    reason: str,
    spend_j_per_day: float,
    now: datetime,
) -> Recommendation:
    """The recommendation.

    Raises:
        InvalidInputError: naming the knob and what is allowed.
    """
    patch, inverse = _patch(declaration, environment, replicas)
    spend = max(0.0, spend_j_per_day)
    return Recommendation(
        id=str(uuid7()),
        created_at=now,
        expires_at=now + PROPOSAL_LIFE,
        target=Target(tenant, declaration.key),
        suggestion_type=_kind_of(declaration, environment, replicas),
        change=Change("local", patch, inverse),
        expected_savings_j=Bounded(0.0, 0.0, spend),
        target_spend_j=Bounded(spend, spend, spend),
        tier=Tier.MODEL,
        confidence=0.5,
        confidence_reason="proposed by a person; nothing was estimated",
        risk_score=0.5,
        risk_parts={"unknown": 0.5},
        evidence=(Evidence("proposed by", actor, "", now, now, reason),),
        explanation=f"{actor} proposes this change: {reason or 'no reason given'}.",
        source="operator",
    )


def _patch(
    declaration: Declaration, environment: Mapping[str, str], replicas: int | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The change and its inverse; InvalidInputError names the knob and what is allowed."""
    if not environment and replicas is None:
        raise InvalidInputError("nothing to change", where=declaration.name, next_step="give --set NAME=VALUE")
    for variable, value in environment.items():
        knob = declaration.knobs.get(variable)
        if knob is None:
            raise InvalidInputError(
                f"{variable} is not a knob",
                where=f"{declaration.name}.environment",
                next_step=f"take one of: {', '.join(declaration.knobs) or 'none is declared'}",
            )
        if value not in knob.allowed:
            raise InvalidInputError(
                f"{value!r} is outside the knob's range",
                where=f"{declaration.name}.environment.{variable}",
                next_step=f"take one of: {', '.join(knob.allowed)}",
            )
        if declaration.environment.get(variable) == value:
            raise InvalidInputError(f"{variable} is {value!r} already", where=declaration.name)
    patch: dict[str, Any] = {"environment": dict(environment)} if environment else {}
    inverse: dict[str, Any] = (
        {"environment": {name: declaration.environment.get(name) for name in environment}} if environment else {}
    )
    if replicas is not None:
        if not 0 <= replicas <= 64:
            raise InvalidInputError("replicas must be 0 to 64", where=declaration.name)
        if replicas == declaration.replicas:
            raise InvalidInputError(f"replicas is {replicas} already", where=declaration.name)
        patch["replicas"], inverse["replicas"] = replicas, declaration.replicas
    return patch, inverse


def _kind_of(declaration: Declaration, environment: Mapping[str, str], replicas: int | None) -> SuggestionType:
    if replicas is not None:
        return SuggestionType.IDLE_SHUTDOWN if replicas == 0 else SuggestionType.RIGHT_SIZE
    meanings = {declaration.knobs[variable].meaning for variable in environment}
    return SuggestionType.BATCHING if KnobMeaning.BATCH_SIZE in meanings else SuggestionType.RUNTIME_FLAGS

"""A recommendation: one change to one target, what it should save, and why one may believe it.

Made by `recommend/`, judged by `decide/`, carried out by `execute/`, proved by `verify/`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from energy_orchestrator.model.units import Bounded, Tier

JsonObject = Mapping[str, Any]


class SuggestionType(StrEnum):
    """The kinds of change the system proposes (docs/glossary.md)."""

    PLACEMENT = "placement"
    INSTANCE_TYPE = "instance_type"
    RIGHT_SIZE = "right_size"
    BATCHING = "batching"
    POWER_CAP = "power_cap"
    SCHEDULE_SHIFT = "schedule_shift"
    IDLE_SHUTDOWN = "idle_shutdown"
    RUNTIME_FLAGS = "runtime_flags"
    IMAGE = "image"
    CODE_PATH = "code_path"


class RecommendationStatus(StrEnum):
    """Life of a recommendation. Only OPEN can be approved or refused."""

    OPEN = "open"
    APPROVED = "approved"
    REFUSED = "refused"
    EXECUTING = "executing"
    SUCCESSFUL = "successful"
    REVERTED = "reverted"
    FAILED = "failed"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class Target:
    """What a change is applied to."""

    tenant: str
    workload: str
    """Workload key as on the wire, e.g. `declared/inference`."""
    host: str | None = None
    """Node, where the change is bound to one; None where it follows the workload."""


@dataclass(frozen=True, slots=True)
class Change:
    """A machine-readable change and its inverse, both JSON merge patches (RFC 7396) on the workload's
    declaration, e.g. `{"environment": {"BATCH_MAX": "8"}}` or `{"replicas": 0}`.

    `executor` names who can apply it; `none` means that a person has to: the workload is not declared to any.
    """

    executor: str
    patch: JsonObject
    inverse: JsonObject


@dataclass(frozen=True, slots=True)
class Evidence:
    """One figure a recommendation rests on, with the window it was taken from."""

    name: str
    value: float | str
    unit: str
    window_start: datetime
    window_end: datetime
    note: str = ""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """See the module. `expected_savings_j` is joules per day; `confidence` is the probability that the
    measured saving is positive without an SLO violation; `risk_score` is the worst of `risk_parts`, 0 to 1."""

    id: str
    created_at: datetime
    expires_at: datetime
    target: Target
    suggestion_type: SuggestionType
    change: Change
    expected_savings_j: Bounded
    target_spend_j: Bounded
    """What the target spends in joules per day now; savings never exceed it."""
    tier: Tier
    confidence: float
    confidence_reason: str
    risk_score: float
    risk_parts: Mapping[str, float]
    evidence: tuple[Evidence, ...]
    explanation: str
    source: str
    """Strategy that made it, or `operator` for a change a person proposed."""
    rank_score: float = 0.0
    """Savings share (lower bound) divided by disruption share (Karpenter's balanced score)."""
    expected_savings_cost: Bounded | None = None
    """Money per day in the configured currency; None where no price is configured."""
    expected_savings_gco2e: Bounded | None = None
    """Grams of CO2e per day; None where no grid factor is configured."""
    status: RecommendationStatus = RecommendationStatus.OPEN
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def dedupe_key(self) -> str:
        """Same target, kind and patch = the same advice, however often it is found."""
        text = json.dumps(
            [self.target.tenant, self.target.host, self.target.workload, self.suggestion_type, dict(self.change.patch)],
            sort_keys=True,
            default=dict,
        )
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Tried:
    """A finished change of one kind: its target, the fingerprint group of that, and the share of J/op that it saved;
    None where it was reverted or not measured."""

    workload: str
    group: int | None
    saved_share: float | None

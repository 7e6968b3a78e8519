"""What was decided about a recommendation, by which mode and which policies, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Mode(StrEnum):
    """What may happen without a person."""

    ADVISORY = "advisory"
    """Nothing is executed, ever."""
    APPROVE = "approve"
    """A person approves each change."""
    AUTO = "auto"
    """Allowed changes run by themselves; only on workloads labelled non-production or batch."""


class DecisionOutcome(StrEnum):
    """Result of deciding."""

    ALLOW = "allow"
    NEEDS_APPROVAL = "needs_approval"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome with every reason that led to it, in words for a person."""

    outcome: DecisionOutcome
    mode: Mode
    reasons: tuple[str, ...]
    policies: tuple[str, ...] = ()
    """Names of the policies that spoke."""

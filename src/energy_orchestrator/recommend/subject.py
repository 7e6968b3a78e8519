"""Whom a finding is about, for strategies that look at a fleet instead of one observed workload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from energy_orchestrator.model.units import Bounded, Tier
from energy_orchestrator.recommend.observation import Finding


@dataclass(frozen=True, slots=True)
class Subject:
    """Target and span of a finding. `claims` are the nodes and workloads that the change touches, each with the name of
    the plan it belongs to: two changes with the same claim from different plans can't both be made."""

    tenant: str
    workload: str
    host: str | None
    start: datetime
    end: datetime
    tier: Tier = Tier.MODEL
    claims: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """A finding with its subject."""

    subject: Subject
    finding: Finding


def no_joules() -> Bounded:
    """A change that saves money or emissions, not energy."""
    return Bounded(0.0, 0.0, 0.0)


def between(value: float, lower: float, upper: float, most: float) -> Bounded:
    """Bounds in order, not below nothing and not above what is spent."""
    low, middle, high = sorted(max(0.0, min(most, it)) for it in (lower, value, upper))
    return Bounded(middle, low, high)

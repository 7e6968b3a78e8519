"""What a strategy sees of one workload over a span, and what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from energy_orchestrator.model.recommendation import SuggestionType
from energy_orchestrator.model.units import Bounded, Tier
from energy_orchestrator.model.workload import Declaration, KnobMeaning


@dataclass(frozen=True, slots=True)
class WindowPoint:
    """CPU and operations of one window, as rates."""

    cpu_cores: float
    operations_per_second: float | None


@dataclass(frozen=True, slots=True)
class Peaks:
    """The most that a replica used over a longer history: what limits must leave room for."""

    history_seconds: float
    cpu_cores_p95: float
    mem_bytes: int


@dataclass(frozen=True, slots=True)
class Alike:
    """Another workload that does much the same, by fingerprint, and has a function of the table of `code_path`."""

    workload: str
    likeness: float
    """Cosine of the fingerprints."""
    same_group: bool
    hot_shares: Sequence[tuple[str, float]]
    """As of an Observation."""
    joules_per_operation: float | None = None
    operation: str | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """One workload. Rates are per second over the span; None is unknown."""

    tenant: str
    host: str
    workload: str
    start: datetime
    end: datetime
    tier: Tier
    active_watts: Bounded
    cpu_cores: float
    mem_bytes: int
    replicas: int
    """As declared; 1 for a workload that is not."""
    declaration: Declaration | None
    """In force now, promoted changes included; None for a workload that is not declared."""
    points: Sequence[WindowPoint] = ()
    operations: float | None = None
    """Total over the span; None without a source."""
    queue_depth: float | None = None
    queue_depth_max: float | None = None
    threads: int | None = None
    """Of the process that has most."""
    cpus_allowed: float | None = None
    involuntary_per_second: float | None = None
    voluntary_per_second: float | None = None
    libraries: Sequence[str] = ()
    top_functions: Sequence[str] = ()
    hot_shares: Sequence[tuple[str, float]] = ()
    """Functions of the table of `code_path`, slow and better, with the share of samples whose stacks have them."""
    group: int | None = None
    """Of the fingerprint; None without one, or where it is in no group."""
    alike: Sequence[Alike] = ()
    """The most alike first."""
    joules_per_operation: float | None = None
    """Of all replicas over the span; None where unknown, or where there is nobody to compare with."""
    operation: str | None = None
    """What the operations are."""
    peaks: Peaks | None = None
    """None until there is a history."""

    @property
    def seconds(self) -> float:
        """Length of the span."""
        return (self.end - self.start).total_seconds()

    def knob(self, meaning: KnobMeaning) -> tuple[str, str, tuple[str, ...]] | None:
        """Name, present value and allowed values of the first knob with a meaning."""
        if self.declaration is None:
            return None
        for name, knob in self.declaration.knobs.items():
            if knob.meaning is meaning:
                return name, self.declaration.environment[name], knob.allowed
        return None


@dataclass(frozen=True, slots=True)
class Prior:
    """Share of the target's active energy that such a change saves, before anything was measured here."""

    ratio: Bounded
    confidence: float
    source: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What a strategy found: a change, and the share or the watts it should save."""

    strategy: str
    suggestion_type: SuggestionType
    patch: Mapping[str, Any]
    inverse: Mapping[str, Any]
    saved_watts: Bounded
    spent_watts: Bounded
    """What the target spends now; the bound of any saving."""
    confidence: float
    confidence_reason: str
    risk_parts: Mapping[str, float]
    evidence: Sequence[tuple[str, float | str, str]]
    """Name, value, unit."""
    explanation: str
    restarted_replicas: int
    executor: str = "local"
    labels: Mapping[str, str] = field(default_factory=dict)
    cost_per_day: Bounded | None = None
    """Where it is not energy times price: other hours, another rent."""
    rented: bool = False
    """Its energy is paid with the rent: without a price of that, money is unknown, not energy times price."""
    gco2e_per_day: Bounded | None = None
    ranked_as_watts: Bounded | None = None
    """What a saving counts as among others where it is not joules: the same share of the target's power."""


def environment_change(name: str, before: str | None, after: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Patch and inverse of one variable."""
    return {"environment": {name: after}}, {"environment": {name: before}}

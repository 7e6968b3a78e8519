"""Version: another version of the same workload that was measured to take less energy per operation.

In: J/op of the version that runs now and of others that ran lately on the same kind of node, each pair with the ratio
and its 90 % interval (`analyze/operation_cost.py`). Out: the version whose ratio is wholly below 1, with the saving
that follows if the load stays. It is advice: whether the older version lacks what the newer one is for, only its owner
knows. `image.py` applies the same rule to a fleet file, from windows that are written in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from energy_orchestrator.model.recommendation import SuggestionType
from energy_orchestrator.model.units import Bounded, Tier
from energy_orchestrator.recommend.observation import Finding, Prior
from energy_orchestrator.recommend.playbook import Measured, corrected
from energy_orchestrator.recommend.subject import Found, Subject, between

MINIMUM_WINDOWS = 8
"""Of each version."""
RISK_PARTS = {"availability": 0.5, "latency": 0.3, "blast_radius": 0.4, "reversibility": 0.2}
Other = TypeVar("Other")


@dataclass(frozen=True, slots=True)
class VersionRun:
    """A version on one kind of node: its J/op with a 90 % interval over so many windows."""

    name: str
    joules_per_operation: Bounded
    windows: int
    last_seen: datetime


@dataclass(frozen=True, slots=True)
class VersionPair:
    """The version that runs now beside another on the same kind of node."""

    workload: str
    named_by: str
    """`image_digest`, `image` or `checksum`."""
    node_type: str
    operation: str
    now: VersionRun
    other: VersionRun
    ratio: Bounded
    """J/op of the other, times that of the one that runs now."""
    same_meter: bool
    spent_watts: Bounded
    """Of the one that runs now."""
    replicas: int
    start: datetime
    end: datetime
    tier: Tier


def version(pairs: Sequence[VersionPair], measured: Measured, tenant: str) -> Found | None:
    """Of all pairs of one workload; None where no other version is surely better."""
    enough = (it for it in pairs if min(it.now.windows, it.other.windows) >= MINIMUM_WINDOWS)
    best = surely_cheapest((it.ratio, it.other.name, it) for it in enough)
    if best is None:
        return None
    prior = expected(best.ratio, measured)
    return Found(
        Subject(tenant, best.workload, None, best.start, best.end, best.tier, {best.workload: ""}),
        Finding(
            strategy="version",
            suggestion_type=SuggestionType.IMAGE,
            patch={best.named_by: best.other.name},
            inverse={best.named_by: best.now.name},
            saved_watts=best.spent_watts.times(prior.ratio),
            spent_watts=best.spent_watts,
            confidence=prior.confidence,
            confidence_reason=prior.source,
            risk_parts=RISK_PARTS,
            evidence=_evidence(best),
            explanation=_explanation(best),
            restarted_replicas=best.replicas,
            executor="none",
        ),
    )


def surely_cheapest(others: Iterable[tuple[Bounded, str, Other]]) -> Other | None:
    """Of others by ratio of their J/op to the present one's and by name: the one that takes surely least, or None."""
    better = [it for it in others if it[0].upper < 1]
    return min(better, key=lambda it: (it[0].upper, it[1]))[2] if better else None


def expected(ratio: Bounded, measured: Measured) -> Prior:
    """The share that is saved by going to the other, if the load stays."""
    share = between(1 - ratio.value, 1 - ratio.upper, 1 - ratio.lower, 1.0)
    return corrected(Prior(share, 0.8, "measured on this workload"), measured)


def _evidence(best: VersionPair) -> list[tuple[str, float | str, str]]:
    unit = f"J/{best.operation}"
    return [
        (f"now: {best.now.name}", best.now.joules_per_operation.value, unit),
        (f"other: {best.other.name}", best.other.joules_per_operation.value, unit),
        ("their ratio", f"{best.ratio.value:.3f} ({best.ratio.lower:.3f} to {best.ratio.upper:.3f})", ""),
        ("windows", f"{best.now.windows} and {best.other.windows}", ""),
        ("node type", best.node_type, ""),
    ]


def _explanation(best: VersionPair) -> str:
    meters = "by the same meters" if best.same_meter else "by different meters, whose bounds are in the interval"
    return (
        f"On {best.node_type} {best.other.name} took {best.ratio.value:.3f} of the energy per {best.operation} of"
        f" {best.now.name}, which runs now (90 % interval {best.ratio.lower:.3f} to {best.ratio.upper:.3f},"
        f" {best.other.windows} and {best.now.windows} windows, {meters}). It last ran at"
        f" {best.other.last_seen:%Y-%m-%d %H:%M} UTC; what else changed between the two is not known here."
    )

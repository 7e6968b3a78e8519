"""Which of the ranked changes may be made together, and how many at once.

In: recommendations with the nodes and workloads that each touches, what was changed lately, limits. Out: those kept,
best first, and those withheld, each with the reason.

- Two changes that claim the same workload or node can't both be made, the better ranked one is (a node that sleeps
  needs no power cap; a workload that is shut down is not moved), unless they are parts of one plan made together.
- Churn (karpenter #2388, descheduler #1461): nothing below a minimum saving, nothing on a target that was changed
  within the cool-down, and only so many replicas moved a day; what does not fit waits for tomorrow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from energy_orchestrator.model.recommendation import Recommendation


@dataclass(frozen=True, slots=True)
class Candidate:
    """A recommendation, what it claims (see `subject.Subject`), and how many replicas it restarts or moves."""

    recommendation: Recommendation
    claims: Mapping[str, str] = field(default_factory=dict)
    moves: int = 0


@dataclass(frozen=True, slots=True)
class ChurnLimits:
    """How much unrest a saving is worth."""

    minimum_savings_j_per_day: float = 0.0
    cool_down: timedelta = timedelta(hours=1)
    moves_per_day: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Selection:
    """Withheld ones come with the reason, for people."""

    kept: tuple[Candidate, ...]
    withheld: tuple[tuple[Candidate, str], ...]


def select(
    candidates: Sequence[Candidate],
    limits: ChurnLimits,
    changed_at: Mapping[str, datetime],
    moved_today: int,
    now: datetime,
) -> Selection:
    """See the module.

    Args:
        changed_at: workload or `node/NAME` -> when it was last changed.
        moved_today: replicas moved in the last 24 hours.
    """
    kept: list[Candidate] = []
    withheld: list[tuple[Candidate, str]] = []
    owner: dict[str, tuple[str, Recommendation]] = {}
    room = max(0, limits.moves_per_day - moved_today)
    for it in sorted(candidates, key=lambda it: it.recommendation.rank_score, reverse=True):
        reason = (
            _too_little(it, limits)
            or _too_soon(it, limits, changed_at, now)
            or _conflict(it, owner)
            or _too_many(it, room, limits)
        )
        if reason:
            withheld.append((it, reason))
            continue
        kept.append(it)
        room -= it.moves
        for claim in _claims(it):
            owner[claim] = (it.claims.get(claim, ""), it.recommendation)
    return Selection(tuple(kept), tuple(withheld))


def _claims(it: Candidate) -> set[str]:
    return {it.recommendation.target.workload, *it.claims}


def _too_little(it: Candidate, limits: ChurnLimits) -> str:
    made = it.recommendation
    other = [saved for saved in (made.expected_savings_cost, made.expected_savings_gco2e) if saved is not None]
    if made.expected_savings_j.value >= limits.minimum_savings_j_per_day:
        return ""
    if made.expected_savings_j.upper == 0 and any(saved.value > 0 for saved in other):
        return ""
    return (
        f"saves {made.expected_savings_j.value:.0f} J a day, less than the minimum of "
        f"{limits.minimum_savings_j_per_day:.0f}"
    )


def _too_soon(it: Candidate, limits: ChurnLimits, changed_at: Mapping[str, datetime], now: datetime) -> str:
    for claim in sorted(_claims(it)):
        changed = changed_at.get(claim)
        if changed is not None and now - changed < limits.cool_down:
            return f"{claim} was changed at {changed:%H:%M}, the cool-down is {limits.cool_down}"
    return ""


def _conflict(it: Candidate, owner: Mapping[str, tuple[str, Recommendation]]) -> str:
    for claim in sorted(_claims(it)):
        if claim in owner:
            plan, other = owner[claim]
            if not plan or plan != it.claims.get(claim, ""):
                what = f"{other.suggestion_type.value} of {other.target.workload}"
                return f"{claim} is changed by {what}, which ranks higher"
    return ""


def _too_many(it: Candidate, room: int, limits: ChurnLimits) -> str:
    if it.moves > room:
        return f"moves {it.moves} replicas, {room} of {limits.moves_per_day} a day are left"
    return ""

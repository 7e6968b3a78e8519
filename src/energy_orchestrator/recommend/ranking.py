"""From findings to ranked recommendations.

- A saving never exceeds what the target spends (kubectl-cost #96), and below the minimum nothing is said
  (karpenter #2388: churn at steady state).
- Rank = savings share / disruption share, Karpenter's balanced score: the saving's share of the node's power (a
  quarter of the way from the lower bound to the value, so that a wide interval ranks low) by the replicas restarted,
  weighted with the risk.
- Confidence is what the record of past advice says about such a claim (`recommend/confidence.py`); what the strategy
  itself claimed stays in the label `claimed_confidence`, so that the record is about claims.
- A workload that is not declared is a matter of one host; a declared one is changed wherever it runs.
- One recommendation per target at a time, the best ranked: two changes at once could not be told apart.
- Money and emissions only where a price and a grid factor are configured; of a rented machine only by its rent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache

from energy_orchestrator.model.recommendation import Change, Evidence, Recommendation, Target, Tried
from energy_orchestrator.model.units import JOULES_PER_KWH, SECONDS_PER_DAY, Bounded
from energy_orchestrator.recommend.catalogue import STRATEGIES
from energy_orchestrator.recommend.confidence import ENOUGH, Record, calibrated, no_record
from energy_orchestrator.recommend.observation import Finding, Observation
from energy_orchestrator.recommend.playbook import tries_for
from energy_orchestrator.recommend.subject import Found, Subject

LIFE = timedelta(minutes=10)
Key = tuple[str, str, str]
"""Tenant, host ("" for wherever it runs), workload."""


@dataclass(frozen=True, slots=True)
class RankingSettings:
    """What is worth saying, and what a joule costs."""

    minimum_span_seconds: float = 30.0
    minimum_savings_watts: float = 0.001
    price_per_kwh: float | None = None
    gco2e_per_kwh: float | None = None


def recommend(
    observations: Sequence[Observation],
    node_watts: Mapping[str, float],
    playbook: Callable[[str, str], Sequence[Tried]],
    settings: RankingSettings,
    new_id: Callable[[], str],
    now: datetime,
    record: Callable[[str, str], Record] = no_record,
) -> list[Recommendation]:
    """All strategies on all workloads, best first.

    Args:
        node_watts: mean power of each host over the span.
        playbook: tenant and suggestion type -> finished tries, newest first; asked once for each pair.
        record: tenant and suggestion type -> what was claimed of past changes, and whether it came true.
    """
    best: dict[Key, Recommendation] = {}
    past = cache(playbook)
    for seen in observations:
        if seen.seconds < settings.minimum_span_seconds:
            continue
        for strategy, kind in STRATEGIES.values():
            finding = strategy(seen, tries_for(past(seen.tenant, kind.value), seen.workload, seen.group))
            if finding is None or finding.saved_watts.upper < settings.minimum_savings_watts:
                continue
            host = None if seen.declaration else seen.host
            subject = Subject(seen.tenant, seen.workload, host, seen.start, seen.end, seen.tier)
            watts = node_watts.get(seen.host, 0.0)
            made = recommendation(Found(subject, finding), watts, settings, new_id(), now, record)
            _keep_best(best, made)
    return _in_order(best)


def best_of(parts: Iterable[Iterable[Recommendation]]) -> list[Recommendation]:
    """What was found of parts of a fleet, put together: as if all had been looked at as one."""
    best: dict[Key, Recommendation] = {}
    for part in parts:
        for it in part:
            _keep_best(best, it)
    return _in_order(best)


def _keep_best(best: dict[Key, Recommendation], made: Recommendation) -> None:
    key = (made.target.tenant, made.target.host or "", made.target.workload)
    if key not in best or made.rank_score > best[key].rank_score:
        best[key] = made


def _in_order(best: Mapping[Key, Recommendation]) -> list[Recommendation]:
    return sorted(best.values(), key=lambda it: it.rank_score, reverse=True)


def recommendation(
    found: Found,
    node_watts: float,
    settings: RankingSettings,
    new_id: str,
    now: datetime,
    record: Callable[[str, str], Record] = no_record,
) -> Recommendation:
    """One finding, bounded, priced and scored."""
    subject, it = found.subject, found.finding
    spend = it.spent_watts.scaled(SECONDS_PER_DAY)
    savings = _within(it.saved_watts.scaled(SECONDS_PER_DAY), spend)
    risk = max(it.risk_parts.values())
    past = record(subject.tenant, it.suggestion_type.value)
    # Fewer are in the claim already: the playbook counts each try.
    sure, why = calibrated(it.confidence, past) if len(past) >= ENOUGH else (it.confidence, "")
    made = Recommendation(
        id=new_id,
        created_at=now,
        expires_at=now + LIFE,
        target=Target(subject.tenant, subject.workload, subject.host),
        suggestion_type=it.suggestion_type,
        change=Change(it.executor, it.patch, it.inverse),
        expected_savings_j=savings,
        target_spend_j=spend,
        tier=subject.tier,
        confidence=sure,
        confidence_reason=f"{it.confidence_reason}; {why}" if why else it.confidence_reason,
        risk_score=risk,
        risk_parts=it.risk_parts,
        evidence=tuple(Evidence(name, value, unit, subject.start, subject.end) for name, value, unit in it.evidence),
        explanation=it.explanation,
        source=it.strategy,
        rank_score=_score(it, node_watts, risk, sure),
        labels=dict(it.labels) | {"claimed_confidence": f"{it.confidence:.4f}"},
    )
    return _priced(made, it, settings)


def _within(savings: Bounded, spend: Bounded) -> Bounded:
    return Bounded(min(savings.value, spend.value), min(savings.lower, spend.lower), min(savings.upper, spend.upper))


def _score(it: Finding, node_watts: float, risk: float, confidence: float) -> float:
    saved = it.ranked_as_watts or it.saved_watts
    careful = saved.lower + 0.25 * (saved.value - saved.lower)
    savings_share = careful / max(node_watts, 1e-9)
    disruption_share = max(0.05, it.restarted_replicas * risk)
    return savings_share * confidence / disruption_share


def _priced(made: Recommendation, it: Finding, settings: RankingSettings) -> Recommendation:
    kwh = made.expected_savings_j.scaled(1 / JOULES_PER_KWH)
    cost = kwh.scaled(settings.price_per_kwh) if settings.price_per_kwh is not None and not it.rented else None
    carbon = kwh.scaled(settings.gco2e_per_kwh) if settings.gco2e_per_kwh is not None else None
    return replace(
        made, expected_savings_cost=it.cost_per_day or cost, expected_savings_gco2e=it.gco2e_per_day or carbon
    )

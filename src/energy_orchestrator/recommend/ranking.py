"""From findings to ranked recommendations.

- A saving never exceeds what the target spends (kubectl-cost #96), and below the minimum nothing is said
  (karpenter #2388: churn at steady state).
- Rank = savings share / disruption share, Karpenter's balanced score: the saving's share of the node's power (a
  quarter of the way from the lower bound to the value, so that a wide interval ranks low) by the replicas restarted,
  weighted with the risk.
- A workload that is not declared is a matter of one host; a declared one is changed wherever it runs.
- One recommendation per target at a time, the best ranked: two changes at once could not be told apart.
- Money and emissions only where a price and a grid factor are configured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from energy_orchestrator.model.recommendation import Change, Evidence, Recommendation, Target
from energy_orchestrator.model.units import JOULES_PER_KWH, SECONDS_PER_DAY, Bounded
from energy_orchestrator.recommend.catalogue import STRATEGIES
from energy_orchestrator.recommend.observation import Finding, Observation

LIFE = timedelta(minutes=10)


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
    playbook: Callable[[str, str], Sequence[float | None]],
    settings: RankingSettings,
    new_id: Callable[[], str],
    now: datetime,
) -> list[Recommendation]:
    """All strategies on all workloads, best first.

    Args:
        node_watts: mean power of each host over the span.
        playbook: tenant and suggestion type -> saved shares of finished tries (None: reverted).
    """
    best: dict[tuple[str, str, str], Recommendation] = {}
    for seen in observations:
        if seen.seconds < settings.minimum_span_seconds:
            continue
        for strategy, kind in STRATEGIES.values():
            finding = strategy(seen, playbook(seen.tenant, kind.value))
            if finding is None or finding.saved_watts.upper < settings.minimum_savings_watts:
                continue
            made = _recommendation(seen, finding, node_watts.get(seen.host, 0.0), settings, new_id(), now)
            key = (seen.tenant, made.target.host or "", seen.workload)
            if key not in best or made.rank_score > best[key].rank_score:
                best[key] = made
    return sorted(best.values(), key=lambda it: it.rank_score, reverse=True)


def _recommendation(
    seen: Observation, it: Finding, node_watts: float, settings: RankingSettings, new_id: str, now: datetime
) -> Recommendation:
    spend = it.spent_watts.scaled(SECONDS_PER_DAY)
    savings = _within(it.saved_watts.scaled(SECONDS_PER_DAY), spend)
    risk = max(it.risk_parts.values())
    made = Recommendation(
        id=new_id,
        created_at=now,
        expires_at=now + LIFE,
        target=Target(seen.tenant, seen.workload, None if seen.declaration else seen.host),
        suggestion_type=it.suggestion_type,
        change=Change(it.executor, it.patch, it.inverse),
        expected_savings_j=savings,
        target_spend_j=spend,
        tier=seen.tier,
        confidence=it.confidence,
        confidence_reason=it.confidence_reason,
        risk_score=risk,
        risk_parts=it.risk_parts,
        evidence=tuple(Evidence(name, value, unit, seen.start, seen.end) for name, value, unit in it.evidence),
        explanation=it.explanation,
        source=it.strategy,
        rank_score=_score(it, node_watts, risk),
        labels=it.labels,
    )
    return _priced(made, settings)


def _within(savings: Bounded, spend: Bounded) -> Bounded:
    return Bounded(min(savings.value, spend.value), min(savings.lower, spend.lower), min(savings.upper, spend.upper))


def _score(it: Finding, node_watts: float, risk: float) -> float:
    careful = it.saved_watts.lower + 0.25 * (it.saved_watts.value - it.saved_watts.lower)
    savings_share = careful / max(node_watts, 1e-9)
    disruption_share = max(0.05, it.restarted_replicas * risk)
    return savings_share * it.confidence / disruption_share


def _priced(made: Recommendation, settings: RankingSettings) -> Recommendation:
    kwh = made.expected_savings_j.scaled(1 / JOULES_PER_KWH)
    cost = kwh.scaled(settings.price_per_kwh) if settings.price_per_kwh is not None else None
    carbon = kwh.scaled(settings.gco2e_per_kwh) if settings.gco2e_per_kwh is not None else None
    return replace(made, expected_savings_cost=cost, expected_savings_gco2e=carbon)

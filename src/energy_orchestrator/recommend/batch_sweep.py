"""Batching from measured points: J/op against batch size and latency.

In: points (batch, J/op, p95 latency), the SLO. Out: the knee: the smallest batch whose fitted J/op is within 5 % of the
best one that keeps the SLO. J/op is fitted as a + b / batch (a fixed cost shared by the batch, non-negative least
squares of relative errors), latency as c + d x batch; the residuals give the interval. A batch larger than any measured
is never proposed, and a curve that fits badly (relative error above 20 %) falls back to the points themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from scipy.optimize import nnls

from energy_orchestrator.model.fleet import BatchPoint, BatchSweep
from energy_orchestrator.model.recommendation import SuggestionType
from energy_orchestrator.model.units import Bounded, Tier
from energy_orchestrator.recommend.observation import Finding, Prior
from energy_orchestrator.recommend.playbook import Measured, corrected
from energy_orchestrator.recommend.subject import Found, Subject, between

KNEE = 1.05
WORST_FIT = 0.20
LATENCY_HEADROOM = 0.9
"""Share of the SLO that may be used: a p95 of few requests is not exact."""


@dataclass(frozen=True, slots=True)
class Curve:
    """fixed + per_batch x f(batch); `relative_error` is the root mean square of the residuals."""

    constant: float
    slope: float
    relative_error: float

    def joules(self, batch: float) -> float:
        """J/op at a batch size."""
        return self.constant + self.slope / batch


def fit_joules(points: Sequence[BatchPoint]) -> Curve:
    """a + b / batch by non-negative least squares on relative errors."""
    batch = np.array([it.batch for it in points], float)
    joules = np.array([it.joules_per_operation for it in points], float)
    design = np.stack([np.ones_like(batch), 1 / batch], axis=1) / joules[:, None]
    (constant, slope), _ = nnls(design, np.ones_like(joules))
    error = float(np.sqrt(np.mean((design @ np.array([constant, slope]) - 1) ** 2)))
    return Curve(float(constant), float(slope), error)


def latency_at(points: Sequence[BatchPoint], batch: int) -> float | None:
    """p95 by interpolation between measured points; None where too few were measured."""
    known = sorted((it.batch, it.latency_p95_seconds) for it in points if it.latency_p95_seconds is not None)
    if len(known) < 2:
        return known[0][1] if known and known[0][0] == batch else None
    sizes, late = zip(*known, strict=True)
    highest = np.maximum.accumulate(np.array(late, float))
    return float(np.interp(batch, sizes, highest)) if sizes[0] <= batch <= sizes[-1] else None


def batch_sweep(sweep: BatchSweep, measured: Measured, tenant: str, now: datetime) -> Found | None:
    """See the module; None where the present size was not measured or nothing larger is better within the SLO."""
    by_size = {it.batch: it for it in sweep.points}
    present = by_size.get(sweep.batch_now)
    if present is None:
        return None
    curve = fit_joules(sweep.points)
    fits = curve.relative_error <= WORST_FIT
    energy = {it: curve.joules(it) if fits else by_size[it].joules_per_operation for it in _candidates(sweep, fits)}
    allowed = {it: joules for it, joules in energy.items() if _keeps_slo(sweep, it)}
    if not allowed:
        return None
    least = min(allowed.values())
    knee = min(it for it, joules in allowed.items() if joules <= least * KNEE)
    before = curve.joules(present.batch) if fits else present.joules_per_operation
    share = 1 - allowed[knee] / before
    error = 2 * max(0.02, curve.relative_error if fits else 0.05)
    if knee == sweep.batch_now or share <= 0.02:
        return None
    prior = corrected(
        Prior(between(share, share - error, share + error, 1.0), 0.7, f"{len(sweep.points)} measured batch sizes"),
        measured,
    )
    spent = present.joules_per_operation * sweep.operations_per_day / 86_400
    saved = prior.ratio.scaled(spent)
    late = latency_at(sweep.points, knee)
    told = f"p95 {late:.3g} s" if late is not None else "latency not measured"
    goal = f"the SLO is {sweep.latency_slo_seconds:g} s" if sweep.latency_slo_seconds else "there is no SLO"
    return Found(
        Subject(tenant, sweep.workload, sweep.node, now, now, Tier.MODEL, {sweep.workload: ""}),
        Finding(
            strategy="batch_sweep",
            suggestion_type=SuggestionType.BATCHING,
            patch={"batch_size": knee},
            inverse={"batch_size": sweep.batch_now},
            saved_watts=saved,
            spent_watts=Bounded(spent, spent * (1 - error), spent * (1 + error)),
            confidence=prior.confidence,
            confidence_reason=prior.source,
            risk_parts={
                "availability": 0.2,
                "latency": _latency_risk(late, sweep),
                "blast_radius": 0.2,
                "reversibility": 0.1,
            },
            evidence=[(f"batch {it.batch}", it.joules_per_operation, "J/operation") for it in sweep.points],
            explanation=(
                f"J/op = {curve.constant:.4g} + {curve.slope:.4g} / batch fits {len(sweep.points)} points within "
                f"{curve.relative_error:.1%}{'' if fits else ' (too badly: the points themselves are compared)'}. "
                f"Batch {knee} instead of {sweep.batch_now} takes {share:.1%} less energy per "
                f"operation; {told}, {goal}."
            ),
            restarted_replicas=1,
            executor="none",
        ),
    )


def _candidates(sweep: BatchSweep, fits: bool) -> list[int]:
    sizes = {it.batch for it in sweep.points}
    if not fits or not sweep.allowed:
        return sorted(sizes)
    return sorted({it for it in sweep.allowed if min(sizes) <= it <= max(sizes)} | {sweep.batch_now})


def _keeps_slo(sweep: BatchSweep, batch: int) -> bool:
    if sweep.latency_slo_seconds is None or batch == sweep.batch_now:
        return True
    late = latency_at(sweep.points, batch)
    return late is not None and late <= LATENCY_HEADROOM * sweep.latency_slo_seconds


def _latency_risk(late: float | None, sweep: BatchSweep) -> float:
    if sweep.latency_slo_seconds is None:
        return 0.3
    return 0.6 if late is None else min(1.0, late / sweep.latency_slo_seconds)

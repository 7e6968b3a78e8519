"""Power cap: a lower limit at which the same work takes less energy and hardly longer.

In: measured points (limit, power, seconds per operation) of a device, the slow-down that is allowed. Out: the measured
limit with the least energy per operation within it; nothing is extrapolated. The rest of the machine runs on while the
device is slower, so its power counts. Method: Zeus (You et al., NSDI 2023), energy-delay sweeps; its published sweeps
are the test data.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from energy_orchestrator.model.fleet import CapPoint, PowerSweep
from energy_orchestrator.model.recommendation import SuggestionType
from energy_orchestrator.model.units import Bounded, Tier
from energy_orchestrator.recommend.observation import Finding, Prior
from energy_orchestrator.recommend.playbook import Measured, corrected
from energy_orchestrator.recommend.subject import Found, Subject, between

RELATIVE_ERROR = 0.04
"""Of the ratio of two energies, each measured once: 3 % a reading (nvidia-smi states 5 W of 150 to 300)."""
MINIMUM_SHARE = 0.02


def best_limit(points: Sequence[CapPoint], now: CapPoint, max_slowdown: float, rest_watts: float) -> CapPoint:
    """The measured point with the least energy per operation that is not too slow."""
    slowest = now.seconds_per_operation * (1 + max_slowdown)
    fitting = [it for it in points if it.seconds_per_operation <= slowest]
    return min(fitting, key=lambda it: (energy_per_operation(it, rest_watts), it.seconds_per_operation), default=now)


def energy_per_operation(point: CapPoint, rest_watts: float) -> float:
    """Joules, the rest of the machine included."""
    return (point.watts + rest_watts) * point.seconds_per_operation


def power_cap(sweep: PowerSweep, measured: Measured, tenant: str, now: datetime) -> Found | None:
    """See the module; None where the limit of now was not measured or nothing is better."""
    present = next((it for it in sweep.points if it.limit_watts == sweep.limit_watts_now), None)
    if present is None:
        return None
    best = best_limit(sweep.points, present, sweep.max_slowdown, sweep.rest_watts)
    before, after = (energy_per_operation(it, sweep.rest_watts) for it in (present, best))
    share = 1 - after / before
    if share < MINIMUM_SHARE:
        return None
    bounds = between(share, share - RELATIVE_ERROR, share + RELATIVE_ERROR, 1.0)
    prior = corrected(Prior(bounds, 0.75, f"{len(sweep.points)} measured limits; not tried here yet"), measured)
    spent_watts = (present.watts + sweep.rest_watts) * sweep.busy_share
    saved = prior.ratio.scaled(spent_watts)
    slower = best.seconds_per_operation / present.seconds_per_operation - 1
    return Found(
        Subject(
            tenant, sweep.workload, sweep.node, now, now, Tier.ON_DIE, {f"node/{sweep.node}": "", sweep.workload: ""}
        ),
        Finding(
            strategy="power_cap",
            suggestion_type=SuggestionType.POWER_CAP,
            patch={"power_limit_watts": best.limit_watts},
            inverse={"power_limit_watts": present.limit_watts},
            saved_watts=saved,
            spent_watts=Bounded(spent_watts, spent_watts * 0.97, spent_watts * 1.03),
            confidence=prior.confidence,
            confidence_reason=prior.source,
            risk_parts={
                "availability": 0.1,
                "latency": min(1.0, 0.2 + 4 * max(0.0, slower)),
                "blast_radius": 0.2,
                "reversibility": 0.05,
            },
            evidence=[
                (f"at {it.limit_watts:g} W", round(energy_per_operation(it, sweep.rest_watts), 6), "J/operation")
                for it in sorted(sweep.points, key=lambda it: it.limit_watts)
            ],
            explanation=(
                f"At a limit of {best.limit_watts:g} W instead of {present.limit_watts:g} W an operation takes "
                f"{after:.4g} J instead of {before:.4g} J ({share:.1%} less) and {slower:+.1%} time "
                f"(allowed {sweep.max_slowdown:.0%}); {sweep.rest_watts:g} W of the machine around it are counted."
            ),
            restarted_replicas=0,
            executor="none",
        ),
    )

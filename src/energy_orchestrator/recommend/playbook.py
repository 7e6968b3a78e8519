"""The playbook: what changes of a kind really saved here corrects the prior.

Retrieved are the finished tries of a kind of change. Those of the target itself and of its neighbours (the same
fingerprint group: workloads that do the same) count one each, tries elsewhere a third; a target of which no group is
known can't tell near from far, so all count one. With a weight of n tried, s of which held, the confidence is
(s + p) / (n + 1), the prior p counting as one try; the expected ratio is the mean of what was measured and of the
prior, and the bounds narrow to what was seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from energy_orchestrator.model.recommendation import Tried
from energy_orchestrator.model.units import Bounded
from energy_orchestrator.recommend.observation import Prior

ENOUGH = 3
"""Tries after which the interval is what was seen; before, it also spans the prior's."""
ELSEWHERE = 1 / 3
"""What a try on a workload that does something else counts. A judgement, not a measurement."""


@dataclass(frozen=True, slots=True)
class Tries:
    """Saved share of each finished try (a loss counts as 0); None for one that was reverted."""

    near: Sequence[float | None] = ()
    elsewhere: Sequence[float | None] = ()


Measured = Sequence[float | None] | Tries
"""Finished tries, apart by nearness; a plain sequence: all of them near."""


def tries_for(past: Sequence[Tried], workload: str, group: int | None) -> Tries:
    """What is known of such changes, as it counts for one workload."""
    if group is None:
        return Tries([it.saved_share for it in past])
    near = [it.workload == workload or it.group == group for it in past]
    return Tries(
        [it.saved_share for it, is_near in zip(past, near, strict=True) if is_near],
        [it.saved_share for it, is_near in zip(past, near, strict=True) if not is_near],
    )


def corrected(prior: Prior, measured: Measured) -> Prior:
    """The prior after experience."""
    tries = measured if isinstance(measured, Tries) else Tries(measured)
    all_of_them = [(it, 1.0) for it in tries.near] + [(it, ELSEWHERE) for it in tries.elsewhere]
    if not all_of_them:
        return prior
    held = [(min(1.0, max(0.0, ratio)), weight) for ratio, weight in all_of_them if ratio is not None]
    saved = sum(weight for ratio, weight in held if ratio > 0)
    confidence = (saved + prior.confidence) / (sum(weight for _, weight in all_of_them) + 1)
    reason = _reason(tries)
    if not held:
        return Prior(Bounded(prior.ratio.value, 0.0, prior.ratio.upper), confidence, f"{reason}; {prior.source}")
    mass = sum(weight for _, weight in held)
    value = (sum(ratio * weight for ratio, weight in held) + prior.ratio.value) / (mass + 1)
    near = [ratio for ratio, weight in held if weight == 1.0]
    seen = near if len(near) >= ENOUGH else [ratio for ratio, _ in held]
    if len(seen) < ENOUGH:
        seen = [*seen, prior.ratio.lower, prior.ratio.upper]
    return Prior(Bounded(value, min(*seen, prior.ratio.value, value), max(*seen, value)), confidence, reason)


def _reason(tries: Tries) -> str:
    near, elsewhere = _share(tries.near), _share(tries.elsewhere)
    if not tries.elsewhere:
        return f"{near} such changes saved energy here"
    if not tries.near:
        return f"{elsewhere} such changes saved energy on workloads of other groups"
    return f"{near} such changes saved energy on it and its neighbours, {elsewhere} elsewhere"


def _share(tries: Sequence[float | None]) -> str:
    return f"{sum(ratio is not None and ratio > 0 for ratio in tries)} of {len(tries)}"

"""The playbook: what changes of a kind really saved here corrects the prior.

With n finished tries of which s held, the confidence is (s + p) / (n + 1), the prior p counting as one try; the
expected ratio is the mean of what was measured and of the prior, and the bounds narrow to what was seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from energy_orchestrator.model.units import Bounded
from energy_orchestrator.recommend.observation import Prior


def corrected(prior: Prior, measured: Sequence[float | None]) -> Prior:
    """The prior after experience.

    Args:
        measured: saved share of each finished try; None for one that was reverted.
    """
    if not measured:
        return prior
    held = [ratio for ratio in measured if ratio is not None]
    confidence = (len(held) + prior.confidence) / (len(measured) + 1)
    reason = f"{len(held)} of {len(measured)} such changes held here"
    if not held:
        return Prior(Bounded(prior.ratio.value, 0.0, prior.ratio.upper), confidence, f"{reason}; {prior.source}")
    value = fmean([*held, prior.ratio.value])
    low, high = min(*held, value), max(*held, value)
    return Prior(Bounded(value, max(0.0, min(low, prior.ratio.value)), min(1.0, high)), confidence, reason)

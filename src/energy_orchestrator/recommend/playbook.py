"""The playbook: what changes of a kind really saved here corrects the prior.

With n finished tries of which s held, the confidence is (s + p) / (n + 1), the prior p counting as one try; the
expected ratio is the mean of what was measured and of the prior, and the bounds narrow to what was seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from energy_orchestrator.model.units import Bounded
from energy_orchestrator.recommend.observation import Prior

ENOUGH = 3
"""Tries after which the interval is what was seen; before, it also spans the prior's."""


def corrected(prior: Prior, measured: Sequence[float | None]) -> Prior:
    """The prior after experience.

    Args:
        measured: saved share of each finished try (a loss counts as 0); None for one that was reverted.
    """
    if not measured:
        return prior
    held = [min(1.0, max(0.0, ratio)) for ratio in measured if ratio is not None]
    saved = sum(ratio > 0 for ratio in held)
    confidence = (saved + prior.confidence) / (len(measured) + 1)
    reason = f"{saved} of {len(measured)} such changes saved energy here"
    if not held:
        return Prior(Bounded(prior.ratio.value, 0.0, prior.ratio.upper), confidence, f"{reason}; {prior.source}")
    value = fmean([*held, prior.ratio.value])
    seen = held if len(held) >= ENOUGH else [*held, prior.ratio.lower, prior.ratio.upper]
    return Prior(Bounded(value, min(*seen, prior.ratio.value), max(*seen, value)), confidence, reason)

"""Image: another image of the same workload that was measured to take less energy per operation.

In: J/op by window of each image (on like nodes), which one runs now. Out: the image whose J/op is lower with a 90 %
interval of the ratio (Hodges-Lehmann on logarithms with the Mann-Whitney interval) wholly below 1. Where nothing was
measured, an image of at most half the size is advice whose saving is the energy of pulling it (0 to 3.6 kJ/GB: Cloud
Carbon Footprint's 0.001 kWh/GB of network), expected at nothing: a smaller base does not make code faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from scipy.stats import norm

from energy_orchestrator.model.fleet import ImageRuns
from energy_orchestrator.model.recommendation import SuggestionType
from energy_orchestrator.model.units import Bounded, Tier
from energy_orchestrator.recommend.observation import Finding, Prior
from energy_orchestrator.recommend.playbook import Measured
from energy_orchestrator.recommend.subject import Found, Subject
from energy_orchestrator.recommend.version import MINIMUM_WINDOWS, RISK_PARTS, expected, surely_cheapest

SMALLER = 0.5
PULL_JOULES_PER_GB = 3600.0


def ratio_of(before: Sequence[float], after: Sequence[float]) -> Bounded:
    """after / before with the 90 % Mann-Whitney interval of the shift of logarithms."""
    pairs = np.sort(np.subtract.outer(np.log(after), np.log(before)).ravel())
    n, m = len(after), len(before)
    rank = int(n * m / 2 - norm.ppf(0.95) * np.sqrt(n * m * (n + m + 1) / 12))
    rank = max(0, min(rank, len(pairs) // 2))
    low, high = pairs[rank], pairs[len(pairs) - 1 - rank]
    return Bounded(*(float(np.exp(it)) for it in (np.median(pairs), low, high)))


def image(runs: Sequence[ImageRuns], measured: Measured, tenant: str, now: datetime) -> Found | None:
    """Of all images of one workload; None where none is better, or which runs now is not said."""
    present = next((it for it in runs if it.current), None)
    if present is None:
        return None
    return _measured(present, runs, measured, tenant, now) or _smaller(present, runs, tenant, now)


def _measured(
    present: ImageRuns, runs: Sequence[ImageRuns], measured: Measured, tenant: str, now: datetime
) -> Found | None:
    if len(present.joules_per_operation) < MINIMUM_WINDOWS or present.operations_per_day is None:
        return None
    enough = [it for it in runs if it is not present and len(it.joules_per_operation) >= MINIMUM_WINDOWS]
    ratios = [ratio_of(present.joules_per_operation, it.joules_per_operation) for it in enough]
    found = surely_cheapest((ratio, it.image, (ratio, it)) for ratio, it in zip(ratios, enough, strict=True))
    if found is None:
        return None
    ratio, best = found
    prior = expected(ratio, measured)
    joules = float(np.median(present.joules_per_operation))
    spent = joules * present.operations_per_day / 86_400
    saved = prior.ratio.scaled(spent)
    windows = (len(present.joules_per_operation), len(best.joules_per_operation))
    text = (
        f"{best.image} took {ratio.value:.3f} of the energy per operation of {present.image} (90 % interval "
        f"{ratio.lower:.3f} to {ratio.upper:.3f}, {windows[1]} and {windows[0]} windows)."
    )
    median = float(np.median(best.joules_per_operation))
    evidence: list[tuple[str, float | str, str]] = [
        (present.image, joules, "J/operation"),
        (best.image, median, "J/operation"),
    ]
    return _found(present, best, saved, spent, prior, text, evidence, tenant, now)


def _smaller(present: ImageRuns, runs: Sequence[ImageRuns], tenant: str, now: datetime) -> Found | None:
    small = [
        it for it in runs
        if not it.joules_per_operation and it.size_mb and present.size_mb and it.size_mb <= SMALLER * present.size_mb
    ]  # fmt: skip
    if not small or not present.size_mb or present.starts_per_day <= 0:
        return None
    best = min(small, key=lambda it: (it.size_mb or 0.0, it.image))
    spent = present.size_mb / 1000 * PULL_JOULES_PER_GB * present.starts_per_day / 86_400
    share = 1 - (best.size_mb or 0.0) / present.size_mb
    prior = Prior(Bounded(0.0, 0.0, share), 0.5, "only the pull gets smaller; what the code takes was not measured")
    text = (
        f"{best.image} has {best.size_mb:g} MB instead of {present.size_mb:g} MB, pulled "
        f"{present.starts_per_day:g} times a "
        "day. Only the pull takes less; measure J/op before expecting more."
    )
    saved = Bounded(0.0, 0.0, spent * share)
    evidence: list[tuple[str, float | str, str]] = [(it.image, it.size_mb or "unknown", "MB") for it in (present, best)]
    return _found(present, best, saved, spent, prior, text, evidence, tenant, now)


def _found(
    present: ImageRuns, best: ImageRuns, saved: Bounded, spent: float, prior: Prior, text: str,
    evidence: list[tuple[str, float | str, str]], tenant: str, now: datetime,
) -> Found:  # fmt: skip
    return Found(
        Subject(tenant, present.workload, None, now, now, Tier.MODEL, {present.workload: ""}),
        Finding(
            strategy="image",
            suggestion_type=SuggestionType.IMAGE,
            patch={"image": best.image},
            inverse={"image": present.image},
            saved_watts=saved,
            spent_watts=Bounded(spent, spent, spent),
            confidence=prior.confidence,
            confidence_reason=prior.source,
            risk_parts=RISK_PARTS,
            evidence=evidence,
            explanation=text,
            restarted_replicas=1,
            executor="none",
        ),
    )

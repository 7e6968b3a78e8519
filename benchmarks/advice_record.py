"""A simulated record of advice: what strategies claimed, what truly came of it. A simulation; the figures say so.

Every week each of many workloads gets at most one claim. Its true saving is drawn for its kind; what is measured before
is off by the kind's error, so that the best looking claims are too good (the winner's curse); the strategy's own
confidence is that the interval it states lies above nothing, given an error that it believes to be half of the true
one: strategies boast. A change comes true when its measured saving is positive and it broke no SLO (the chance grows
with its latency risk). Kinds differ in spread and error as the published figures do: batching 9 to 19 % (MLPerf),
power caps 2 to 35 % (Zeus), right-sizing little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from energy_orchestrator.recommend.confidence import calibrated

KINDS = {
    # kind: mean and spread of the true share, error of measuring it, chance of an SLO violation
    "power_cap": (0.12, 0.08, 0.05, 0.03),
    "batching": (0.10, 0.12, 0.10, 0.12),
    "runtime_flags": (0.15, 0.20, 0.12, 0.05),
    "right_size": (0.02, 0.05, 0.05, 0.04),
    "idle_shutdown": (0.60, 0.40, 0.15, 0.08),
    "placement": (0.35, 0.20, 0.08, 0.02),
}
BOAST = 0.5


@dataclass(frozen=True)
class Claim:
    """One piece of advice; shares are of the target's watts."""

    week: int
    kind: str
    watts: float
    claimed_share: float
    lower_share: float
    claim: float
    true_share: float
    came_true: bool


def simulate_record(seed: int, weeks: int = 26, a_week: int = 120) -> list[Claim]:
    """The same seed, the same record."""
    random, found = np.random.default_rng(seed), []
    kinds = list(KINDS)
    for week in range(weeks):
        for _ in range(a_week):
            kind = kinds[random.integers(len(kinds))]
            mean, spread, error, breaks = KINDS[kind]
            true = float(np.clip(random.normal(mean, spread), -0.5, 1.0))
            seen = float(np.clip(true + random.normal(0, error), -0.5, 1.0))
            if seen <= 0.01:
                continue
            believed = error * BOAST
            found.append(
                Claim(
                    week=week,
                    kind=kind,
                    watts=float(random.lognormal(3, 1)),
                    claimed_share=seen,
                    lower_share=max(0.0, seen - 1.645 * believed),
                    claim=float(norm.cdf(seen / believed)),
                    true_share=true,
                    came_true=bool(true > 0 and random.random() > breaks),
                )
            )
    return found


@dataclass(frozen=True)
class Judged:
    """A claim with the confidence it got from the weeks before."""

    claim: Claim
    confidence: float


def replayed(record: Sequence[Claim], first_week: int = 8) -> list[Judged]:
    """Each week judged by what was known before it (results come within the week), kind by kind as in production."""
    judged = []
    for week in range(first_week, max(it.week for it in record) + 1):
        known = {
            kind: [(it.claim, it.came_true) for it in record if it.week < week and it.kind == kind] for kind in KINDS
        }
        judged += [Judged(it, calibrated(it.claim, known[it.kind])[0]) for it in record if it.week == week]
    return judged


def precision_at(judged: Sequence[Judged], count: int, by: str) -> tuple[float, float]:
    """Share of the best `count` of each week that came true, and their true savings over those of the best possible."""
    hits, got, most = [], 0.0, 0.0
    for week in sorted({it.claim.week for it in judged}):
        these = [it for it in judged if it.claim.week == week]
        chosen = sorted(these, key=lambda it: _score(it, by), reverse=True)[:count]
        hits += [it.claim.came_true for it in chosen]
        worth = [it.claim.watts * it.claim.true_share if it.claim.came_true else 0.0 for it in these]
        got += sum(it.claim.watts * it.claim.true_share if it.claim.came_true else 0.0 for it in chosen)
        most += sum(sorted(worth, reverse=True)[:count])
    return float(np.mean(hits)), got / most


def _score(it: Judged, by: str) -> float:
    made = it.claim
    if by == "claimed saving":
        return made.watts * made.claimed_share
    careful = made.lower_share + 0.25 * (made.claimed_share - made.lower_share)
    return made.watts * careful * (made.claim if by == "claimed confidence" else it.confidence)

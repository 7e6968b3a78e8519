"""Confidence that can be believed: of those at 80 %, 80 % come true.

In: what a strategy claims, and the record: past claims with whether they came true (measured saving positive, no SLO
violation, not reverted). Out: a probability and how it is known.

- Few records (< 50, or all of one outcome): Beta-binomial. The claim counts as four tries; s of n that came true move
  it to (s + 4 x claim) / (n + 4).
- Enough: isotonic regression of outcome on claim (scikit-learn), so that a higher claim never gets a lower confidence.
  At each tenth of the claims and at both ends two more records are put in whose outcome is the rate of all: a step of
  three records is no certainty.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.isotonic import IsotonicRegression

Record = Sequence[tuple[float, bool]]
ENOUGH = 50
STRENGTH = 4.0
TENTHS, ADDED = 10, 2.0


def no_record(tenant: str, suggestion_type: str) -> Record:
    """For callers that keep none."""
    del tenant, suggestion_type
    return ()


def calibrated(claim: float, record: Record) -> tuple[float, str]:
    """See the module; without a record the claim itself, and no reason."""
    if not record:
        return claim, ""
    came = np.array([it for _, it in record], float)
    if len(record) < ENOUGH or came.min() == came.max():
        sure = (came.sum() + STRENGTH * claim) / (len(came) + STRENGTH)
        return float(sure), f"{int(came.sum())} of {len(came)} such claims came true (Beta-binomial)"
    claims = np.array([it for it, _ in record], float)
    added = np.concatenate([[0.0, 1.0], np.quantile(claims, np.linspace(0.05, 0.95, TENTHS))])
    steps = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(
        np.concatenate([claims, added]),
        np.concatenate([came, np.full(len(added), came.mean())]),
        sample_weight=np.concatenate([np.ones_like(came), np.full(len(added), ADDED)]),
    )
    return float(
        steps.predict([claim])[0]
    ), f"from {len(came)} past claims, {came.mean():.0%} of which came true (isotonic)"


def reliability(
    predicted: Sequence[float], came_true: Sequence[bool], bins: int = 10
) -> list[tuple[float, float, int]]:
    """Mean confidence, share that came true, and number, of each tenth of the scale that holds any."""
    sure, came = np.asarray(predicted, float), np.asarray(came_true, float)
    of = np.clip((sure * bins).astype(int), 0, bins - 1)
    return [
        (float(sure[of == b].mean()), float(came[of == b].mean()), int((of == b).sum()))
        for b in range(bins)
        if (of == b).any()
    ]


def calibration_error(predicted: Sequence[float], came_true: Sequence[bool]) -> float:
    """Expected calibration error: mean distance of the reliability plot from its diagonal, by number."""
    rows = reliability(predicted, came_true)
    return sum(abs(sure - came) * n for sure, came, n in rows) / max(1, sum(n for _, _, n in rows))

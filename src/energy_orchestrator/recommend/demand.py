"""What workloads will need in the next span, and how far such forecasts were off.

In: columns of past demand (a row a workload, a column a step), never anything later. Out: the peak and mean of the
next span, and a margin for nodes. The forecast is seasonal: the mean of the same span yesterday and a week ago, moved
by how the last hour compared with the same hours then. The margin comes from the errors that the same forecast made
for the sums on nodes in past spans, as a share of a node and beyond the room that is kept for a burst of one workload.
The largest of n spans is exceeded by the next one once in n + 1, whatever their distribution, so on 168 hours about
once a week: too often. Hence the level that the worst node of an hour exceeds once a year, by peaks over a threshold
(Coles, "An introduction to statistical modeling of extreme values", 2001, ch. 4) with an exponential tail.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DAYS_BACK = (1, 7)
LEVEL_SHARE = 0.5
"""How much of a present deviation is carried on: half, between forgetting it and taking it for lasting."""
LEVEL_RANGE = (0.8, 1.5)
SPANS_OF_A_YEAR = 24 * 365.0
TAIL = 0.9
"""The errors beyond this quantile tell how the rest falls off."""
LEAST_SPANS = 48


@dataclass(frozen=True, slots=True)
class Season:
    """Steps in a day, in a span that is planned for, and between the last data and that span."""

    day: int = 288
    span: int = 12
    lead: int = 1


def forecast(history: Floats, at: int, season: Season) -> tuple[Floats, Floats]:
    """Peak and mean of each row over steps `at` to `at + span`, from columns before `at - lead` only."""
    seen = at - season.lead
    past = [at - days * season.day for days in DAYS_BACK if at - days * season.day >= 0]
    if not past:
        recent = history[:, max(0, seen - season.span) : seen]
        return recent.max(axis=1), recent.mean(axis=1)
    peaks, means, levels = [], [], []
    for start in past:
        window = history[:, start : min(start + season.span, seen)]
        peaks.append(window.max(axis=1))
        means.append(window.mean(axis=1))
        before = history[:, max(0, start - season.lead - season.span) : max(1, start - season.lead)]
        levels.append(before.mean(axis=1))
    now = history[:, max(0, seen - season.span) : seen].mean(axis=1)
    then = np.mean(levels, axis=0)
    ratio = np.where(then > 1e-9, now / np.maximum(then, 1e-9), 1.0)
    level = np.clip(1 + LEVEL_SHARE * (ratio - 1), *LEVEL_RANGE)
    return np.mean(peaks, axis=0) * level, np.mean(means, axis=0) * level


def burst_factor(reached: Floats, predicted: Floats, quantile: float = 0.999) -> float:
    """How many times its forecast peak a workload may reach, from past spans of all workloads (bursts of one are too
    rare to be learnt from its own past): the quantile of reached / forecast, at least 1."""
    material = predicted > np.median(predicted) / 10
    ratios = reached[material] / np.maximum(predicted[material], 1e-9)
    return max(1.0, float(np.quantile(ratios, quantile))) if len(ratios) else 1.0


def node_errors(reached: Floats, predicted: Floats, reserve: Floats, capacity: Floats) -> Floats:
    """Errors as a share of each node's capacity: what the sum reached, less what was forecast for it and what was kept
    for a burst of one of its workloads."""
    return (reached - predicted - reserve) / np.maximum(capacity, 1e-9)


def margin(worst: Floats, exceeded_once_in: float = SPANS_OF_A_YEAR, least: float = 0.02, most: float = 0.5) -> float:
    """Share of a node to keep free.

    Args:
        worst: the largest error of any node in each past span.
        exceeded_once_in: spans in which the worst node may need more once. Never less than the largest error seen.
    """
    if len(worst) < LEAST_SPANS:
        return most
    threshold = np.quantile(worst, TAIL)
    beyond = worst[worst > threshold] - threshold
    mean = float(beyond.mean()) if len(beyond) else 0.0
    level = threshold + mean * np.log(max(1.0, exceeded_once_in * len(beyond) / len(worst)))
    return float(np.clip(max(level, worst.max()), least, most))

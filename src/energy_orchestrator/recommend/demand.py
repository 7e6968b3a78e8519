"""What workloads will need in the next span, and how far such forecasts were off.

In: columns of past demand (a row a workload, a column a step), never anything later. Out: the peak and mean of the
next span, and a margin for nodes. The forecast is seasonal: the mean of the same span yesterday and a week ago, moved
by how the last hour compared with the same hours then. The margin is conformal: the largest error that the same
forecast made for the sums on nodes in the past, as a share of a node and beyond the room that is kept for a burst
of one workload, times a factor of safety. It can be checked: the
error is that of named past spans.
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


def margin(errors: Floats, safety: float = 1.25, least: float = 0.02, most: float = 0.5) -> float:
    """Share of a node to keep free: the largest error seen times the safety, at least `least`."""
    if not len(errors):
        return most
    return float(np.clip(errors.max() * safety, least, most))

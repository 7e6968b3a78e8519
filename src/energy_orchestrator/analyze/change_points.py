"""When J/op shifted, and whether a new version was deployed just then.

In: J/op by window, oldest first, and when the version changed. Out: the shifts that noise does not explain. The test
is the largest deviation of the cumulative sum (CUSUM) of the logarithm of J/op from a straight line, divided by its
long-run deviation; without a shift that is the largest deviation of a Brownian bridge, whose distribution is
Kolmogorov's (Ploberger and Kraemer, "The CUSUM test with OLS residuals", Econometrica 60, 1992). Neighbouring windows
go together: residuals about the two means are whitened by an autoregression of order 1 first, its coefficient
corrected upwards for the bias of short series and of the two means. Outliers are pulled in to five robust deviations.
Several shifts are found by splitting at the largest and looking again in both parts (binary segmentation).

docs/accuracy.md has false alarms and what is found in simulated series (benchmarks/change_points.py). A rise that was
taken back within the span can hide: looking into parts of a series finds it, but made false alarms of series with
memory. Numpy and scipy instead of `ruptures`: that has penalties to choose, no test with a controlled rate of false
alarms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import kstwobign

from energy_orchestrator.model.long_run import Floats, spread_of_mean, together, whitened

ALPHA = 0.01
"""False alarms asked for: one in a hundred series without a shift."""
MIN_SIDE = 8
"""Windows on each side of a shift."""
MIN_WINDOWS = 60
"""Of the whole series: in shorter ones memory can't be told from a shift."""
MIN_SHARE = 0.03
"""A smaller shift is nobody's alert."""
TWO_MEANS = (3.0, 7.0)
"""Bias of an autocorrelation about two means: (3 + 7 r) / n."""
CONFIDENCE = 0.9
OUTLIER = 5.0


@dataclass(frozen=True, slots=True)
class Shift:
    """J/op was `before` up to the window `index`, and `after` from it on (geometric means).

    `share_lower` and `share_upper` bound `share` with 90 % confidence by how windows differ (`model/long_run.py`). The
    meter is the same before and after: its factor falls out. Where the shift is was chosen by the same windows, so it
    is told a little too large where it is hardly told from noise.
    """

    index: int
    before: float
    after: float
    p_value: float
    share_lower: float
    share_upper: float

    @property
    def share(self) -> float:
        """By how much it rose, of what it was; negative is less."""
        return self.after / self.before - 1


def shifts(joules_per_operation: Sequence[float], alpha: float = ALPHA) -> list[Shift]:
    """All shifts, oldest first. Values that are no positive number must be left out by the caller."""
    values = np.asarray(joules_per_operation, dtype=np.float64)
    if not (np.isfinite(values) & (values > 0)).all():
        raise ValueError("J/op must be positive and finite; leave out windows without it")
    if len(values) < MIN_WINDOWS:
        return []
    logs = np.log(values)
    edges = [0, *sorted(_split(logs, 0, len(logs), alpha)), len(logs)]
    found = []
    for start, at, end in zip(edges, edges[1:], edges[2:], strict=False):
        before, after = math.exp(logs[start:at].mean()), math.exp(logs[at:end].mean())
        if abs(after / before - 1) >= MIN_SHARE:
            lower, upper = _share(logs[start:at], logs[at:end])
            found.append(Shift(at, before, after, _largest(logs[start:end])[1], lower, upper))
    return found


def cause(at_seconds: float, deployed_seconds: Sequence[float], within_seconds: float) -> int | None:
    """Which deployment coincides with a shift: the nearest no farther than `within_seconds`, before or after."""
    near = [(abs(it - at_seconds), place) for place, it in enumerate(deployed_seconds)]
    near = [it for it in near if it[0] <= within_seconds]
    return min(near)[1] if near else None


def _split(logs: Floats, start: int, end: int, alpha: float) -> list[int]:
    if end - start < 2 * MIN_SIDE:
        return []
    place, p_value = _largest(logs[start:end])
    if p_value >= alpha:
        return []
    at = start + place
    return [*_split(logs, start, at, alpha), at, *_split(logs, at, end, alpha)]


def _share(before: Floats, after: Floats) -> tuple[float, float]:
    rise = float(after.mean() - before.mean())
    margin = together([spread_of_mean(before), spread_of_mean(after)]).margin(CONFIDENCE)
    return math.expm1(rise - margin), math.expm1(rise + margin)


def _largest(logs: Floats) -> tuple[int, float]:
    """Where the likeliest shift is, and the probability of such a deviation without one."""
    n = len(logs)
    middle = float(np.median(logs))
    reach = OUTLIER * 1.4826 * float(np.median(np.abs(logs - middle)))
    calm = np.clip(logs, middle - reach, middle + reach) if reach > 0 else logs
    sums = np.abs(np.cumsum(calm - calm.mean()))[MIN_SIDE - 1 : n - MIN_SIDE]
    place = int(np.argmax(sums)) + MIN_SIDE
    residual = np.concatenate([calm[:place] - calm[:place].mean(), calm[place:] - calm[place:].mean()])
    deviation = _long_run_deviation(residual)
    if deviation <= 1e-12:
        return place, 0.0 if sums.max() > 1e-9 * n else 1.0
    return place, float(kstwobign.sf(float(sums.max()) / (deviation * math.sqrt(n))))


def _long_run_deviation(residual: Floats) -> float:
    rho, white = whitened(residual, *TWO_MEANS)
    return math.sqrt(float(white @ white) / (len(residual) - 3)) / (1 - rho)

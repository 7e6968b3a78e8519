"""What a node's lesser meter says, translated into what its better one would say: learned where a node has both.

In go pairs of watts read at the same time (a wall plug or BMC, and RAPL), out comes a `Calibration`: a curve, the
range it was learned on, the 90 % spread of its residuals (of blocks of time that its curve was not fitted to), and
how the residual drifts. The curve is
`a + b x + c x^2`: the node's other parts, the share of the load that the lesser meter sees, and losses that grow with
the square of the current (power supplies, regulators). It is fitted robustly (Huber's weights: Huber, Robust
Statistics, 1981, section 7.8), since two meters are never read at quite the same moment. Beyond the range the curve
goes on straight with a wider interval, and far beyond there is no answer (NaN). `carried` gives a node that never
had a better meter the middle of like nodes' curves, with a wider interval. Pure; services/calibrations.py keeps pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEAST_PAIRS = 30
LEAST_RANGE = 1.15
"""Highest over lowest reading: a node that only rested teaches nothing about its load."""
HUBER, ROUNDS = 1.345, 12
SAME_SPREAD = 1.4826
"""A median absolute deviation times this is a standard deviation, where errors are normal."""
TAIL = 0.05
TIME_BLOCKS = 8
Z_90 = 1.645
SLOPE_DOUBT = 0.5
"""Beyond the range the slope may be off by this share; assumed (docs/accuracy.md tests it on one machine)."""
FARTHEST = 1.0
"""Beyond the range by more than this many times its width there is no answer; assumed."""
NODES_APART, NODES_APART_WEIGHT = 0.2, 3.0
"""How the logarithm of whole watts differs between like nodes, and how many nodes' word that is worth beside those
seen; judged from servers of one CPU model in SPECpower, which differ more than nodes bought together."""
DAY_SECONDS = 86400.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """See the module. Residuals are relative: better over translated, minus 1."""

    curve: tuple[float, float, float]
    lowest: float
    highest: float
    residual_lower: float
    residual_upper: float
    drift_per_day: float
    """Change of the relative residual: its slope over the time of the pairs."""
    drift_error_per_day: float
    """90 % half-width of it; a drift within is none."""
    last_seconds: float
    """When the last pair was read."""
    pairs: int
    nodes: int = 1

    @property
    def drifts(self) -> bool:
        """Whether the residual's drift can be told from noise."""
        return abs(self.drift_per_day) > self.drift_error_per_day

    def watts(self, reading: Floats, seconds: float | None = None) -> tuple[Floats, Floats, Floats]:
        """The better meter's watts for readings of the lesser, with 90 % bounds; NaN far beyond the range learned on.
        With `seconds`, when the reading was taken, a drift that was seen widens the interval by age."""
        held = np.clip(reading, self.lowest, self.highest)
        offset, first, second = self.curve
        rise = (first + 2 * second * held) * (reading - held)
        value = offset + first * held + second * held**2 + rise
        age_days = max(0.0, seconds - self.last_seconds) / DAY_SECONDS if seconds is not None else 0.0
        aged = age_days * (abs(self.drift_per_day) + self.drift_error_per_day) if self.drifts else 0.0
        beyond = np.abs(rise) * SLOPE_DOUBT
        lower = value * max(1 + self.residual_lower - aged, 0.0) - beyond
        upper = value * (1 + self.residual_upper + aged) + beyond
        far = np.abs(reading - held) > FARTHEST * (self.highest - self.lowest)
        silent = far | (value <= 0) | ~np.isfinite(reading)
        return (
            np.where(silent, np.nan, value),
            np.where(silent, np.nan, np.maximum(lower, 0.0)),
            np.where(silent, np.nan, upper),
        )


def learn(better: Floats, lesser: Floats, seconds: Floats, least_pairs: int = LEAST_PAIRS) -> Calibration | str:
    """The calibration of one node from pairs of watts and their times, or the reason why there is none."""
    good = np.isfinite(better) & np.isfinite(lesser) & (better > 0) & (lesser > 0)
    better, lesser, seconds = better[good], lesser[good], seconds[good]
    if len(better) < least_pairs:
        return f"{len(better)} pairs of readings, {least_pairs} are needed"
    lowest, highest = (float(value) for value in np.quantile(lesser, [0.005, 0.995]))
    if highest < LEAST_RANGE * lowest:
        return f"the load hardly changed: {lowest:.0f} to {highest:.0f} W, {LEAST_RANGE:g} times are needed"
    curve = _rising(better, lesser, (lowest, highest))
    if curve[1] <= 0:
        return "the two meters do not rise together: do they see the same node?"
    made = Calibration(curve, lowest, highest, 0.0, 0.0, 0.0, 0.0, float(seconds.max()), len(better))
    value = made.watts(np.clip(lesser, lowest, highest))[0]
    if not np.isfinite(value).all():
        return "the curve falls below 0 W within its range: do the two meters see the same node?"
    residual = better / value - 1
    low, high = _tails(_held_out(better, lesser, seconds, made))
    drift, error = _drift(residual, seconds)
    return replace(
        made,
        residual_lower=min(low, 0.0),
        residual_upper=max(high, 0.0),
        drift_per_day=drift,
        drift_error_per_day=error,
    )


def carried(of_like_nodes: Sequence[Calibration]) -> Calibration | None:
    """For a node of the same kind: the middle of the curves over the range that all of them know, and an interval
    wide enough for one more node. None without a range in common."""
    if not of_like_nodes:
        return None
    lowest, highest = max(one.lowest for one in of_like_nodes), min(one.highest for one in of_like_nodes)
    if highest < LEAST_RANGE * lowest:
        return None
    at = np.linspace(lowest, highest, 9)
    each = np.array([one.watts(at)[0] for one in of_like_nodes])
    curve = _fitted(np.median(each, axis=0), at, 2)
    made = replace(of_like_nodes[0], curve=curve, lowest=lowest, highest=highest)
    apart = np.log(each / made.watts(at)[0]).mean(axis=1)
    count = len(of_like_nodes)
    spread = (NODES_APART_WEIGHT * NODES_APART**2 + float(apart @ apart)) / (NODES_APART_WEIGHT + count - 1)
    between = Z_90 * float(np.sqrt(spread * (1 + 1 / count)))
    low, high = (
        float(np.median([getattr(one, name) for one in of_like_nodes])) for name in ("residual_lower", "residual_upper")
    )
    return replace(
        made,
        residual_lower=float(np.expm1(-np.hypot(between, np.log1p(max(low, -0.99))))),
        residual_upper=float(np.expm1(np.hypot(between, np.log1p(high)))),
        drift_per_day=0.0,
        drift_error_per_day=0.0,
        last_seconds=max(one.last_seconds for one in of_like_nodes),
        pairs=sum(one.pairs for one in of_like_nodes),
        nodes=count,
    )


def _rising(better: Floats, lesser: Floats, ends: tuple[float, float]) -> tuple[float, float, float]:
    """The curve, or a straight line where the curve would fall within its range."""
    curve = _fitted(better, lesser, 2)
    falls = min(curve[1] + 2 * curve[2] * end for end in ends) <= 0
    return _fitted(better, lesser, 1) if falls else curve


def _held_out(better: Floats, lesser: Floats, seconds: Floats, made: Calibration) -> Floats:
    """Residuals of each block of time by the curve of the others: those of the whole curve promise too much."""
    residual = np.empty(len(better))
    for part in np.array_split(np.argsort(seconds, kind="stable"), min(TIME_BLOCKS, len(better))):
        rest = np.ones(len(better), dtype=bool)
        rest[part] = False
        ends = (float(lesser[rest].min()), float(lesser[rest].max()))
        other = replace(made, curve=_rising(better[rest], lesser[rest], ends), lowest=ends[0], highest=ends[1])
        value = other.watts(np.clip(lesser[part], *ends))[0]
        residual[part] = better[part] / value - 1
    return residual[np.isfinite(residual)]


def _tails(residual: Floats) -> tuple[float, float]:
    """5 and 95 %, one place farther out than the sample's own, as conformal intervals are."""
    ordered = np.sort(residual)
    count = len(ordered)
    if not count:
        return -1.0, 1.0
    place = math.floor((count + 1) * TAIL)
    return float(ordered[max(place - 1, 0)]), float(ordered[min(count - place, count - 1)])


def _fitted(better: Floats, lesser: Floats, degree: int) -> tuple[float, float, float]:
    scale = float(np.median(lesser))
    columns = np.vander(lesser / scale, degree + 1, increasing=True)
    weight: Floats = np.ones(len(better))
    solved: Floats = np.zeros(degree + 1)
    for _ in range(ROUNDS):
        root = np.sqrt(weight)
        solved = np.asarray(np.linalg.lstsq(columns * root[:, None], better * root, rcond=None)[0], dtype=np.float64)
        error = np.abs(better - columns @ solved)
        limit = HUBER * SAME_SPREAD * float(np.median(error))
        weight = np.minimum(1.0, limit / np.maximum(error, 1e-9)) if limit > 0 else np.ones(len(better))
    padded = [*(float(value) / scale**power for power, value in enumerate(solved)), 0.0][:3]
    return padded[0], padded[1], padded[2]


def _drift(residual: Floats, seconds: Floats) -> tuple[float, float]:
    """Slope a day and its 90 % half-width, from the medians of blocks of time: neighbouring pairs err together, so
    that single ones would promise too much. Pairs of one moment tell nothing: infinite half-width."""
    if float(np.ptp(seconds)) <= 0 or len(residual) < 3 * TIME_BLOCKS:
        return 0.0, float("inf")
    blocks = np.array_split(np.argsort(seconds, kind="stable"), TIME_BLOCKS)
    middle = np.array([seconds[part].mean() for part in blocks]) / DAY_SECONDS
    height = np.array([np.median(residual[part]) for part in blocks])
    middle -= middle.mean()
    spread = float(middle @ middle)
    if spread <= 0:
        return 0.0, float("inf")
    slope = float(middle @ height) / spread
    left = height - height.mean() - slope * middle
    student = 1.943  # 95 % of Student's t with TIME_BLOCKS - 2 = 6 degrees of freedom
    return slope, student * float(np.sqrt(left @ left / (TIME_BLOCKS - 2) / spread))

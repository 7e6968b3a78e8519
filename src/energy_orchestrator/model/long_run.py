"""How far the mean of an autocorrelated series may be off.

Energy of neighbouring windows goes together, so the usual standard error is too small. First the series is whitened
by an autoregression of order 1 (Andrews and Monahan, Econometrica 60, 1992) whose coefficient is corrected for its bias
in short series (Kendall, Biometrika 41, 1954). The variance of the mean then comes from the first cosine transforms
of what is left, with Student's t of as many degrees of freedom as transforms were used (equal-weighted cosine:
Lazarus, Lewis, Stock and Watson, "HAR Inference: Recommendations for Practice", Journal of Business & Economic
Statistics 36(4), 2018, equations 4 and 8). A block bootstrap's intervals are too short for a few dozen windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

Floats = NDArray[np.float64]

RULE = 0.4
"""Transforms used of n windows: 0.4 n^(2/3) (Lazarus et al., equation 4)."""
ONE_MEAN = (1.0, 3.0)
"""Bias of an autocorrelation about one mean: Kendall's (1 + 3 r) / n."""
MAX_RHO = 0.9
"""Whitening goes no further: nearer to 1 the series is a drift, and its mean says nothing (Andrews and Monahan use 0.97
for longer series)."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Variance of a mean, and the degrees of freedom that it was estimated with."""

    variance: float
    degrees: float

    def scaled(self, factor: float) -> Spread:
        """Of the mean times a factor."""
        return Spread(self.variance * factor * factor, self.degrees)

    def margin(self, confidence: float) -> float:
        """Half the width of the interval of that confidence."""
        return float(student.ppf(0.5 + confidence / 2, self.degrees)) * math.sqrt(self.variance)


def spread_of_mean(series: Floats) -> Spread:
    """Of the mean of a series in the order of time; gaps are closed up."""
    n = len(series)
    centred = series - series.mean()
    rho, white = whitened(centred, *ONE_MEAN)
    used = max(1, round(RULE * n ** (2 / 3)))
    steps = (np.arange(n - 1) + 0.5) * np.pi / (n - 1)
    waves = np.cos(np.outer(np.arange(1, used + 1), steps)) * math.sqrt(2 / (n - 1))
    transforms = waves @ (white - white.mean())
    return Spread(float(np.mean(transforms**2)) / (1 - rho) ** 2 / n, float(used))


def whitened(centred: Floats, constant: float, slope: float) -> tuple[float, Floats]:
    """Autocorrelation of lag 1, 0 to MAX_RHO, and what is left of a series without it. A raw one of r in n values is
    too low by (constant + slope x r) / n, and is corrected for that."""
    n, power = len(centred), float(centred[:-1] @ centred[:-1])
    if power <= 0:
        return 0.0, centred[1:]
    raw = float(centred[1:] @ centred[:-1]) / power
    rho = min(MAX_RHO, max(0.0, raw + (constant + slope * raw) / n))
    return rho, centred[1:] - rho * centred[:-1]


def together(parts: Sequence[Spread]) -> Spread:
    """Of a sum or difference of independent means (Welch and Satterthwaite)."""
    variance = sum(part.variance for part in parts)
    if variance <= 0:
        return Spread(0.0, min(part.degrees for part in parts))
    return Spread(variance, variance**2 / sum(part.variance**2 / part.degrees for part in parts))

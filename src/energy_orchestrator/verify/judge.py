"""The judge of two samples: Mann-Whitney with the Hodges-Lehmann estimate, as Kayenta compares canaries.

Canary and baseline ran at the same time, so a change of load moves both; what is left between them is the change.
The test asks nothing of the shape of the data. The shift is the median of all pairwise differences (Hodges and
Lehmann 1963); its interval is the set of shifts that the test would not reject (Moses; Hollander and Wolfe,
*Nonparametric Statistical Methods*, 3rd ed., 4.2-4.3): exact for up to 20 untied values a side, else by the normal
approximation with correction for ties.

- better: the whole interval lies below -tolerance (less is better here: joules, seconds) -> Successful
- worse: the whole interval lies above +tolerance -> Failed
- otherwise, with fewer than MIN_SAMPLES a side, or with a value that is no finite number -> Inconclusive

`higher_is_better` turns the two around. `verify/analysis.py` puts several such metrics together; `eo judge` asks
`judge_columns`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from scipy.stats import mannwhitneyu

from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.model.analysis_run import AnalysisPhase

MIN_SAMPLES = 5
EXACT_UP_TO = 20
CONFIDENCE = 0.90
MAX_SAMPLES = 2_000
"""Pairwise differences grow with the square (32 MB here); longer columns are refused, not sampled."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Shift of the canary against the baseline, in the unit of the samples; None where it can't be told."""

    phase: AnalysisPhase
    estimate: float | None
    lower: float | None
    upper: float | None
    p_value: float | None
    samples_baseline: int
    samples_canary: int
    message: str


def judge(
    baseline: Sequence[float],
    canary: Sequence[float],
    *,
    confidence: float = CONFIDENCE,
    tolerance: float = 0.0,
    higher_is_better: bool = False,
) -> Judgement:
    """Compare. `tolerance` is the shift, in the unit of the samples, that is not worth a verdict."""
    m, n = len(baseline), len(canary)

    def undecided(phase: AnalysisPhase, text: str) -> Judgement:
        return Judgement(phase, None, None, None, None, m, n, text)

    if not 0 < confidence < 1 or not 0 <= tolerance < math.inf:
        return undecided(AnalysisPhase.ERROR, f"confidence {confidence} or tolerance {tolerance} is out of range")
    if max(m, n) > MAX_SAMPLES:
        return undecided(AnalysisPhase.ERROR, f"more than {MAX_SAMPLES} values a side")
    if not all(map(math.isfinite, (*baseline, *canary))):
        return undecided(AnalysisPhase.INCONCLUSIVE, "a value is not a finite number")
    if min(m, n) < MIN_SAMPLES:
        text = f"{m} baseline and {n} canary values: at least {MIN_SAMPLES} of each are needed"
        return undecided(AnalysisPhase.INCONCLUSIVE, text)
    found = shift(baseline, canary, confidence)
    if found is None:
        text = f"{m} and {n} values are too few for an interval at {confidence:g}"
        return undecided(AnalysisPhase.INCONCLUSIVE, text)
    phase, text = _verdict(found[1], found[2], tolerance, higher_is_better=higher_is_better)
    p_value = float(mannwhitneyu(canary, baseline, alternative="two-sided").pvalue)
    return Judgement(phase, *found, p_value, m, n, text)


def _verdict(lower: float, upper: float, tolerance: float, *, higher_is_better: bool) -> tuple[AnalysisPhase, str]:
    good, bad = AnalysisPhase.SUCCESSFUL, AnalysisPhase.FAILED
    if higher_is_better:
        good, bad = bad, good
    if upper < -tolerance:
        return good, "the canary is lower"
    if lower > tolerance:
        return bad, "the canary is higher"
    return AnalysisPhase.INCONCLUSIVE, "no difference can be told from the noise"


def shift(baseline: Sequence[float], canary: Sequence[float], confidence: float) -> tuple[float, float, float] | None:
    """Hodges-Lehmann estimate of canary minus baseline, with its interval; None where there are too few values
    for the confidence asked."""
    rank = _interval_rank(baseline, canary, confidence)
    if rank < 1:
        return None
    differences = np.sort(np.subtract.outer(np.asarray(canary, float), np.asarray(baseline, float)), axis=None)
    return float(np.median(differences)), float(differences[rank - 1]), float(differences[-rank])


def _interval_rank(baseline: Sequence[float], canary: Sequence[float], confidence: float) -> int:
    """Which difference, counted from 1 at either end, bounds the interval: the largest k with
    P(U <= k - 1) <= (1 - confidence) / 2, since the interval misses the shift exactly when U < k. 0 is none."""
    m, n = len(baseline), len(canary)
    tail = (1 - confidence) / 2
    tied = len({*baseline, *canary}) < m + n
    if not tied and max(m, n) <= EXACT_UP_TO:
        counts = np.asarray(_u_counts(m, n), float)
        below = np.cumsum(counts) / counts.sum()
        return int(np.searchsorted(below, tail, side="right"))
    size = m + n
    ties = sum(count**3 - count for count in Counter((*baseline, *canary)).values())
    variance = max(0.0, m * n / 12 * (size + 1 - ties / (size * (size - 1))))
    return max(0, math.floor(m * n / 2 + NormalDist().inv_cdf(tail) * math.sqrt(variance)))


@lru_cache(maxsize=256)
def _u_counts(m: int, n: int) -> tuple[int, ...]:
    """How many orderings of m and n values give each U from 0 to mn (Mann and Whitney 1947): the coefficients of
    the Gaussian binomial, the product of (1 - q^(n+i)) / (1 - q^i) for i up to m."""
    counts = [1] + [0] * (m * n)
    for i in range(1, m + 1):
        for u in range(m * n, n + i - 1, -1):
            counts[u] -= counts[u - n - i]
        for u in range(i, m * n + 1):
            counts[u] += counts[u - i]
    return tuple(counts)


def read_columns(text: str) -> tuple[list[float], list[float]]:
    """Two columns (baseline, canary), by comma, semicolon, tab or blanks; a first line of names is skipped.

    Columns may differ in length: a line with an empty first or second cell adds to the other only.

    Raises:
        InvalidInputError: naming the line that is not two numbers.
    """
    columns: tuple[list[float], list[float]] = ([], [])
    seen = False
    for number, line in enumerate(text.splitlines(), 1):
        cells = _cells(line)
        if not any(cells):
            continue
        try:
            values = [float(cell) if cell else None for cell in cells]
        except ValueError:
            values = []
        if len(values) != 2:
            if not seen and len(cells) == 2 and not values:
                seen = True
                continue
            raise InvalidInputError(
                f"{line.strip()[:60]!r} is not two numbers", where=f"line {number}", next_step="give baseline,canary"
            )
        seen = True
        for column, value in zip(columns, values, strict=True):
            if value is not None:
                column.append(value)
    return columns


def _cells(line: str) -> list[str]:
    for separator in (",", ";", "\t"):
        if separator in line:
            return [cell.strip() for cell in line.split(separator)]
    return line.split()


def judge_columns(text: str, *, confidence: float = CONFIDENCE) -> Judgement:
    """Read two columns and judge them: what `eo judge` prints."""
    baseline, canary = read_columns(text)
    return judge(baseline, canary, confidence=confidence)

"""Shifts of J/op: found where they are, rarely where there is none (simulated series, fixed seeds)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import binom

from energy_orchestrator.analyze.change_points import MIN_WINDOWS, cause, shifts


def series(rng: np.random.Generator, count: int, memory: float, step: float = 0.0) -> list[float]:
    noise = lfilter([math.sqrt(1 - memory**2)], [1, -memory], rng.standard_normal(count + 100))[100:]
    found: list[float] = np.exp(0.06 * noise + np.where(np.arange(count) < count // 2, 0, math.log1p(step))).tolist()
    return found


@pytest.mark.parametrize("memory", [0.0, 0.5])
def test_false_alarms_are_rare_and_a_tenth_more_is_found(memory: float) -> None:
    rng = np.random.default_rng(11)
    trials = 300
    false = sum(bool(shifts(series(rng, 144, memory))) for _ in range(trials))
    found = sum(any(it.share > 0 for it in shifts(series(rng, 144, memory, 0.1))) for _ in range(trials))
    assert false <= binom.ppf(0.999, trials, 0.02)
    assert found >= binom.ppf(0.001, trials, 0.90)


def test_two_shifts_are_told_apart() -> None:
    rng = np.random.default_rng(2)
    values = np.array(series(rng, 300, 0.3)) * np.repeat([1.0, 1.5, 2.1], 100)
    first, second = shifts(values.tolist())
    assert abs(first.index - 100) <= 3
    assert abs(second.index - 200) <= 3
    assert first.share == pytest.approx(0.5, abs=0.1)
    assert second.share == pytest.approx(0.4, abs=0.1)


def test_one_outlier_is_no_shift() -> None:
    values = series(np.random.default_rng(3), 120, 0.2)
    values[60] *= 50
    assert shifts(values) == []


def test_constant_short_or_impossible_series() -> None:
    assert shifts([2.0] * 200) == []
    assert shifts([1.0, 2.0] * (MIN_WINDOWS // 2 - 1)) == []
    assert [it.index for it in shifts([1.0] * 50 + [2.0] * 50)] == [50]
    with pytest.raises(ValueError, match="positive"):
        shifts([1.0] * 99 + [math.nan])


def test_the_nearest_deployment_is_the_cause_if_near_enough() -> None:
    assert cause(100, [10, 90, 120], 30) == 1
    assert cause(100, [10, 140], 30) is None

"""The judge against scipy, against a published example, and against its own promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.model.analysis_run import AnalysisPhase
from energy_orchestrator.verify.judge import MAX_SAMPLES, MIN_SAMPLES, judge, judge_columns, read_columns, shift

# Whole hundredths: differences are then exact enough to tell ties from neighbours.
VALUES = st.integers(-10_000, 10_000).map(lambda n: n / 64)
COLUMN = st.lists(VALUES, min_size=MIN_SAMPLES, max_size=25)
UNTIED = st.lists(st.integers(-10_000, 10_000), min_size=2 * MIN_SAMPLES, max_size=24, unique=True)


def test_published_example_of_hollander_and_wolfe() -> None:
    """Permeability of the chorioamnion (Nonparametric Statistical Methods, example 4.1; R's ?wilcox.test):
    W = 35, two-sided p = 0.2544, Hodges-Lehmann estimate 0.305."""
    at_term = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46]
    earlier = [1.15, 0.88, 0.90, 0.74, 1.21]
    found = judge(earlier, at_term)
    assert found.estimate == pytest.approx(0.305)
    assert found.p_value == pytest.approx(0.2544, abs=5e-5)
    assert found.phase is AnalysisPhase.INCONCLUSIVE


@settings(deadline=None, max_examples=60)
@given(UNTIED, st.sampled_from([0.8, 0.9, 0.95]))
def test_interval_is_the_set_of_shifts_that_the_exact_test_does_not_reject(
    values: list[int], confidence: float
) -> None:
    half = len(values) // 2
    # Different fractions, so that no shift below makes a tie.
    baseline, canary = [float(v) for v in values[:half]], [v + 0.25 for v in values[half:]]
    found = shift(baseline, canary, confidence)
    assert found is not None
    _, lower, upper = found

    def p_value(by: float) -> float:
        moved = [value - by for value in canary]
        return float(mannwhitneyu(moved, baseline, alternative="two-sided", method="exact").pvalue)

    alpha = 1 - confidence
    for inside in (lower + 1 / 16, upper - 1 / 16):
        if lower <= inside <= upper:
            assert p_value(inside) > alpha
    for outside in (lower - 1 / 16, upper + 1 / 16):
        assert p_value(outside) <= alpha


@pytest.mark.parametrize("size", [5, 8, 20, 40])
def test_interval_covers_the_true_shift_as_often_as_it_says(size: int) -> None:
    random = np.random.default_rng(20_261_123)
    tries, covered = 1_000, 0
    for _ in range(tries):
        found = shift(list(random.exponential(size=size)), list(random.exponential(size=size) + 3), 0.90)
        assert found is not None
        covered += found[1] <= 3 <= found[2]
    # Exact for small samples, so never below; discreteness makes it a little wider. 0.87 is three standard errors.
    assert 0.87 <= covered / tries <= 0.96


def test_of_identical_distributions_about_one_in_twenty_looks_better() -> None:
    random = np.random.default_rng(7)
    judged = [judge(list(random.lognormal(size=12)), list(random.lognormal(size=12))).phase for _ in range(1_000)]
    assert 0.025 <= judged.count(AnalysisPhase.SUCCESSFUL) / 1_000 <= 0.065
    assert 0.025 <= judged.count(AnalysisPhase.FAILED) / 1_000 <= 0.065


@settings(deadline=None)
@given(COLUMN, COLUMN)
def test_swapping_the_sides_negates_the_shift(baseline: list[float], canary: list[float]) -> None:
    one, other = judge(baseline, canary), judge(canary, baseline)
    assert (one.estimate, one.lower, one.upper) == (-_(other.estimate), -_(other.upper), -_(other.lower))
    opposite = {
        AnalysisPhase.SUCCESSFUL: AnalysisPhase.FAILED,
        AnalysisPhase.FAILED: AnalysisPhase.SUCCESSFUL,
        AnalysisPhase.INCONCLUSIVE: AnalysisPhase.INCONCLUSIVE,
    }
    assert other.phase is opposite[one.phase]
    assert one.p_value == pytest.approx(other.p_value)


def _(value: float | None) -> float:
    assert value is not None
    return value


@settings(deadline=None)
@given(COLUMN, COLUMN, st.integers(-5_000, 5_000).map(float))
def test_moving_the_canary_moves_the_shift_by_as_much(baseline: list[float], canary: list[float], by: float) -> None:
    before = judge(baseline, canary)
    after = judge([value + by for value in baseline], [value + by for value in canary])
    assert _(after.estimate) == pytest.approx(_(before.estimate))
    untied = len({*baseline, *canary, *(v + by for v in canary)}) == len(baseline) + 2 * len(canary)
    if untied:
        moved = judge(baseline, [value + by for value in canary])
        assert _(moved.estimate) == pytest.approx(_(before.estimate) + by)
        assert _(moved.lower) == pytest.approx(_(before.lower) + by)


@settings(deadline=None)
@given(COLUMN)
def test_identical_data_is_never_an_improvement(values: list[float]) -> None:
    found = judge(values, values)
    assert found.phase is AnalysisPhase.INCONCLUSIVE
    assert found.estimate == 0


@settings(deadline=None)
@given(COLUMN, COLUMN)
def test_estimate_lies_in_its_interval(baseline: list[float], canary: list[float]) -> None:
    found = judge(baseline, canary)
    assert _(found.lower) <= _(found.estimate) <= _(found.upper)


def test_heavy_ties_are_corrected_for() -> None:
    counts = [3.0] * 9 + [4.0] * 3
    assert judge(counts, [2.0] * 12).phase is AnalysisPhase.SUCCESSFUL
    assert judge(counts, [3.0] * 10 + [4.0] * 2).phase is AnalysisPhase.INCONCLUSIVE


@pytest.mark.parametrize("higher_is_better", [False, True])
def test_direction_decides_which_way_is_good(higher_is_better: bool) -> None:
    low, high = [float(n) for n in range(10)], [float(n) + 50 for n in range(10)]
    wanted = AnalysisPhase.SUCCESSFUL if higher_is_better else AnalysisPhase.FAILED
    assert judge(low, high, higher_is_better=higher_is_better).phase is wanted


def test_a_shift_within_the_tolerance_is_no_verdict() -> None:
    baseline, worse = [100 + n / 10 for n in range(12)], [102.05 + n / 10 for n in range(12)]
    assert judge(baseline, worse).phase is AnalysisPhase.FAILED
    assert judge(baseline, worse, tolerance=5).phase is AnalysisPhase.INCONCLUSIVE
    assert judge(baseline, [v + 10 for v in worse], tolerance=5).phase is AnalysisPhase.FAILED


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_never_passes(bad: float) -> None:
    baseline, canary = [10.0 + n for n in range(10)], [1.0 + n / 10 for n in range(10)]
    found = judge(baseline, [*canary, bad])
    assert found.phase is AnalysisPhase.INCONCLUSIVE
    assert found.estimate is None


def test_too_few_values_are_inconclusive_and_too_many_an_error() -> None:
    assert judge([1.0] * (MIN_SAMPLES - 1), [0.0] * 20).phase is AnalysisPhase.INCONCLUSIVE
    assert judge([1.0, 2.0, 3.0, 4.0, 5.0], [0.1, 0.2, 0.3, 0.4, 0.5], confidence=0.9999).phase is (
        AnalysisPhase.INCONCLUSIVE
    )
    assert judge([1.0] * (MAX_SAMPLES + 1), [0.0] * 20).phase is AnalysisPhase.ERROR
    assert judge([1.0] * 9, [0.0] * 9, confidence=1.5).phase is AnalysisPhase.ERROR


@pytest.mark.parametrize("separator", [",", ";", "\t", "   "])
@pytest.mark.parametrize("header", ["", "baseline{}canary\n"])
def test_columns_are_read_from_the_usual_forms(separator: str, header: str) -> None:
    lines = [f"{n}{separator}{n / 2}" for n in range(8)]
    text = header.format(separator) + "\n\n".join(lines) + "\n"
    assert read_columns(text) == ([float(n) for n in range(8)], [n / 2 for n in range(8)])


@pytest.mark.parametrize(
    ("text", "line"), [("1,2\n3,x\n", 2), ("a,b\n1,2,3\n", 2), ("1,2\n\n\n5\n", 4), ("a,b\nc,d\n1,2", 2)]
)
def test_a_bad_line_is_named(text: str, line: int) -> None:
    with pytest.raises(InvalidInputError) as error:
        judge_columns(text)
    assert error.value.where == f"line {line}"


def test_columns_may_differ_in_length() -> None:
    found = judge_columns("baseline,canary\n" + "".join(f"{n + 10},{n}\n" for n in range(8)) + "18,\n19,\n")
    assert (found.samples_baseline, found.samples_canary) == (10, 8)
    assert found.phase is AnalysisPhase.SUCCESSFUL

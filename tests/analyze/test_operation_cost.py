"""J/op with its interval: what the meter adds, what windows add, and what cannot be told."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from energy_orchestrator.analyze.operation_cost import (
    FEW_WINDOWS,
    NO_ENERGY,
    NOTHING_DONE,
    ONE_WINDOW,
    CostWindow,
    OperationCost,
    compare,
    operation_cost,
)

AMOUNT = st.floats(0, 1e6)
WINDOWS = st.lists(
    st.builds(
        lambda joules, low, high, done: CostWindow(joules, joules * low, joules * high, done),
        AMOUNT, st.floats(0, 1), st.floats(1, 3), AMOUNT,
    ),
    max_size=40,
)  # fmt: skip


def cost_of(joules: list[float], low: float = 0.9, high: float = 1.2, done: float = 10.0) -> OperationCost:
    return operation_cost([CostWindow(it, it * low, it * high, done) for it in joules])


def steady(mean: float, seed: int, n: int = 40, low: float = 0.9, high: float = 1.2) -> OperationCost:
    noise = np.random.default_rng(seed).normal(0, 0.03, n)
    return cost_of([mean * (1 + it) for it in noise], low, high)


@given(WINDOWS)
def test_the_value_is_energy_over_operations_inside_an_interval_at_least_as_wide_as_the_meters(
    windows: list[CostWindow],
) -> None:
    assume(not 0 < sum(it.operations for it in windows) < 1e-6)
    cost = operation_cost(windows)
    if cost.value is None:
        assert cost.reason in {NO_ENERGY, NOTHING_DONE}
        return
    assert cost.by_meter is not None
    assert cost.value.value == pytest.approx(
        sum(it.joules for it in windows) / sum(it.operations for it in windows), rel=1e-9
    )
    assert 0 <= cost.value.lower <= cost.by_meter.lower * (1 + 1e-9)
    assert cost.value.upper >= cost.by_meter.upper * (1 - 1e-9)


def test_no_window_and_no_operation_are_unknown_with_a_reason() -> None:
    assert (operation_cost([]).value, operation_cost([]).reason) == (None, NO_ENERGY)
    idle = operation_cost([CostWindow(5.0, 4.0, 6.0, 0.0)] * 3)
    assert (idle.value, idle.reason, idle.joules) == (None, NOTHING_DONE, 15.0)


def test_one_window_has_the_meters_bounds_only_and_says_so() -> None:
    cost = cost_of([100.0])
    assert cost.value is not None
    assert (cost.value.lower, cost.value.value, cost.value.upper) == (9.0, 10.0, 12.0)
    assert (cost.spread, cost.note) == (None, ONE_WINDOW)


def test_few_windows_say_that_their_memory_is_not_known() -> None:
    assert cost_of([100.0, 110.0, 90.0]).note == FEW_WINDOWS
    assert cost_of([100.0, 110.0] * 10).note is None


def test_energy_of_a_window_in_which_nothing_was_done_counts() -> None:
    cost = operation_cost([CostWindow(10.0, 10.0, 10.0, 5.0), CostWindow(10.0, 10.0, 10.0, 0.0)])
    assert cost.value is not None
    assert cost.value.value == 4.0


def test_more_windows_shrink_the_spread_and_leave_the_meter() -> None:
    few, many = steady(100.0, 1, n=30), steady(100.0, 1, n=3000)
    assert few.value and few.by_meter and few.spread and many.value and many.by_meter and many.spread  # noqa: PT018
    assert many.spread.variance < few.spread.variance / 30
    assert many.value.upper - many.value.lower == pytest.approx(many.by_meter.upper - many.by_meter.lower, rel=0.01)
    assert few.value.upper > few.by_meter.upper


def test_energy_that_is_negative_or_no_number_is_refused() -> None:
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="finite"):
            cost_of([bad])


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_the_interval_covers_the_truth_as_often_as_it_says_also_with_memory(rho: float) -> None:
    """Simulated: 400 series of 60 windows whose cost of an operation has memory and whose load swings."""
    random, covered = np.random.default_rng(7), 0
    for _ in range(400):
        noise = np.zeros(60)
        for at, shock in enumerate(random.normal(0, 0.05, 60)):
            noise[at] = rho * noise[at - 1] + shock
        done = random.uniform(5, 15, 60)
        series = [CostWindow(e, e, e, o) for e, o in zip(2 * done * (1 + noise), done, strict=True)]
        value = operation_cost(series).value
        assert value is not None
        covered += value.lower <= 2.0 <= value.upper
    assert 0.86 <= covered / 400 <= 0.95


def test_on_the_same_meter_the_ratio_is_as_sure_as_the_windows_are() -> None:
    old, new = steady(100.0, 1), steady(112.0, 2)
    same, apart = compare(old, new, same_meter=True), compare(old, new, same_meter=False)
    assert same.ratio and apart.ratio  # noqa: PT018
    assert same.ratio.value == pytest.approx(1.12, abs=0.02)
    assert same.differs
    assert 1.08 < same.ratio.lower < same.ratio.upper < 1.16
    assert apart.ratio.upper == pytest.approx(1.12 * math.exp(math.hypot(math.log(1.2), math.log(1 / 0.9))), rel=0.01)
    assert apart.ratio.lower < 1
    assert not apart.differs


def test_the_ratio_the_other_way_round_is_its_inverse() -> None:
    old, new = steady(100.0, 1), steady(150.0, 2)
    for same in (True, False):
        there, back = compare(old, new, same_meter=same).ratio, compare(new, old, same_meter=same).ratio
        assert there and back  # noqa: PT018
        assert (1 / back.upper, 1 / back.value, 1 / back.lower) == pytest.approx(
            (there.lower, there.value, there.upper)
        )


@pytest.mark.parametrize(
    ("base", "other", "reason"),
    [
        (cost_of([]), cost_of([1.0, 2.0]), "unknown"),
        (cost_of([1.0, 2.0]), cost_of([1.0]), "one window only"),
        (cost_of([1.0, 2.0]), cost_of([0.0, 0.0]), "is 0"),
        (cost_of([1.0, 2.0], low=0.0), cost_of([1.0, 2.0]), "too wide"),
    ],
)
def test_what_cannot_be_compared_has_a_reason(base: OperationCost, other: OperationCost, reason: str) -> None:
    found = compare(base, other, same_meter=False)
    assert found.ratio is None
    assert not found.differs
    assert reason in (found.reason or "")

"""A lesser meter learns from a better one: what it learned holds, and what it can't know it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy_orchestrator.analyze.calibration import Calibration, Floats, carried, learn

COUNT = 200
TIMES = np.arange(COUNT, dtype=np.float64) * 30.0


def rapl(seed: int = 1) -> Floats:
    return np.random.default_rng(seed).uniform(60.0, 270.0, COUNT)


def wall(seen: Floats, offset: float = 100.0, slope: float = 0.8, square: float = 0.001) -> Floats:
    return offset + slope * seen + square * seen**2


def learned(better: Floats, lesser: Floats, seconds: Floats = TIMES) -> Calibration:
    found = learn(better, lesser, seconds)
    assert isinstance(found, Calibration), found
    return found


@given(st.floats(0, 500), st.floats(0.3, 2.0), st.floats(0, 0.002), st.floats(0.5, 3.0))
@settings(max_examples=50, deadline=None)
def test_a_true_curve_is_found_again_whatever_its_scale(
    offset: float, slope: float, square: float, scale: float
) -> None:
    seen = rapl() * scale
    made = learned(wall(seen, offset, slope, square), seen)
    at = np.linspace(made.lowest, made.highest, 20)
    assert made.watts(at)[0] == pytest.approx(wall(at, offset, slope, square), rel=1e-6)


@given(st.integers(0, 10_000), st.floats(0.005, 0.1))
@settings(max_examples=50, deadline=None)
def test_the_interval_holds_nine_in_ten_of_new_readings(seed: int, noise: float) -> None:
    random = np.random.default_rng(seed)
    seen, new = rapl(seed), random.uniform(70.0, 260.0, 2000)
    made = learned(wall(seen) * np.exp(random.normal(0, noise, COUNT)), seen)
    truth = wall(new) * np.exp(random.normal(0, noise, len(new)))
    _, low, high = made.watts(new)
    assert 0.80 <= np.mean((truth >= low) & (truth <= high)) <= 0.97


@given(st.lists(st.floats(1.0, 2000.0), min_size=1, max_size=40), st.integers(0, 100))
@settings(max_examples=50, deadline=None)
def test_bounds_enclose_the_value_and_grow_with_the_reading(readings: list[float], seed: int) -> None:
    random = np.random.default_rng(seed)
    seen = rapl(seed)
    made = learned(wall(seen) * np.exp(random.normal(0, 0.03, COUNT)), seen)
    value, low, high = made.watts(np.sort(np.array(readings)))
    known = np.isfinite(value)
    assert (known == np.isfinite(low)).all()
    assert (low[known] <= value[known]).all()
    assert (value[known] <= high[known]).all()
    assert (np.diff(value[known]) >= -1e-9).all()


def test_a_few_wild_pairs_do_not_bend_the_curve() -> None:
    seen = rapl()
    better = wall(seen)
    better[::20] *= 3
    assert learned(better, seen).watts(np.array([150.0]))[0][0] == pytest.approx(wall(np.array([150.0]))[0], rel=0.01)


@pytest.mark.parametrize(
    ("better", "lesser", "reason"),
    [
        (np.full(29, 200.0), np.linspace(50, 100, 29), "29 pairs"),
        (np.full(COUNT, np.nan), rapl(), "0 pairs"),
        (np.full(COUNT, 200.0), np.full(COUNT, 50.0), "hardly changed"),
        (500.0 - rapl(), rapl(), "do not rise together"),
    ],
)
def test_pairs_that_teach_nothing_give_a_reason(better: Floats, lesser: Floats, reason: str) -> None:
    found = learn(better, lesser, TIMES[: len(better)])
    assert isinstance(found, str)
    assert reason in found


def test_beyond_the_range_the_interval_widens_and_far_beyond_there_is_no_answer() -> None:
    seen = rapl()
    made = learned(wall(seen) * np.exp(np.random.default_rng(2).normal(0, 0.02, COUNT)), seen)
    value, low, high = made.watts(np.array([200.0, made.highest + 60.0, made.highest + 120.0, 2000.0, np.nan]))
    width = (high - low) / value
    assert width[0] < width[1] < width[2]
    assert np.isnan(value[3:]).all()
    assert np.isnan(low[3:]).all()


def test_drift_is_told_from_noise_and_widens_with_age() -> None:
    random, seen, days = np.random.default_rng(3), rapl(), 86400.0 * np.linspace(0, 4, COUNT)
    noise = np.exp(random.normal(0, 0.01, COUNT))
    steady, drifting = (learned(wall(seen) * noise * (1 + d * days / 86400), seen, days) for d in (0.0, 0.02))
    assert not steady.drifts
    assert drifting.drifts
    assert drifting.drift_per_day == pytest.approx(0.02, rel=0.2)
    at, later = np.array([150.0]), days[-1] + 5 * 86400

    def width(made: Calibration, seconds: float) -> float:
        _, low, high = made.watts(at, seconds)
        return float(high[0] - low[0])

    assert width(steady, later) == width(steady, days[-1])
    assert width(drifting, later) > 1.5 * width(drifting, days[-1])


def test_pairs_of_one_moment_tell_nothing_of_drift() -> None:
    made = learned(wall(rapl()), rapl(), np.zeros(COUNT))
    assert not made.drifts
    assert made.drift_error_per_day == float("inf")


@given(st.integers(1, 6), st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_what_is_carried_is_wider_than_each_of_its_teachers(count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    teachers = []
    for _ in range(count):
        seen = random.uniform(60.0, 270.0, COUNT)
        own = float(np.exp(random.normal(0, 0.05)))
        teachers.append(learned(own * wall(seen) * np.exp(random.normal(0, 0.02, COUNT)), seen))
    made = carried(teachers)
    assert made is not None
    assert made.nodes == count
    at = np.array([150.0])
    value, low, high = made.watts(at)
    assert low[0] < value[0] < high[0]
    for teacher in teachers:
        _, own_low, own_high = teacher.watts(at)
        assert high[0] / low[0] > own_high[0] / own_low[0]


def test_the_more_like_nodes_agree_the_narrower_what_is_carried() -> None:
    teachers = [learned(wall(rapl(seed)), rapl(seed)) for seed in range(12)]
    widths = []
    for count in (1, 4, 12):
        made = carried(teachers[:count])
        assert made is not None
        widths.append(made.residual_upper)
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 1.5 * widths[2]


def test_simulated_like_nodes_that_differ_are_covered() -> None:
    """A simulation: nodes of one kind differ by 10 % (one sigma); one more of them is asked each time."""
    random, inside = np.random.default_rng(5), []
    for _ in range(150):
        factors = np.exp(random.normal(0, 0.1, 5))
        made = carried([learned(factor * wall(rapl()), rapl()) for factor in factors[:4]])
        assert made is not None
        _, low, high = made.watts(np.array([150.0]))
        inside.append(low[0] <= factors[4] * wall(np.array([150.0]))[0] <= high[0])
    assert np.mean(inside) >= 0.9


def test_nothing_is_carried_from_no_node_or_from_ranges_apart() -> None:
    assert carried([]) is None
    low, high = rapl(), rapl() + 400.0
    assert carried([learned(wall(low), low), learned(wall(high), high)]) is None

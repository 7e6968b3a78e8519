"""A short backtest on a simulated fleet: the bound is one, nobody beats it, and the planner reaches most of it."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.backtest import HISTORY_DAYS, Sleepers, bound_joules, replay
from benchmarks.backtest_rules import Past, Planner, Rule, krr_first_fit, last_hour_first_fit, nothing
from benchmarks.simulated_fleet import DAY, Simulated, simulate

from energy_orchestrator.recommend.demand import Season, forecast

DAYS = 1


@pytest.fixture(scope="module", params=["google", "alibaba"])
def fleet(request: pytest.FixtureRequest) -> Simulated:
    return simulate(11, 24, HISTORY_DAYS + DAYS, request.param)


@pytest.mark.slow
def test_on_its_first_day_even_greedy_reaches_three_quarters_of_the_bound_without_a_violation(
    fleet: Simulated,
) -> None:
    least, base = bound_joules(fleet, DAYS), replay(fleet, nothing, DAYS)
    score = replay(fleet, Planner(use_solver=False), DAYS)
    assert least < score.joules < base.joules
    assert score.violations == 0
    assert (base.joules - score.joules) / (base.joules - least) >= 0.75
    for rule in (krr_first_fit, last_hour_first_fit):
        assert replay(fleet, rule, DAYS).joules > least


@pytest.mark.parametrize("rule", [nothing, krr_first_fit, last_hour_first_fit, Planner(use_solver=False)])
def test_pinned_replicas_stay_and_those_apart_stay_apart(rule: Rule) -> None:
    it = simulate(3, 16, HISTORY_DAYS + 1)
    now = HISTORY_DAYS * DAY
    after = rule(Past(it, now, it.cpu[:, : now - 1].astype(float), it.home, np.zeros(16, bool)))
    assert (after == it.home)[it.pinned[it.group]].all()
    if rule is nothing or isinstance(rule, Planner):
        for group in np.flatnonzero(it.max_per_node == 1):
            nodes = after[it.group == group]
            assert len(set(nodes)) >= len(set(it.home[it.group == group]))


def test_a_sleep_came_true_when_the_node_slept_all_day_and_no_node_was_too_full() -> None:
    sleepers = Sleepers(simulate(3, 30, 1).nodes)
    asleep, calm = np.arange(30) < 24, np.zeros(30, bool)
    sleepers.choose(asleep)
    assert len(sleepers.best) == 20
    sleepers.watch(asleep, calm)
    assert sleepers.right() == 1
    awake_again = asleep.copy()
    awake_again[sleepers.best[:2]] = False
    sleepers.watch(awake_again, calm)
    sleepers.watch(asleep, np.arange(30) >= 28)
    sleepers.watch(asleep, np.arange(30) >= 28)
    assert sleepers.right() == pytest.approx(16 / 20)
    sleepers.choose(calm)
    assert sleepers.right() is None


def test_a_forecast_never_sees_what_comes_later() -> None:
    draw = np.random.default_rng(1)
    history = draw.random((5, 3000))
    changed = history.copy()
    changed[:, 2499:] = 9
    season = Season()
    for one, other in zip(forecast(history, 2500, season), forecast(changed, 2500, season), strict=True):
        assert (one == other).all()

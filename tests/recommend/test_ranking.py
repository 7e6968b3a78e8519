"""Ranking: the surest saving for the least disturbance first, and never two changes on one target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_orchestrator.model.recommendation import Recommendation, SuggestionType, Tried
from energy_orchestrator.model.units import Bounded
from energy_orchestrator.recommend.observation import Observation, Prior
from energy_orchestrator.recommend.playbook import Tries, corrected, tries_for
from energy_orchestrator.recommend.ranking import RankingSettings, recommend

from .test_strategies import NOW, QUIET, SEEN, SPINS


def ranked(seen: Sequence[Observation], settings: RankingSettings | None = None) -> list[Recommendation]:
    ids = count()
    return recommend(
        seen, {"node-a": 100.0}, lambda t, k: [], settings or RankingSettings(), lambda: str(next(ids)), NOW
    )


def test_one_change_per_target_at_a_time() -> None:
    assert len(ranked([SPINS])) == 1
    assert len(ranked([SPINS, replace(SPINS, workload="declared/v")])) == 2


def test_a_declared_workload_on_two_hosts_is_one_target_an_undeclared_one_is_two() -> None:
    there = replace(SEEN, host="node-b")
    assert len(ranked([SEEN, there])) == 1
    program = replace(SEEN, declaration=None, libraries=("openblas",))
    assert {it.target.host for it in ranked([program, replace(program, host="node-b")])} == {"node-a", "node-b"}


def test_more_watts_rank_higher() -> None:
    large = replace(SEEN, workload="declared/large", active_watts=SEEN.active_watts.scaled(10))
    assert [it.target.workload for it in ranked([SEEN, large])] == ["declared/large", "declared/w"]


def test_a_wide_interval_ranks_below_a_narrow_one_of_the_same_value() -> None:
    sure = replace(SEEN, workload="declared/sure", active_watts=Bounded(3.0, 2.9, 3.1))
    assert ranked([SEEN, sure])[0].target.workload == "declared/sure"


def test_too_little_data_and_too_little_to_save_say_nothing() -> None:
    assert ranked([replace(SEEN, start=NOW - timedelta(seconds=20))]) == []
    small = replace(QUIET, peaks=None)
    assert ranked([small], RankingSettings(minimum_savings_watts=1.0)) == []
    assert len(ranked([small])) == 1


def test_advice_does_not_live_for_ever() -> None:
    (it,) = ranked([SEEN])
    assert NOW < it.expires_at <= NOW + timedelta(minutes=15)


@pytest.mark.parametrize(("price", "grid"), [(None, None), (0.3, None), (None, 400.0), (0.3, 400.0)])
def test_money_and_emissions_only_where_configured(price: float | None, grid: float | None) -> None:
    (it,) = ranked([SEEN], RankingSettings(price_per_kwh=price, gco2e_per_kwh=grid))
    kwh = it.expected_savings_j.value / 3.6e6
    cost, carbon = it.expected_savings_cost, it.expected_savings_gco2e
    assert (cost.value if cost else None) == (pytest.approx(kwh * price) if price is not None else None)
    assert (carbon.value if carbon else None) == (pytest.approx(kwh * grid) if grid is not None else None)


PRIOR = Prior(Bounded(0.2, 0.05, 0.6), 0.55, "prior: somewhere else")


def test_no_experience_leaves_the_prior() -> None:
    assert corrected(PRIOR, []) == PRIOR


def test_experience_narrows_the_interval_to_what_was_seen() -> None:
    after = corrected(PRIOR, [0.30, 0.34, 0.32])
    assert 0.25 < after.ratio.value < 0.34
    assert after.ratio.upper < PRIOR.ratio.upper
    assert "3 of 3" in after.source


def test_one_try_does_not_narrow_the_interval() -> None:
    after = corrected(PRIOR, [0.3])
    assert (after.ratio.lower, after.ratio.upper) == (0.05, 0.6)


def test_a_kept_change_that_saved_nothing_is_no_success() -> None:
    assert corrected(PRIOR, [-0.1, 0.0]).confidence == corrected(PRIOR, [None, None]).confidence


def test_only_failures_take_the_lower_bound_to_nothing() -> None:
    after = corrected(PRIOR, [None, None])
    assert after.ratio.lower == 0
    assert after.confidence < 0.3


PAST = [Tried("a", 1, 0.3), Tried("b", 2, None), Tried("c", None, 0.1), Tried("d", 1, None)]


def test_tries_of_the_same_group_and_its_own_are_near() -> None:
    assert tries_for(PAST, "x", 1) == Tries([0.3, None], [None, 0.1])
    assert tries_for(PAST, "b", 3) == Tries([None], [0.3, 0.1, None])
    assert tries_for(PAST, "x", None) == Tries([0.3, None, 0.1, None])


@given(
    near=st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=5),
    elsewhere=st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=5),
)
def test_what_worked_for_a_neighbour_counts_more(near: list[float | None], elsewhere: list[float | None]) -> None:
    """One more success nearby lifts the confidence more than one elsewhere, one more failure lowers it more."""
    for ratio, sign in ((0.2, 1), (None, -1)):
        before = corrected(PRIOR, Tries(near, elsewhere)).confidence
        nearby = corrected(PRIOR, Tries([*near, ratio], elsewhere)).confidence - before
        far = corrected(PRIOR, Tries(near, [*elsewhere, ratio])).confidence - before
        assert sign * nearby > sign * far > 0


@given(
    near=st.lists(st.one_of(st.none(), st.floats(-1, 2)), max_size=5),
    elsewhere=st.lists(st.one_of(st.none(), st.floats(-1, 2)), max_size=5),
)
def test_bounds_stay_in_order_whatever_was_tried(near: list[float | None], elsewhere: list[float | None]) -> None:
    after = corrected(PRIOR, Tries(near, elsewhere))
    assert 0 <= after.ratio.lower <= after.ratio.value <= after.ratio.upper <= 1
    assert 0 < after.confidence < 1


def test_a_recommendation_says_whose_tries_it_stands_on() -> None:
    def past(tenant: str, kind: str) -> list[Tried]:
        asked.append(kind)
        return [Tried("declared/v", 7, 0.4), Tried("declared/u", 8, None)] if kind == "batching" else []

    asked: list[str] = []
    batches = replace(SEEN, involuntary_per_second=None, peaks=None)
    both = [replace(batches, group=7), replace(batches, workload="declared/other", group=9)]
    found = recommend(both, {"node-a": 100.0}, past, RankingSettings(), lambda: "id", NOW)
    reasons = {it.target.workload: it for it in found if it.suggestion_type is SuggestionType.BATCHING}
    assert reasons["declared/w"].confidence > reasons["declared/other"].confidence
    assert "1 of 1 such changes saved energy on it and its neighbours, 0 of 1 elsewhere" in (
        reasons["declared/w"].confidence_reason
    )
    assert "1 of 2 such changes saved energy on workloads of other groups" in (
        reasons["declared/other"].confidence_reason
    )
    assert len(asked) == len(set(asked))

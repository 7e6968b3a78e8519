"""The margin of nodes: never below what was seen, and exceeded about as rarely as it is asked to be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_orchestrator.recommend.demand import LEAST_SPANS, margin

ERRORS = st.lists(st.floats(-0.5, 0.6), min_size=LEAST_SPANS, max_size=200)


@given(ERRORS)
def test_it_is_between_its_limits_and_never_below_the_largest_error_seen(worst: list[float]) -> None:
    kept = margin(np.array(worst))
    assert 0.02 <= kept <= 0.5
    assert kept >= min(0.5, max(worst))


@given(ERRORS, st.floats(1, 1e5), st.floats(1, 1e5))
def test_rarer_means_more_room(worst: list[float], one: float, other: float) -> None:
    less, more = (margin(np.array(worst), spans) for spans in sorted((one, other)))
    assert less <= more


def test_with_little_history_half_is_kept_free() -> None:
    assert margin(np.zeros(LEAST_SPANS - 1)) == 0.5


@pytest.mark.parametrize("draw", ["exponential", "gumbel", "normal"])
def test_it_is_exceeded_no_more_often_than_asked_for(draw: str) -> None:
    """A thousand weeks of hours, and what the distribution says of the hour after each."""
    random, asked = np.random.default_rng(5), 1000.0
    unseen = np.sort(getattr(random, draw)(size=400_000))
    kept = [margin(getattr(random, draw)(size=168), asked, -1e9, 1e9) for _ in range(1000)]
    exceeded = 1 - np.searchsorted(unseen, kept) / len(unseen)
    largest = np.mean([1 - np.searchsorted(unseen, getattr(random, draw)(size=168).max()) / 4e5 for _ in range(1000)])
    assert np.median(exceeded) < 1.5 / asked
    assert np.mean(exceeded) < largest / 2

"""Confidence follows what came true."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_orchestrator.recommend.confidence import calibrated, calibration_error, reliability

CLAIMS = st.floats(0, 1)
RECORDS = st.lists(st.tuples(CLAIMS, st.booleans()), max_size=90)


@given(claim=CLAIMS, other=CLAIMS, record=RECORDS)
def test_it_is_a_probability_and_a_higher_claim_never_gets_less(
    claim: float, other: float, record: list[tuple[float, bool]]
) -> None:
    low, high = sorted((claim, other))
    first, second = calibrated(low, record)[0], calibrated(high, record)[0]
    assert 0 <= first <= 1
    assert first <= second + 1e-9


def test_without_a_record_the_claim_stands() -> None:
    assert calibrated(0.7, ()) == (0.7, "")


@pytest.mark.parametrize(("came", "lower", "upper"), [(9, 0.75, 0.95), (1, 0.1, 0.45)])
def test_few_records_move_it_some_of_the_way(came: int, lower: float, upper: float) -> None:
    sure, why = calibrated(0.7, [(0.7, n < came) for n in range(10)])
    assert lower < sure < upper
    assert f"{came} of 10" in why


def test_claims_that_boast_are_brought_down_to_what_came_true() -> None:
    draw = random.Random(3)
    truth = lambda claim: draw.random() < claim**2  # noqa: E731
    claims = [draw.uniform(0.3, 1) for _ in range(1000)]
    record = [(claim, truth(claim)) for claim in claims[:600]]
    later = [(claim, truth(claim)) for claim in claims[600:]]
    raw = calibration_error([claim for claim, _ in later], [came for _, came in later])
    mended = calibration_error([calibrated(claim, record)[0] for claim, _ in later], [came for _, came in later])
    assert raw > 0.12
    assert mended < raw / 2


def test_the_reliability_table_counts_everything_once() -> None:
    rows = reliability([0.05, 0.95, 0.97, 1.0], [False, True, True, False])
    assert [(round(sure, 3), round(came, 3), n) for sure, came, n in rows] == [(0.05, 0.0, 1), (0.973, 0.667, 3)]

"""Idle shared by what is reserved: it adds up, whatever is claimed, and what nobody reserves stays with the node."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_orchestrator.analyze.reservation import (
    Amount,
    Basis,
    Claim,
    NodeSize,
    claimed_cpus,
    claimed_memory,
    split,
)

GB = 1e9
NODE = NodeSize(8, 32 * GB)
AMOUNTS = st.floats(0, 1e15)


def claim(workload: str, cpus: float, memory_gb: float) -> Claim:
    return Claim(workload, Amount(cpus, Basis.DECLARED), Amount(memory_gb * GB, Basis.DECLARED))


@given(
    AMOUNTS,
    st.lists(st.builds(claim, st.just("w"), AMOUNTS, st.floats(0, 1e6)), max_size=12),
    st.builds(NodeSize, st.none() | st.floats(0, 1e4), st.none() | st.floats(0, 1e13)),
)
def test_parts_and_the_unreserved_rest_are_the_whole_and_none_is_negative(
    whole: float, claims: list[Claim], size: NodeSize
) -> None:
    found = split(whole, claims, size)
    assert math.fsum([*found.parts, found.unreserved]) == pytest.approx(whole, rel=1e-14, abs=0)
    assert len(found.parts) == len(claims)
    assert found.unreserved >= 0
    assert all(part >= 0 for part in found.parts)


@given(st.lists(st.builds(claim, st.just("w"), AMOUNTS, st.floats(0, 1e6)), min_size=1, max_size=12), st.randoms())
def test_the_order_of_claims_does_not_matter(claims: list[Claim], random: object) -> None:
    there = split(100.0, claims, NODE).parts
    back = split(100.0, claims[::-1], NODE).parts[::-1]
    assert there == pytest.approx(back, rel=1e-9, abs=1e-9)


def test_half_goes_by_cpu_and_half_by_memory_and_the_rest_stays_with_the_node() -> None:
    found = split(100.0, [claim("a", 4, 8), claim("b", 2, 0)], NODE)
    assert found.parts == pytest.approx((100 * (0.5 * 4 / 8 + 0.5 * 8 / 32), 100 * 0.5 * 2 / 8))
    assert found.unreserved == pytest.approx(50.0)


def test_a_node_that_is_reserved_twice_over_has_nothing_left() -> None:
    found = split(100.0, [claim("a", 8, 32), claim("b", 8, 32)], NODE)
    assert found.parts == pytest.approx((50, 50))
    assert found.unreserved == 0


def test_where_only_one_size_is_known_all_goes_by_it_and_without_any_nothing_is_spread() -> None:
    claims = [claim("a", 4, 8)]
    assert split(100.0, claims, NodeSize(8, None)).parts == (50.0,)
    assert split(100.0, claims, NodeSize(None, 32 * GB)).parts == (25.0,)
    assert split(100.0, claims, NodeSize(None, None)).unreserved == 100.0


def test_a_claim_rests_on_the_firmest_that_is_known() -> None:
    assert claimed_cpus(2, [4], 8, 0.1) == Amount(2, Basis.DECLARED)
    assert claimed_cpus(None, [4], 8, 0.1) == Amount(4, Basis.ALLOWED)
    assert claimed_cpus(None, [4, 4, 4], 8, 0.1) == Amount(12, Basis.ALLOWED), "each of three replicas is restricted"
    assert claimed_cpus(None, [8], 8, 0.1) == Amount(0.1, Basis.USE)
    assert claimed_cpus(None, [4], None, 0.1) == Amount(0.1, Basis.USE)
    assert claimed_cpus(None, [], 8, 0.1) == Amount(0.1, Basis.USE)
    assert claimed_memory(None, 5.0) == Amount(5.0, Basis.USE)
    assert claimed_memory(7.0, 5.0) == Amount(7.0, Basis.DECLARED)


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_amounts_that_are_no_amounts_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        split(bad, [], NODE)
    with pytest.raises(ValueError, match="finite"):
        split(1.0, [claim("a", bad, 1)], NODE)

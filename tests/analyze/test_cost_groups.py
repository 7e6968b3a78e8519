"""Energy and operations of one workload, brought together by version and node type."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_orchestrator.analyze.cost_groups import Done, Group, Spent, grouped
from energy_orchestrator.analyze.versions import MIXED, Label
from energy_orchestrator.model.units import Tier

START = datetime(2026, 1, 1, tzinfo=UTC)
SMALL, LARGE = Label("m5.large"), Label("m7.large")


def spent(window: int, joules: float, version: str, host: str = "a", replica: str | None = "0", **more: Label) -> Spent:
    at = START + timedelta(seconds=5 * window)
    node_type = more.get("node_type", SMALL)
    return Spent(host, replica, at, Tier.WALL, joules, 0.9 * joules, 1.1 * joules, 5.0, Label(version), node_type)


def done(window: int, operations: float, host: str = "a", replica: str | None = "0", seconds: float = 5.0) -> Done:
    return Done(host, replica, START + timedelta(seconds=5 * window), operations, seconds)


def versions(of: list[Spent], counted: list[Done]) -> dict[str | None, Group]:
    groups = grouped(of, counted, by_version=True, by_node_type=False)
    return {group.version.name if group.version else None: group for group in groups}


def sums(group: Group) -> tuple[float, float]:
    series = group.series()
    return sum(it.joules for it in series), sum(it.operations for it in series)


def test_each_replica_has_the_operations_of_its_own_version() -> None:
    found = versions(
        [spent(1, 10, "v1", replica="0"), spent(1, 30, "v2", replica="1")],
        [done(1, 5, replica="0"), done(1, 10, replica="1")],
    )
    assert (sums(found["v1"]), sums(found["v2"])) == ((10, 5), (30, 10))


def test_operations_that_are_told_for_the_host_are_of_all_its_replicas() -> None:
    of = [
        spent(1, 10, "v1", replica="0"),
        spent(1, 30, "v1", replica="1"),
        spent(2, 9, "v1"),
        spent(2, 9, "v2", replica="1"),
    ]
    found = versions(of, [done(1, 8, replica=None), done(2, 8, replica=None)])
    assert sums(found["v1"]) == (40, 8)
    mixed = found[None]
    assert mixed.version == Label(None, MIXED)
    assert sums(mixed) == (18, 8)


def test_operations_that_another_host_counts_are_of_the_whole_workload() -> None:
    found = versions([spent(1, 10, "v1"), spent(1, 30, "v1", host="b")], [done(1, 8, host="prometheus", replica=None)])
    assert sums(found["v1"]) == (40, 8)
    assert found["v1"].hosts == {"a", "b"}


def test_operations_are_scaled_to_the_seconds_of_the_energy() -> None:
    assert sums(versions([spent(1, 10, "v1")], [done(1, 30, seconds=15.0)])["v1"]) == (10, pytest.approx(10))


def test_energy_whose_operations_nobody_told_is_a_gap_and_none_done_is_not() -> None:
    group = versions([spent(1, 10, "v1"), spent(2, 10, "v1"), spent(3, 10, "v1")], [done(1, 5), done(2, 0)])["v1"]
    assert (len(group.windows), len(group.gaps), group.joules) == (2, 1, 30)
    assert sums(group) == (20, 5)


def test_operations_without_energy_are_left_out() -> None:
    assert sums(versions([spent(1, 10, "v1")], [done(1, 5), done(2, 5)])["v1"]) == (10, 5)


def test_by_both_a_version_on_two_node_types_is_two_groups() -> None:
    of = [spent(1, 10, "v1"), spent(1, 20, "v1", host="b", node_type=LARGE)]
    groups = grouped(of, [done(1, 5), done(1, 5, host="b")], by_version=True, by_node_type=True)
    assert [(it.version, it.node_type, it.joules) for it in groups] == [
        (Label("v1"), SMALL, 10),
        (Label("v1"), LARGE, 20),
    ]
    assert groups[0].meters != groups[1].meters


@given(
    st.lists(
        st.builds(
            spent, st.integers(0, 3), st.floats(0, 1e6), st.sampled_from(["v1", "v2"]), st.sampled_from("ab"),
            st.sampled_from([None, "0", "1"]),
        ),
        unique_by=lambda it: (it.host, it.replica, it.at),
    ),
    st.lists(st.builds(done, st.integers(0, 3), st.floats(0, 9), st.sampled_from("abc"), st.sampled_from([None, "0"]))),
)  # fmt: skip
def test_no_joule_is_lost_or_told_twice(of: list[Spent], counted: list[Done]) -> None:
    groups = grouped(of, counted, by_version=True, by_node_type=True)
    assert math.isclose(sum(it.joules for it in groups), math.fsum(it.joules for it in of), abs_tol=1e-6)

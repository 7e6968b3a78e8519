"""Attribution keeps energy: nothing is lost, invented or moved between nodes and tenants."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_orchestrator.analyze.attribution import Apart, Attribution, attribute, share

JOULES = st.floats(0, 1e7, allow_nan=False)
CPU = st.floats(0, 1e4, allow_nan=False)
NODE = st.tuples(JOULES, JOULES, st.one_of(CPU, st.just(float("nan"))), st.lists(CPU, max_size=8))
NODES = st.lists(NODE, min_size=1, max_size=6)


def split(nodes: list[tuple[float, float, float, list[float]]]) -> tuple[Attribution, np.ndarray, np.ndarray]:
    places = np.array([place for place, node in enumerate(nodes) for _ in node[3]], dtype=np.intp)
    cpu = np.array([cpu for node in nodes for cpu in node[3]], dtype=np.float64)
    joules, idle, busy = (np.array([node[k] for node in nodes], dtype=np.float64) for k in range(3))
    return attribute(joules, idle, busy, places, cpu), places, cpu


@given(NODES)
def test_idle_active_and_unattributed_are_the_node(nodes: list[tuple[float, float, float, list[float]]]) -> None:
    got, places, _ = split(nodes)
    joules = np.array([node[0] for node in nodes])
    assert got.idle + got.active + got.unattributed == pytest.approx(joules, rel=1e-9, abs=1e-9)
    per_node = np.bincount(places, weights=got.workload_active, minlength=len(nodes))
    assert per_node == pytest.approx(got.active, rel=1e-9, abs=1e-9)


@given(NODES)
def test_no_part_is_negative(nodes: list[tuple[float, float, float, list[float]]]) -> None:
    got, _, _ = split(nodes)
    scale = max(node[0] for node in nodes) + 1
    assert got.workload_active.min(initial=0) >= 0
    assert got.idle.min() >= 0
    assert got.unattributed.min() >= -1e-9 * scale


@given(NODES)
def test_more_cpu_never_means_less_energy_and_none_means_none(
    nodes: list[tuple[float, float, float, list[float]]],
) -> None:
    got, places, cpu = split(nodes)
    for node in range(len(nodes)):
        here = places == node
        order = np.argsort(cpu[here], kind="stable")
        assert (np.diff(got.workload_active[here][order]) >= -1e-9).all()
    assert (got.workload_active[cpu == 0] == 0).all()


@given(NODES)
def test_the_order_of_rows_does_not_matter(
    nodes: list[tuple[float, float, float, list[float]]],
) -> None:
    got, places, cpu = split(nodes)
    order = np.random.default_rng(7).permutation(len(cpu))
    joules, idle, busy = (np.array([node[k] for node in nodes], dtype=np.float64) for k in range(3))
    again = attribute(joules, idle, busy, places[order], cpu[order])
    assert again.workload_active == pytest.approx(got.workload_active[order], rel=1e-9, abs=1e-9)


@given(NODES, NODES)
def test_what_one_node_does_changes_nothing_on_another(
    ours: list[tuple[float, float, float, list[float]]], theirs: list[tuple[float, float, float, list[float]]]
) -> None:
    alone, _, _ = split(ours)
    together, _, _ = split([*ours, *theirs])
    assert (together.workload_active[: len(alone.workload_active)] == alone.workload_active).all()
    assert (together.unattributed[: len(ours)] == alone.unattributed).all()


def test_cpu_time_that_no_row_shows_is_unattributed() -> None:
    got, _, _ = split([(100.0, 20.0, 4.0, [1.0, 1.0])])
    assert (got.idle[0], got.active[0], got.unattributed[0]) == (20.0, 40.0, 40.0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0])
def test_an_impossible_value_is_refused(bad: float) -> None:
    for node in ((bad, 1.0, 1.0, [1.0]), (1.0, bad, 1.0, [1.0]), (1.0, 1.0, 1.0, [bad])):
        with pytest.raises(ValueError, match="finite"):
            split([node])


@given(NODES, st.lists(JOULES, min_size=6, max_size=6), st.lists(JOULES, min_size=48, max_size=48))
def test_parts_that_are_shared_apart_keep_the_sum(
    nodes: list[tuple[float, float, float, list[float]]], nobody: list[float], rows: list[float]
) -> None:
    _, places, cpu = split(nodes)
    joules, idle, busy = (np.array([node[k] for node in nodes], dtype=np.float64) for k in range(3))
    apart = Apart(np.array(rows[: cpu.size]), np.array(nobody[: joules.size]))
    got = attribute(joules, idle, busy, places, cpu, [apart])
    assert got.idle + got.active + got.unattributed == pytest.approx(joules, rel=1e-9, abs=1e-9)
    assert got.workload_active.min(initial=0) >= 0
    assert got.unattributed.min() >= -1e-9 * (joules.max() + 1)


def test_an_accelerators_energy_goes_to_who_uses_it_and_cpu_time_shares_the_rest() -> None:
    apart = Apart(np.array([60.0, 0.0]), np.array([10.0]))
    row = np.array([0, 0])
    got = attribute(np.array([200.0]), np.array([50.0]), np.array([4.0]), row, np.array([1.0, 3.0]), [apart])
    assert got.workload_active == pytest.approx([60.0 + 20.0, 60.0])
    assert got.unattributed == pytest.approx([10.0])


def test_a_part_whose_meter_says_more_than_the_nodes_is_scaled_down() -> None:
    apart = Apart(np.array([90.0, 30.0]), np.array([80.0]))
    row = np.array([0, 0])
    got = attribute(np.array([150.0]), np.array([50.0]), np.array([2.0]), row, np.array([1.0, 1.0]), [apart])
    assert got.workload_active == pytest.approx([45.0, 15.0])
    assert got.unattributed == pytest.approx([40.0])


@given(NODES)
def test_a_share_gives_away_all_of_it(nodes: list[tuple[float, float, float, list[float]]]) -> None:
    _, places, weights = split(nodes)
    joules, whole = (np.array([node[k] for node in nodes], dtype=np.float64) for k in (0, 2))
    got = share(joules, whole, places, weights)
    given_away = np.bincount(places, got.of_rows, len(nodes)) + got.of_nobody
    assert given_away == pytest.approx(joules, rel=1e-9, abs=1e-9)

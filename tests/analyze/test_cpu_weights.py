"""CPU seconds by speed: the node's cycles are shared out, and without them nothing changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_orchestrator.analyze.cpu_weights import weigh

UNKNOWN = float("nan")
CPU = st.floats(0.01, 100)
SPEED = st.one_of(st.floats(1e8, 6e9), st.just(UNKNOWN))
ROWS = st.lists(st.tuples(CPU, SPEED), min_size=1, max_size=8)


def weighed(busy: float, speed: float, rows: list[tuple[float, float]]) -> tuple[float, list[float]]:
    cpu, speeds = (np.array([row[k] for row in rows], dtype=np.float64) for k in range(2))
    got = weigh(np.array([busy]), np.array([speed]), np.zeros(len(rows), dtype=np.intp), cpu, speeds)
    return float(got.busy[0]), got.rows.tolist()


@given(ROWS, st.floats(0, 50))
def test_without_the_nodes_cycles_cpu_time_counts_as_it_is(rows: list[tuple[float, float]], unseen: float) -> None:
    seen = sum(cpu for cpu, _ in rows)
    busy, weights = weighed(seen + unseen, UNKNOWN, rows)
    assert busy == pytest.approx(seen + unseen)
    assert weights == pytest.approx([cpu for cpu, _ in rows])


@given(ROWS, st.floats(1e8, 6e9))
def test_equal_speeds_change_nothing(rows: list[tuple[float, float]], speed: float) -> None:
    even = [(cpu, speed if known == known else UNKNOWN) for cpu, known in rows]
    seen = sum(cpu for cpu, _ in rows)
    busy, weights = weighed(seen, speed, even)
    assert busy == pytest.approx(seen)
    assert weights == pytest.approx([cpu for cpu, _ in rows])


@given(ROWS, st.floats(1.0, 50))
def test_the_weights_of_all_are_the_nodes_cycles(rows: list[tuple[float, float]], unseen: float) -> None:
    """Where the counters agree with each other: the node's cycles are those of its rows and of what no row shows."""
    cycles = sum(cpu * (speed if speed == speed else 1e9) for cpu, speed in rows) + unseen * 1e9
    seconds = sum(cpu for cpu, _ in rows) + unseen
    busy, weights = weighed(seconds, cycles / seconds, rows)
    assert busy == pytest.approx(seconds)
    for (cpu, speed), weight in zip(rows, weights, strict=True):
        assert weight * cycles / seconds == pytest.approx(cpu * (speed if speed == speed else 1e9), rel=1e-6)


@given(ROWS, st.floats(0, 200), SPEED)
def test_no_weight_is_negative_or_unknown(rows: list[tuple[float, float]], busy: float, speed: float) -> None:
    """Whatever the counters say: they may contradict each other."""
    whole, weights = weighed(busy, speed, rows)
    assert all(weight >= 0 and np.isfinite(weight) for weight in (*weights, whole))


def test_a_node_whose_cpu_time_is_unknown_stays_unknown() -> None:
    busy, weights = weighed(UNKNOWN, 2e9, [(1.0, 4e9), (1.0, UNKNOWN)])
    assert np.isnan(busy)
    assert weights == [2.0, 1.0]


def test_twice_the_cycles_are_twice_the_energy_of_the_same_cpu_time() -> None:
    _, (fast, slow) = weighed(2.0, 3e9, [(1.0, 4e9), (1.0, 2e9)])
    assert fast == pytest.approx(2 * slow)

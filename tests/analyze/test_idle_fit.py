"""Idle of a node that is never at rest: the intercept of its power, never above what it was seen to draw."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_orchestrator.analyze.attribution import Floats
from energy_orchestrator.analyze.idle_fit import LEAST_SPREAD, LoadBin, fitted_idle

THREADS = 16.0
LOADS = st.lists(st.floats(0.0, 1.0), min_size=4, max_size=30, unique=True).filter(
    lambda loads: max(loads) - min(loads) > LEAST_SPREAD + 0.01
)


def shape(load: Floats) -> Floats:
    return np.sqrt(load)


def bins(loads: list[float], idle: float, above: float) -> list[LoadBin]:
    return [LoadBin(load * THREADS, idle + above * float(shape(np.array(load))), 10.0) for load in loads]


@given(LOADS, st.floats(1, 1000), st.floats(0, 1000))
def test_a_node_of_that_shape_is_found_at_any_loads(loads: list[float], idle: float, above: float) -> None:
    seen = bins(loads, idle, above)
    found = fitted_idle(seen, min(it.watts for it in seen), THREADS, shape)
    assert found == pytest.approx(idle, rel=1e-5, abs=1e-5)


@given(LOADS, st.lists(st.floats(1, 1000), min_size=30, max_size=30))
def test_idle_is_never_above_the_lowest_power_seen_nor_negative(loads: list[float], watts: list[float]) -> None:
    seen = [LoadBin(load * THREADS, drawn, 1.0) for load, drawn in zip(loads, watts, strict=False)]
    lowest = min(it.watts for it in seen)
    found = fitted_idle(seen, lowest, THREADS, shape)
    assert found is None or 0 < found <= lowest


@pytest.mark.parametrize("loads", [[0.5, 0.51, 0.52, 0.53, 0.54], [0.1, 0.9], []])
def test_loads_that_do_not_tell_give_no_fit(loads: list[float]) -> None:
    assert fitted_idle(bins(loads, 100.0, 50.0), 100.0, THREADS, shape) is None

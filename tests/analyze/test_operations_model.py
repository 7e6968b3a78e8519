"""Joules per operation where none were measured: what the parts of the sum do, and when there is no answer."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy_orchestrator.analyze.estimator.operations import MeasuredOperation, NodeProfile, OperationsModel
from energy_orchestrator.analyze.estimator.operations_table import ADDED, predict_rows

OPERATION = "request"


def world(
    workloads: int = 8, nodes: int = 6, noise: float = 0.05, seed: int = 1, hidden: tuple[str, str] | None = None
) -> tuple[list[MeasuredOperation], dict[str, NodeProfile], dict[tuple[str, str], float]]:
    """Cells that are a workload's joules over a node's efficiency, which its profile tells but for a little."""
    random = np.random.default_rng(seed)
    mine = np.exp(random.normal(0, 1, workloads))
    efficiency = np.exp(random.normal(0, 0.7, nodes))
    own = np.exp(random.normal(0, noise, nodes))
    truth = {
        (f"w{w}", f"n{n}"): float(mine[w] / efficiency[n] * own[n] * np.exp(random.normal(0, noise)))
        for w in range(workloads)
        for n in range(nodes)
    }
    profiles = {f"n{n}": NodeProfile(operations_per_watt=float(1000 * efficiency[n])) for n in range(nodes)}
    cells = [MeasuredOperation(w, OPERATION, n, joules) for (w, n), joules in truth.items() if (w, n) != hidden]
    return cells, profiles, truth


def test_a_workload_is_found_on_a_node_where_others_were_measured() -> None:
    cells, profiles, truth = world(hidden=("w0", "n0"))
    said = OperationsModel(cells, profiles).predict("w0", OPERATION, "n0")
    assert said.value is not None
    assert said.value.lower < truth["w0", "n0"] < said.value.upper
    assert said.value.value == pytest.approx(truth["w0", "n0"], rel=0.2)
    assert "measured on other types of node" in said.reason


def test_of_a_node_that_nothing_ran_on_the_profile_speaks_with_a_wider_interval() -> None:
    cells, profiles, truth = world(noise=0.15)
    rest = [cell for cell in cells if cell.node != "n0"]
    unseen = OperationsModel(rest, profiles).predict("w1", OPERATION, "n0")
    seen = OperationsModel([*rest, *[c for c in cells if c.node == "n0" and c.workload == "w0"]], profiles)
    told = seen.predict("w1", OPERATION, "n0")
    assert unseen.value is not None
    assert told.value is not None
    assert unseen.value.lower < truth["w1", "n0"] < unseen.value.upper
    assert unseen.value.upper / unseen.value.lower > told.value.upper / told.value.lower


def test_ninety_of_a_hundred_cells_held_out_lie_in_the_interval() -> None:
    inside = []
    for seed in range(60):
        cells, profiles, truth = world(noise=0.2, seed=seed, hidden=("w0", "n0"))
        said = OperationsModel(cells, profiles).predict("w0", OPERATION, "n0").value
        assert said is not None
        inside.append(said.lower <= truth["w0", "n0"] <= said.upper)
    assert np.mean(inside) >= 0.8


@given(st.floats(100, 1e5), st.floats(1.01, 20))
@settings(max_examples=20, deadline=None)
def test_a_node_that_does_more_per_watt_never_costs_more(per_watt: float, better: float) -> None:
    cells, profiles, _ = world()
    nodes = {name: NodeProfile(operations_per_watt=per_watt * factor) for name, factor in (("x", 1.0), ("y", better))}
    model = OperationsModel(cells, {**profiles, **nodes})
    worse, finer = (model.predict("w0", OPERATION, name).value for name in ("x", "y"))
    assert worse is not None
    assert finer is not None
    assert finer.value == pytest.approx(worse.value / better, rel=1e-6)


@given(st.integers(0, 30), st.floats(0.0, 1.0), st.sampled_from(["w0", "w1", "other"]), st.sampled_from(["n0", "x"]))
@settings(max_examples=40, deadline=None)
def test_an_answer_lies_in_its_interval_and_always_has_a_reason(
    seed: int, noise: float, workload: str, node: str
) -> None:
    cells, profiles, _ = world(noise=noise, seed=seed)
    said = OperationsModel(cells[seed:], profiles).predict(workload, OPERATION, node, [("w2", 1.0)])
    assert said.reason
    assert said.value is None or 0 < said.value.lower <= said.value.value <= said.value.upper


@given(st.floats(1e-3, 1e3))
@settings(max_examples=20, deadline=None)
def test_another_unit_of_joules_only_scales_the_answer(factor: float) -> None:
    cells, profiles, _ = world(hidden=("w0", "n0"))
    one = OperationsModel(cells, profiles).predict("w0", OPERATION, "n0").value
    scaled = [replace(cell, joules=cell.joules * factor) for cell in cells]
    other = OperationsModel(scaled, profiles).predict("w0", OPERATION, "n0").value
    assert one is not None
    assert other is not None
    assert other.upper == pytest.approx(one.upper * factor, rel=1e-6)


def test_neighbours_speak_for_a_workload_measured_nowhere_and_their_spread_is_its_width() -> None:
    cells, profiles, truth = world(workloads=12)
    near = [replace(cell, joules=cell.joules / truth[cell.workload, "n1"]) for cell in cells]
    model = OperationsModel(near, profiles)
    known, said = (model.predict(name, OPERATION, "n1", [("w3", 0.9), ("w4", 0.8)]) for name in ("w0", "new"))
    assert known.value is not None
    assert said.value is not None
    assert "from those like it: w3, w4" in said.reason
    assert said.value.upper / said.value.lower > known.value.upper / known.value.lower
    assert said.value.lower < 1.0 < said.value.upper


@pytest.mark.parametrize(
    ("workload", "operation", "node", "neighbours", "reason"),
    [
        ("new", OPERATION, "n0", [], "measured nowhere"),
        ("new", "token", "n0", [("w0", 1.0)], "measured nowhere"),
        ("w0", OPERATION, "unknown", [], "nothing is known of unknown"),
    ],
)
def test_without_grounds_there_is_no_answer_but_a_reason(
    workload: str, operation: str, node: str, neighbours: list[tuple[str, float]], reason: str
) -> None:
    cells, profiles, _ = world()
    said = OperationsModel(cells, profiles).predict(workload, operation, node, neighbours)
    assert said.value is None
    assert reason in said.reason


def test_neighbours_that_differ_by_orders_of_magnitude_give_no_answer() -> None:
    cells, profiles, _ = world(workloads=12)
    wild = [replace(cell, joules=cell.joules * math.exp(2 * int(cell.workload[1:]))) for cell in cells]
    said = OperationsModel(wild, profiles).predict("new", OPERATION, "n0", [("w3", 1.0)])
    assert said.value is None
    assert "off by a factor" in said.reason


def test_few_measurements_say_that_they_are_few() -> None:
    cells = [MeasuredOperation("a", OPERATION, "n0", 1.0), MeasuredOperation("b", OPERATION, "n1", 2.0)]
    said = OperationsModel(cells, {}).predict("a", OPERATION, "n1")
    assert said.value is None
    assert "too little is measured" in said.reason
    assert OperationsModel([], {}).predict("a", OPERATION, "n1").reason == "nothing has been measured yet"


def test_the_table_answers_the_rows_without_joules_and_says_what_is_wrong_with_others() -> None:
    cells, profiles, truth = world(hidden=("w0", "n0"))
    rows = [
        {
            **{"workload": cell.workload, "operation": OPERATION, "node_type": cell.node},
            **{"joules_per_operation": repr(cell.joules)},
            "operations_per_watt": repr(profiles[cell.node].operations_per_watt),
        }
        for cell in cells
    ]
    asked = {"workload": "w0", "operation": OPERATION, "node_type": "n0", "joules_per_operation": ""}
    bad = {**asked, "joules_per_operation": "-3"}
    *measured, answer, refused = predict_rows([*rows, asked, bad])
    assert {cell["reason"] for cell in measured} == {"measured"}
    assert float(answer["predicted_lower"]) < truth["w0", "n0"] < float(answer["predicted_upper"])
    assert refused == dict(zip(ADDED, ["", "", "", "joules_per_operation is -3, not a number above 0"], strict=True))

"""J/op is a ratio of what was spent to what was done, or None with the reason."""

from __future__ import annotations

import pytest

from energy_orchestrator.analyze.function_energy import FlameTree, flame_tree
from energy_orchestrator.analyze.operations import joules_per_operation
from energy_orchestrator.model.units import Bounded

JOULES = Bounded(100.0, 50.0, 300.0)


def test_it_is_joules_by_operations_with_the_interval() -> None:
    assert joules_per_operation(JOULES, 20.0, 20.0).value == Bounded(5.0, 2.5, 15.0)


def test_only_operations_that_the_energy_belongs_to_count() -> None:
    got = joules_per_operation(JOULES, 20.0, 10.0).value
    assert got is not None
    assert got.value == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("joules", "operations", "counted", "word"),
    [
        (JOULES, None, None, "source"),
        (JOULES, 0.0, 0.0, "no operation"),
        (None, 3.0, None, "no energy"),
        (JOULES, 3.0, None, "no energy"),
    ],
)
def test_what_is_unknown_has_a_reason(
    joules: Bounded | None, operations: float | None, counted: float | None, word: str
) -> None:
    got = joules_per_operation(joules, operations, counted)
    assert got.value is None
    assert word in str(got.reason)


def test_the_flame_tree_shares_the_energy_by_samples() -> None:
    tree = flame_tree("w", [(["main", "a"], 3), (["main", "b", "c"], 1), (["idle"], 0)], 40.0)
    assert tree.joules == 40.0
    assert set(tree.children) == {"main"}
    assert tree.children["main"].joules == 40.0
    assert tree.children["main"].children["a"].joules == 30.0
    assert tree.children["main"].children["b"].children["c"].joules == 10.0


def test_no_samples_mean_no_energy_is_claimed_for_any_function() -> None:
    assert flame_tree("w", [], 40.0) == FlameTree("w", 0.0)


def test_a_recursion_without_end_is_cut() -> None:
    tree, depth = flame_tree("w", [(["f"] * 10_000, 1)], 1.0), 0
    while tree.children:
        tree, depth = tree.children["f"], depth + 1
    assert depth == 200

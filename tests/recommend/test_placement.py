"""Placement: nodes sleep, nothing is lost, no rule is broken, and no more is promised than is spent."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy_orchestrator.model.fleet import FleetFile
from energy_orchestrator.recommend.placement.advice import fleet_of, placement
from energy_orchestrator.recommend.placement.fleet import (
    ANY,
    Counts,
    Fleet,
    Groups,
    Nodes,
    broken_rules,
    is_on,
    move_joules,
    on_now,
    power_watts,
)
from energy_orchestrator.recommend.placement.greedy import greedy
from energy_orchestrator.recommend.placement.plan import Limits, plan_placement
from energy_orchestrator.recommend.placement.solver import Effort, solve

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOUR = 3600.0
QUICK = Limits(effort=Effort(0.2), total_seconds=2.0)


def nodes(count: int, cores: float = 8.0, memory: float = 32.0) -> Nodes:
    column = np.ones(count)
    return Nodes(
        names=tuple(f"n{n}" for n in range(count)),
        cpu_cores=column * cores,
        memory_gb=column * memory,
        idle_watts=column * 100,
        watts_per_core=column * 10,
        sleep_watts=column * 5,
        wake_joules=column * 20_000,
        can_sleep=column > 0,
        asleep=column < 0,
        zone=np.arange(count, dtype=np.int64) % 2,
    )


def groups(placed: Counts, cpu: list[float], burst: float = 0.0, **columns: list[int]) -> Groups:
    count = len(cpu)
    replicas = placed.sum(axis=1)
    return Groups(
        names=tuple(f"w{g}" for g in range(count)),
        cpu_cores=np.array(cpu),
        mean_cores=np.array(cpu) / 2,
        memory_gb=np.ones(count),
        burst_cores=np.array(cpu) * burst,
        move_joules=np.full(count, 500.0),
        max_moves=np.array(columns.get("max_moves", replicas), np.int64),
        max_per_node=np.array(columns.get("max_per_node", [ANY] * count), np.int64),
        max_per_zone=np.array(columns.get("max_per_zone", [ANY] * count), np.int64),
        near=np.array(columns.get("near", [-1] * count), np.int64),
    )


def fleet(placed: list[list[int]], cpu: list[float], **columns: list[int]) -> Fleet:
    counts = np.array(placed, np.int64)
    return Fleet(nodes(counts.shape[1]), groups(counts, cpu, **columns), counts, np.ones(counts.shape, bool))


def spent(it: Fleet, placed: Counts) -> float:
    return float(power_watts(it, placed, is_on(it, placed)).sum()) * HOUR + move_joules(it, placed)


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    """Any small fleet whose placement of now fits."""
    many, width = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    counts = np.array(
        draw(st.lists(st.lists(st.integers(0, 2), min_size=width, max_size=width), min_size=many, max_size=many))
    )
    counts[:, 0] += counts.sum(axis=1) == 0
    cpu = draw(st.lists(st.floats(0.05, 2.0), min_size=many, max_size=many))
    whole = st.lists(st.integers(0, 4), min_size=many, max_size=many)
    made = Fleet(
        nodes(width, cores=30.0, memory=64.0),
        groups(
            counts.astype(np.int64),
            cpu,
            burst=draw(st.sampled_from([0.0, 0.5])),
            max_moves=draw(whole),
            max_per_node=[limit or ANY for limit in draw(whole)],
            max_per_zone=[limit or ANY for limit in draw(whole)],
            near=[draw(st.sampled_from([-1, *[g for g in range(many) if g != row]])) for row in range(many)],
        ),
        counts.astype(np.int64),
        np.array(draw(st.lists(st.lists(st.booleans(), min_size=width, max_size=width), min_size=many, max_size=many))),
    )
    can_sleep = np.array(draw(st.lists(st.booleans(), min_size=width, max_size=width)))
    return replace(made, nodes=replace(made.nodes, can_sleep=can_sleep))


@settings(max_examples=40, deadline=None)
@given(it=fleets(), use_solver=st.booleans(), max_moves=st.integers(0, 6))
def test_a_plan_breaks_no_rule_loses_nothing_and_never_costs_energy(
    it: Fleet, use_solver: bool, max_moves: int
) -> None:
    plan = plan_placement(it, replace(QUICK, use_solver=use_solver, max_moves=max_moves), time.monotonic)
    assert plan.unrelieved == ()
    assert broken_rules(it, plan.placed) == []
    assert len(plan.moves) <= max_moves
    assert plan.saved_joules >= -1e-6
    assert plan.after_joules <= plan.before_joules + 1e-6
    if plan.bound_joules is not None:
        assert plan.after_joules + plan.transition_joules >= plan.bound_joules - len(plan.placed) * it.placed.sum() - 1
    for found in placement(it, plan, HOUR, (), "t", NOW):
        assert (
            0 <= found.finding.saved_watts.lower <= found.finding.saved_watts.upper <= found.finding.spent_watts.value
        )


@pytest.mark.parametrize("loads", [[1.0, 1.0], [2.0, 3.0], [3.9, 3.0, 2.0]])
def test_the_solver_finds_what_trying_everything_finds(loads: list[float]) -> None:
    count = len(loads)
    it = fleet(np.eye(count, 3, dtype=int).tolist(), loads)
    tries = []
    for homes in itertools.product(range(3), repeat=count):
        placed = np.zeros((count, 3), np.int64)
        placed[range(count), homes] = 1
        if not broken_rules(it, placed):
            tries.append(spent(it, placed))
    solved = solve(it, greedy(it, HOUR, 10), HOUR, 10, Effort(5.0, relative_gap=0.0))
    assert solved is not None
    assert solved.optimal
    assert spent(it, solved.placed) == pytest.approx(min(tries), abs=count * 3)


def test_two_half_empty_nodes_become_one() -> None:
    plan = plan_placement(fleet([[1, 0], [0, 1]], [2.0, 2.0]), QUICK, time.monotonic)
    assert len(plan.sleep) == 1
    assert plan.saved_joules == pytest.approx(95 * HOUR - 500)


@pytest.mark.parametrize(
    "columns",
    [{"max_moves": [0, 0]}, {"near": [1, 0]}],
)
def test_what_is_pinned_or_tied_keeps_its_node(columns: dict[str, list[int]]) -> None:
    it = fleet([[1, 0, 1], [1, 0, 1]], [1.0, 1.0], **columns)
    plan = plan_placement(it, QUICK, time.monotonic)
    assert broken_rules(it, plan.placed) == []
    if "max_moves" in columns:
        assert plan.moves == ()


def test_replicas_that_must_stand_apart_keep_as_many_nodes_awake() -> None:
    plan = plan_placement(fleet([[1, 1, 1, 0]], [0.5], max_per_node=[1]), QUICK, time.monotonic)
    assert (plan.placed.max(), plan.sleep) == (1, ("n3",))


@pytest.mark.parametrize(("burst", "asleep"), [(0.0, 1), (0.9, 0)])
def test_a_node_keeps_room_for_the_worst_burst_of_one_workload(burst: float, asleep: int) -> None:
    it = fleet([[1, 0], [0, 1]], [4.0, 3.0])
    it = replace(it, groups=replace(it.groups, burst_cores=it.groups.cpu_cores * burst))
    assert len(plan_placement(it, QUICK, time.monotonic).sleep) == asleep


def test_moving_that_costs_more_than_sleep_saves_is_not_done() -> None:
    it = fleet([[1, 0], [0, 1]], [2.0, 2.0])
    dear = replace(it, groups=replace(it.groups, move_joules=np.full(2, 95 * HOUR + 1)))
    assert plan_placement(dear, QUICK, time.monotonic).moves == ()


def test_an_overloaded_node_is_relieved_by_waking_another() -> None:
    it = fleet([[5, 0]], [2.0])
    it = replace(it, nodes=replace(it.nodes, asleep=np.array([False, True])))
    plan = plan_placement(it, QUICK, time.monotonic)
    assert plan.wake == ("n1",)
    assert broken_rules(it, plan.placed) == []
    assert plan.saved_joules < 0


def test_what_cannot_be_relieved_is_said() -> None:
    plan = plan_placement(fleet([[5]], [2.0]), QUICK, time.monotonic)
    assert plan.unrelieved == ("n0: CPU beyond its headroom",)


def test_blocks_together_keep_the_rules_of_the_whole() -> None:
    random = np.random.default_rng(5)
    counts = random.integers(0, 2, (30, 50)).astype(np.int64)
    counts[:, 0] |= counts.sum(axis=1) == 0
    it = Fleet(
        nodes(50, 30.0, 64.0), groups(counts, [0.3] * 30, max_per_zone=[40] * 30), counts, np.ones(counts.shape, bool)
    )
    plan = plan_placement(it, replace(QUICK, block_nodes=10, use_solver=False), time.monotonic)
    assert (plan.blocks, plan.unrelieved) == (5, ())
    assert len(plan.sleep) > 20
    found = placement(it, plan, HOUR, (), "t", NOW)
    assert len(found) >= 5
    assert max(len([name for name in one.subject.claims if name.startswith("node/")]) for one in found) <= 10


def test_without_time_the_plan_is_greedy_and_says_so() -> None:
    plan = plan_placement(fleet([[1, 0], [0, 1]], [2.0, 2.0]), replace(QUICK, total_seconds=0.0), time.monotonic)
    assert (plan.greedy_blocks, plan.bound_joules, len(plan.sleep)) == (1, None, 1)


def test_moves_come_in_waves_of_one_replica_of_a_workload() -> None:
    it = fleet([[3, 0], [0, 4]], [1.0, 1.0])
    plan = plan_placement(it, QUICK, time.monotonic)
    assert plan.sleep
    waves = [(move.wave, move.workload) for move in plan.moves]
    assert len(set(waves)) == len(waves)


def test_a_small_saving_is_not_worth_the_unrest() -> None:
    limits = replace(QUICK, minimum_savings_joules=95 * HOUR)
    assert plan_placement(fleet([[1, 0], [0, 1]], [2.0, 2.0]), limits, time.monotonic).moves == ()


def test_headroom_and_labels_come_from_the_file() -> None:
    described = FleetFile.model_validate(
        {
            "cpu_headroom": 0.5,
            "nodes": [
                {
                    "name": n,
                    "cpu_cores": 8,
                    "memory_gb": 32,
                    "idle_watts": 100,
                    "full_watts": 180,
                    "may_sleep": True,
                    "labels": {"disk": d},
                }
                for n, d in (("a", "ssd"), ("b", "hdd"))
            ],
            "workloads": [
                {"name": "x", "on": {"a": 1}, "cpu_cores": 2, "memory_gb": 1, "node_labels": {"disk": "ssd"}},
                {"name": "y", "on": {"b": 1}, "cpu_cores": 2.1, "memory_gb": 1},
            ],
        }
    )
    it = fleet_of(described, described.nodes)
    assert it.nodes.cpu_cores.tolist() == [4.0, 4.0]
    assert it.allowed.tolist() == [[True, False], [True, True]]
    assert plan_placement(it, QUICK, time.monotonic).sleep == ()
    assert on_now(it).all()

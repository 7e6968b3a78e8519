"""A plan for a fleet of any size. In: a fleet, a horizon, limits. Out: the new placement, the moves in waves that
respect each group's disruption limit, the nodes that sleep and wake, and the energy before and after.

Fleets beyond `block_nodes` are cut into blocks, nodes dealt out by load so that every block has full and empty ones;
blocks are independent, so they can be spread over workers. A block costs at most about one half-filled node against
the whole. When the time is used up the rest is placed greedily, and the plan says how many blocks that were.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from energy_orchestrator.recommend.placement.fleet import (
    Counts,
    Flags,
    Fleet,
    broken_rules,
    is_on,
    move_joules,
    on_now,
    power_watts,
)
from energy_orchestrator.recommend.placement.greedy import greedy
from energy_orchestrator.recommend.placement.solver import Effort, Solved, solve


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may change at once, and how long the search may take."""

    horizon_seconds: float = 3600.0
    max_moves: int = 1_000_000
    minimum_savings_joules: float = 0.0
    """A plan that saves less is dropped: churn (karpenter #2388)."""
    block_nodes: int = 20
    """In the backtest blocks of 20 nodes, a second each, beat 40 with two and 10 with half a one."""
    total_seconds: float = 60.0
    effort: Effort = field(default_factory=Effort)
    use_solver: bool = True


@dataclass(frozen=True, slots=True)
class Move:
    """Replicas of one workload from one node to another. Waves are carried out one after the other."""

    wave: int
    workload: str
    source: str
    to: str
    replicas: int


@dataclass(frozen=True, slots=True)
class Plan:
    """`bound_joules` is proven for the blocks that were solved; None where one was only placed greedily."""

    placed: Counts
    moves: tuple[Move, ...]
    sleep: tuple[str, ...]
    wake: tuple[str, ...]
    before_joules: float
    after_joules: float
    transition_joules: float
    bound_joules: float | None
    blocks: int
    greedy_blocks: int
    unrelieved: tuple[str, ...]
    """Rules that the placement of now breaks and the plan could not mend."""

    @property
    def saved_joules(self) -> float:
        """Over the horizon, net of moving and waking; negative where an overload had to be relieved."""
        return self.before_joules - self.after_joules - self.transition_joules


def plan_placement(fleet: Fleet, limits: Limits, clock: Callable[[], float]) -> Plan:
    """See the module. `clock` gives seconds and bounds the search."""
    deadline = clock() + limits.total_seconds
    placed = fleet.placed.copy()
    blocks = _blocks(fleet, limits.block_nodes)
    bound: float | None = 0.0
    greedy_blocks, moves_left = 0, limits.max_moves
    for number, rows in enumerate(blocks):
        block = fleet.block(rows)
        found, solved = _place(block, limits, moves_left, max(0.0, deadline - clock()) / (len(blocks) - number))
        if solved is None:
            greedy_blocks, bound = greedy_blocks + 1, None
        elif bound is not None:
            bound += solved.bound_joules
        if found is None:
            continue
        present = np.flatnonzero(fleet.placed[:, rows].sum(axis=1))
        placed[np.ix_(present, rows)] = found
        moves_left -= int(np.maximum(found - block.placed, 0).sum())
    on = is_on(fleet, placed)
    little = _saved(fleet, placed, limits.horizon_seconds) < limits.minimum_savings_joules
    if little and not broken_rules(fleet, fleet.placed):
        placed, on = fleet.placed.copy(), on_now(fleet)
    moves = moves_of(fleet, placed, blocks)
    return _plan(fleet, placed, on, limits.horizon_seconds, bound, moves, (len(blocks), greedy_blocks))


def _place(block: Fleet, limits: Limits, moves_left: int, seconds: float) -> tuple[Counts | None, Solved | None]:
    first = greedy(block, limits.horizon_seconds, moves_left)
    if not limits.use_solver or seconds < 0.05:
        return first, None
    effort = replace(limits.effort, seconds=min(seconds, limits.effort.seconds))
    solved = solve(block, first, limits.horizon_seconds, moves_left, effort)
    if solved is None:
        return first, None
    if first is not None and _spent(block, first, limits.horizon_seconds) <= _spent(
        block, solved.placed, limits.horizon_seconds
    ):
        return first, solved
    return solved.placed, solved


def _blocks(fleet: Fleet, size: int) -> list[Counts]:
    number = -(-len(fleet.nodes) // size)
    order = np.argsort(fleet.groups.cpu_cores @ fleet.placed, kind="stable")
    return [np.sort(order[start::number]) for start in range(number)]


def _spent(fleet: Fleet, placed: Counts, seconds: float) -> float:
    running = float(power_watts(fleet, placed, is_on(fleet, placed)).sum()) * seconds
    return running + move_joules(fleet, placed)


def _saved(fleet: Fleet, placed: Counts, seconds: float) -> float:
    before = float(power_watts(fleet, fleet.placed, on_now(fleet)).sum()) * seconds
    return before - _spent(fleet, placed, seconds)


def _plan(
    fleet: Fleet,
    placed: Counts,
    on: Flags,
    seconds: float,
    bound: float | None,
    moves: list[Move],
    blocks: tuple[int, int],
) -> Plan:
    was_on, names = on_now(fleet), fleet.nodes.names
    return Plan(
        placed=placed,
        moves=tuple(moves),
        sleep=tuple(names[n] for n in np.flatnonzero(was_on & ~on)),
        wake=tuple(names[n] for n in np.flatnonzero(on & ~was_on)),
        before_joules=float(power_watts(fleet, fleet.placed, was_on).sum()) * seconds,
        after_joules=float(power_watts(fleet, placed, on).sum()) * seconds,
        transition_joules=move_joules(fleet, placed),
        bound_joules=bound,
        blocks=blocks[0],
        greedy_blocks=blocks[1],
        unrelieved=tuple(broken_rules(fleet, placed)),
    )


def moves_of(fleet: Fleet, placed: Counts, blocks: list[Counts], at_once: int = 1) -> list[Move]:
    """From here to there, within blocks, at most `at_once` replicas of a workload in a wave, so that a PDB of one
    holds."""
    found = []
    names = fleet.nodes.names
    order = np.concatenate(blocks)
    for group in np.flatnonzero((placed != fleet.placed).any(axis=1)):
        # Each block balances by itself, so in the order of blocks sources and targets pair up within one.
        change = (placed[group] - fleet.placed[group])[order]
        sources = np.repeat(order, np.maximum(-change, 0))
        targets = np.repeat(order, np.maximum(change, 0))
        for number, (source, to) in enumerate(zip(sources, targets, strict=True)):
            found.append(Move(number // at_once + 1, fleet.groups.names[group], names[source], names[to], 1))
    return sorted(found, key=lambda move: (move.wave, move.workload))

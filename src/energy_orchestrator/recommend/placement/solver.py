"""Least-energy placement by OR-Tools CP-SAT. In: a block (at most some dozens of nodes), the greedy answer, limits
of time. Out: counts per node with the proven bound on what any placement could save.

Minimise, over the horizon: idle power of the nodes that stay on (less their sleep) + load x watts per core + energy
of each replica moved + energy of each node woken. Subject to CPU, memory, anti-affinity per node and zone, affinity,
moves per group (PDB) and in all. Everything is in whole units (1/1000 core, MB, J), as CP-SAT wants.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ortools.sat.python import cp_model

from energy_orchestrator.recommend.placement.fleet import ANY, Counts, Fleet, on_now

MILLI = 1000


@dataclass(frozen=True, slots=True)
class Solved:
    """`bound_joules`: no placement within the rules spends less over the horizon."""

    placed: Counts
    joules: float
    bound_joules: float
    optimal: bool


@dataclass(frozen=True, slots=True)
class Effort:
    """How long the solver may think about one block."""

    seconds: float = 5.0
    workers: int = 1
    relative_gap: float = 0.002
    deterministic: float | None = None
    """A limit in the solver's own units of work, about a second each: the same answer on a busy machine."""


def solve(fleet: Fleet, start: Counts | None, horizon_seconds: float, max_moves: int, effort: Effort) -> Solved | None:
    """The best placement found; None where there is none or none was found in time."""
    model = _Model(fleet, horizon_seconds, max_moves)
    if start is not None:
        model.hint(start)
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = effort.seconds
    solver.parameters.num_workers = effort.workers
    solver.parameters.relative_gap_limit = effort.relative_gap
    solver.parameters.random_seed = 1
    if effort.deterministic is not None:
        solver.parameters.max_deterministic_time = effort.deterministic
    status = solver.solve(model.model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return None
    placed = np.zeros_like(fleet.placed)
    for (group, node), variable in model.count.items():
        placed[group, node] = solver.value(variable)
    fixed = model.fixed_joules
    return Solved(
        placed,
        solver.objective_value + fixed,
        solver.best_objective_bound + fixed,
        status == cp_model.OPTIMAL,
    )


class _Model:
    """The variables: `count[g, n]` replicas, `moved[g, n]` of them new there, `on[n]`."""

    def __init__(self, fleet: Fleet, horizon_seconds: float, max_moves: int) -> None:
        self.fleet, self.model = fleet, cp_model.CpModel()
        self.on = [self._on(node) for node in range(len(fleet.nodes))]
        self.count: dict[tuple[int, int], cp_model.IntVar] = {}
        self.moved: dict[tuple[int, int], cp_model.IntVar] = {}
        for group in range(len(fleet.groups)):
            self._group(group)
        self.model.add(sum(self.moved.values()) <= max_moves)
        self._rooms()
        self._neighbours()
        self._objective(horizon_seconds)
        self.fixed_joules = float(fleet.nodes.sleep_watts.sum() * horizon_seconds)

    def hint(self, placed: Counts) -> None:
        """Begin at a placement that is right."""
        for (group, node), variable in self.count.items():
            self.model.add_hint(variable, int(placed[group, node]))
        for node, variable in enumerate(self.on):
            held = bool(placed[:, node].any()) or not self.fleet.nodes.can_sleep[node]
            self.model.add_hint(variable, held)
        for (group, node), variable in self.moved.items():
            self.model.add_hint(variable, max(0, int(placed[group, node] - self.fleet.placed[group, node])))

    def _on(self, node: int) -> cp_model.IntVar:
        variable = self.model.new_bool_var(f"on{node}")
        if not self.fleet.nodes.can_sleep[node]:
            self.model.add(variable == 1)
        return variable

    def _group(self, group: int) -> None:
        fleet, groups = self.fleet, self.fleet.groups
        now, replicas = fleet.placed[group], int(fleet.placed[group].sum())
        free = int(groups.max_moves[group]) > 0
        for node in range(len(fleet.nodes)):
            here = int(now[node])
            may_come = free and bool(fleet.allowed[group, node])
            most = max(here, min(replicas, int(groups.max_per_node[group]))) if may_come else here
            if most == 0:
                continue
            lowest = here if not free else 0
            self.count[group, node] = self.model.new_int_var(lowest, most, f"c{group}_{node}")
            self.model.add(self.count[group, node] <= most * self.on[node])
            if most > here:
                arrived = self.model.new_int_var(0, most - here, f"m{group}_{node}")
                self.model.add(arrived >= self.count[group, node] - here)
                self.moved[group, node] = arrived
        mine = [(node, it) for (g, node), it in self.count.items() if g == group]
        self.model.add(sum(it for _, it in mine) == replicas)
        moves = [it for (g, _), it in self.moved.items() if g == group]
        if moves and groups.max_moves[group] < replicas:
            self.model.add(sum(moves) <= int(groups.max_moves[group]))
        if groups.max_per_zone[group] < ANY:
            for zone in np.unique(fleet.nodes.zone):
                inside = fleet.nodes.zone == zone
                limit = max(int(groups.max_per_zone[group]), int(now[inside].sum()))
                self.model.add(sum(it for node, it in mine if inside[node]) <= limit)

    def _rooms(self) -> None:
        fleet, groups = self.fleet, self.fleet.groups
        by_node: dict[int, list[tuple[int, cp_model.IntVar]]] = {}
        for (group, node), variable in self.count.items():
            by_node.setdefault(node, []).append((group, variable))
        burst = np.ceil(groups.burst_cores * MILLI - 1e-6).astype(int)
        for needs, room, bursts in (
            (groups.cpu_cores, fleet.nodes.cpu_cores, burst),
            (groups.memory_gb, fleet.nodes.memory_gb, np.zeros_like(burst)),
        ):
            units = np.ceil(needs * MILLI - 1e-6).astype(int)
            for node, held in by_node.items():
                most = int(room[node] * MILLI + 1e-6)
                total = sum(int(units[group]) * variable for group, variable in held)
                if any(bursts[group] for group, _ in held):
                    reserve = self.model.new_int_var(0, max(0, most), f"r{node}")
                    for group, variable in held:
                        self.model.add(reserve >= int(bursts[group]) * variable)
                    total += reserve
                self.model.add(total <= most * self.on[node])

    def _neighbours(self) -> None:
        for group in np.flatnonzero(self.fleet.groups.near >= 0):
            other = int(self.fleet.groups.near[group])
            for node in range(len(self.fleet.nodes)):
                mine, anchor = self.count.get((int(group), node)), self.count.get((other, node))
                if mine is None:
                    continue
                # Where the rule is broken already, what stands there may stay.
                apart = 0 if self.fleet.placed[other, node] else int(self.fleet.placed[group, node])
                if anchor is None:
                    self.model.add(mine <= apart)
                    continue
                there = self.model.new_bool_var(f"n{group}_{node}")
                self.model.add(anchor >= 1).only_enforce_if(there)
                self.model.add(mine <= apart).only_enforce_if(there.negated())

    def _objective(self, horizon_seconds: float) -> None:
        nodes, groups = self.fleet.nodes, self.fleet.groups
        idle = (nodes.idle_watts - nodes.sleep_watts) * horizon_seconds
        idle = idle + np.where(on_now(self.fleet), 0.0, nodes.wake_joules)
        terms = [round(float(idle[node])) * variable for node, variable in enumerate(self.on)]
        for (group, node), variable in self.count.items():
            active = groups.mean_cores[group] * nodes.watts_per_core[node] * horizon_seconds
            terms.append(round(float(active)) * variable)
        for (group, _), variable in self.moved.items():
            terms.append(max(1, round(float(groups.move_joules[group]))) * variable)
        self.model.minimize(sum(terms))

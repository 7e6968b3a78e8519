"""Greedy placement: relieve nodes that are too full, then empty nodes one by one, the least loaded for its idle
power first. In and out: a fleet and counts per node. It is the solver's first answer and its fallback.

A node is emptied only where everything on it may move, fits elsewhere (best fit: the fullest node that has room)
and the energy of moving is less than what its sleep saves over the horizon.
"""

from __future__ import annotations

import numpy as np

from energy_orchestrator.recommend.placement.fleet import Counts, Flags, Fleet, Floats, is_on, on_now, reserve_cores


def greedy(fleet: Fleet, horizon_seconds: float, max_moves: int) -> Counts | None:
    """Counts per node; None where an overload of now can't be relieved within the rules."""
    state = _State(fleet, max_moves)
    if not state.relieve():
        return None
    nodes = fleet.nodes
    saved = (nodes.idle_watts - nodes.sleep_watts) * horizon_seconds
    load = fleet.groups.cpu_cores @ state.placed
    for node in np.argsort(load / np.maximum(saved, 1e-9)):
        if state.on[node] and nodes.can_sleep[node] and saved[node] > 0:
            state.empty(int(node), float(saved[node]))
    return state.placed


class _State:
    """A placement that is being changed, with the room left on each node."""

    def __init__(self, fleet: Fleet, max_moves: int) -> None:
        self.fleet = fleet
        self.placed = fleet.placed.copy()
        self.on: Flags = on_now(fleet)
        self.cpu: Floats = fleet.nodes.cpu_cores - fleet.groups.cpu_cores @ self.placed
        self.reserve: Floats = reserve_cores(fleet, self.placed)
        self.memory: Floats = fleet.nodes.memory_gb - fleet.groups.memory_gb @ self.placed
        self.arrived = np.zeros_like(self.placed)
        self.moves_left = max_moves
        anchors = fleet.groups.near[fleet.groups.near >= 0]
        self.fixed = np.zeros(len(fleet.groups), bool)
        self.fixed[anchors] = True
        self.fixed |= fleet.groups.near >= 0
        """Groups tied by affinity stay where they are; the solver may move them together."""

    def relieve(self) -> bool:
        """Take replicas off nodes that are too full, waking nodes where it must be."""
        for node in range(len(self.on)):
            if not self._overfull(node):
                continue
            groups = np.flatnonzero(self.placed[:, node])
            for group in groups[np.argsort(-self.fleet.groups.cpu_cores[groups])]:
                while self.placed[group, node] and self._overfull(node):
                    to = self._target(int(group), int(node), self.on)
                    to = self._target(int(group), int(node), ~self.on) if to is None else to
                    if to is None:
                        break
                    self._move(int(group), int(node), to)
                    self.on[to] = True
            if self._overfull(node):
                return False
        return True

    def _overfull(self, node: int) -> bool:
        return bool(self.cpu[node] - self.reserve[node] < -1e-9 or self.memory[node] < -1e-9)

    def empty(self, node: int, worth_joules: float) -> None:
        """Move everything off a node, or nothing."""
        groups = [int(g) for g in np.flatnonzero(self.placed[:, node])]
        if sum(self.placed[g, node] * self.fleet.groups.move_joules[g] for g in groups) >= worth_joules:
            return
        targets = self.on.copy()
        targets[node] = False
        done: list[tuple[int, int]] = []
        for group in sorted(groups, key=lambda g: -self.fleet.groups.cpu_cores[g]):
            for _ in range(int(self.placed[group, node])):
                to = self._target(group, node, targets)
                if to is None:
                    for moved, where in reversed(done):
                        self._move(moved, where, node, back=True)
                    return
                self._move(group, node, to)
                done.append((group, to))
        self.on[node] = bool(is_on(self.fleet, self.placed)[node])

    def _target(self, group: int, source: int, among: Flags) -> int | None:
        """The fullest node with room for one more replica."""
        fleet, groups = self.fleet, self.fleet.groups
        if self.fixed[group] or self.moves_left <= 0 or self.arrived[group].sum() >= groups.max_moves[group]:
            return None
        fits = among & fleet.allowed[group] & (self.placed[group] < groups.max_per_node[group])
        reserve = np.maximum(self.reserve, groups.burst_cores[group] * (self.placed[group] + 1))
        fits &= (self.cpu - reserve >= groups.cpu_cores[group]) & (self.memory >= groups.memory_gb[group])
        fits[source] = False
        zones = fleet.nodes.zone
        for zone in np.unique(zones[fits]):
            inside = self.placed[group, zones == zone].sum() - (zones[source] == zone)
            if inside >= groups.max_per_zone[group]:
                fits &= zones != zone
        found = np.flatnonzero(fits)
        if not len(found):
            return None
        left = (self.cpu[found] - groups.cpu_cores[group]) / np.maximum(fleet.nodes.cpu_cores[found], 1e-9)
        return int(found[np.argmin(left)])

    def _move(self, group: int, source: int, to: int, *, back: bool = False) -> None:
        groups = self.fleet.groups
        self.placed[group, source] -= 1
        self.placed[group, to] += 1
        for room, need in ((self.cpu, groups.cpu_cores[group]), (self.memory, groups.memory_gb[group])):
            room[source] += need
            room[to] -= need
        for node in (source, to):
            self.reserve[node] = (groups.burst_cores * self.placed[:, node]).max()
        if back:
            self.arrived[group, source] -= 1
        else:
            self.arrived[group, to] += 1
        self.moves_left += 1 if back else -1

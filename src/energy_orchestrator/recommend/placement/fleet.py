"""The columns that placement works on. In: nodes with watts, groups of like replicas with what each needs, and how
many of a group stand on which node. Out: the same cut into blocks small enough for dense matrices, and the power of
any placement.

Power of a node that is on = idle + slope x cores used (a line between idle and full load; SPECpower servers lie
within 9 % of it, docs/accuracy.md). A group is a workload: its replicas are interchangeable, which keeps the search
small (counts per node instead of one choice per replica).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Flags = NDArray[np.bool_]
ANY = 1_000_000
"""No limit of replicas on a node or in a zone."""


@dataclass(frozen=True, slots=True)
class Nodes:
    """One row a node. `cpu_cores` and `memory_gb` are what may be filled: capacity less headroom."""

    names: tuple[str, ...]
    cpu_cores: Floats
    memory_gb: Floats
    idle_watts: Floats
    watts_per_core: Floats
    sleep_watts: Floats
    wake_joules: Floats
    can_sleep: Flags
    asleep: Flags
    zone: Counts

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: Counts) -> Nodes:
        """Some of the nodes."""
        columns = {name: getattr(self, name)[rows] for name in self.__slots__ if name != "names"}
        return Nodes(names=tuple(self.names[row] for row in rows), **columns)


@dataclass(frozen=True, slots=True)
class Groups:
    """One row a workload. Needs are of one replica: `cpu_cores` at the peak of the span planned for, `mean_cores`
    on average over it (what the energy follows)."""

    names: tuple[str, ...]
    cpu_cores: Floats
    mean_cores: Floats
    memory_gb: Floats
    burst_cores: Floats
    """What one replica needs above its peak when its workload bursts. Replicas of a workload burst together, workloads
    one at a time: every node keeps room for the worst burst of one of its workloads."""
    move_joules: Floats
    """What moving one replica costs: starting it again, or copying its memory."""
    max_moves: Counts
    """Replicas that may be moved by this plan; 0 pins the group (a PodDisruptionBudget without room, local disks)."""
    max_per_node: Counts
    """Anti-affinity: 1 keeps replicas apart."""
    max_per_zone: Counts
    near: Counts
    """Affinity: row of the group that has to be on the same node; -1 for none."""

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: Counts) -> Groups:
        """Some of the groups; an affinity to a group left out pins."""
        columns = {name: getattr(self, name)[rows] for name in self.__slots__ if name != "names"}
        made = Groups(names=tuple(self.names[row] for row in rows), **columns)
        place = {int(row): index for index, row in enumerate(rows)}
        near = np.array([place.get(int(row), -1) if row >= 0 else -1 for row in made.near], np.int64)
        lost = (near < 0) & (made.near >= 0)
        return replace(made, near=near, max_moves=np.where(lost, 0, made.max_moves))


@dataclass(frozen=True, slots=True)
class Fleet:
    """Everything, dense: `placed[g, n]` replicas of group g on node n; `allowed[g, n]` where they may go."""

    nodes: Nodes
    groups: Groups
    placed: Counts
    allowed: Flags

    def block(self, rows: Counts) -> Fleet:
        """The nodes of `rows` with the groups on them. Zone limits are cut to what is in the block now, so that
        two blocks together never exceed them."""
        here = self.placed[:, rows]
        present = np.flatnonzero(here.sum(axis=1))
        groups = self.groups.take(present)
        split = here[present].sum(axis=1) < self.placed[present].sum(axis=1)
        zones = self.nodes.zone[rows]
        most = np.zeros(len(present), np.int64)
        for zone in np.unique(zones):
            most = np.maximum(most, here[present][:, zones == zone].sum(axis=1))
        limited = split & (groups.max_per_zone < ANY)
        groups = replace(groups, max_per_zone=np.where(limited, most, groups.max_per_zone))
        return Fleet(self.nodes.take(rows), groups, here[present], self.allowed[np.ix_(present, rows)])


def reserve_cores(fleet: Fleet, placed: Counts) -> Floats:
    """Room that each node keeps for a burst of one of its workloads."""
    burst: Floats = (fleet.groups.burst_cores[:, None] * placed).max(axis=0, initial=0.0)
    return burst


def is_on(fleet: Fleet, placed: Counts) -> Flags:
    """Nodes that have to be awake: they hold something or may not sleep."""
    needed: Flags = (placed.sum(axis=0) > 0) | ~fleet.nodes.can_sleep
    return needed


def on_now(fleet: Fleet) -> Flags:
    """Nodes awake before the plan."""
    awake: Flags = ~fleet.nodes.asleep | (fleet.placed.sum(axis=0) > 0)
    return awake


def power_watts(fleet: Fleet, placed: Counts, on: Flags) -> Floats:
    """Mean power of each node."""
    nodes = fleet.nodes
    load = fleet.groups.mean_cores @ placed
    return np.where(on, nodes.idle_watts + nodes.watts_per_core * load, nodes.sleep_watts)


def move_joules(fleet: Fleet, placed: Counts) -> float:
    """Energy of getting there: replicas moved, nodes woken."""
    arrived = np.maximum(placed - fleet.placed, 0).sum(axis=1)
    woken = is_on(fleet, placed) & ~on_now(fleet)
    return float(fleet.groups.move_joules @ arrived + fleet.nodes.wake_joules[woken].sum())


def broken_rules(fleet: Fleet, placed: Counts) -> list[str]:
    """What a placement violates, in words; empty where it is right. The tests' and the planner's own check."""
    nodes, groups, said = fleet.nodes, fleet.groups, []
    if (placed.sum(axis=1) != fleet.placed.sum(axis=1)).any() or (placed < 0).any():
        said.append("replicas were lost or made")
    for name, used, room in (
        ("CPU", groups.cpu_cores @ placed + reserve_cores(fleet, placed), nodes.cpu_cores),
        ("memory", groups.memory_gb @ placed, nodes.memory_gb),
    ):
        over = used > room + 1e-6
        said += [f"{nodes.names[n]}: {name} beyond its headroom" for n in np.flatnonzero(over)]
    arrived = np.maximum(placed - fleet.placed, 0)
    said += [f"{groups.names[g]}: moved too often" for g in np.flatnonzero(arrived.sum(axis=1) > groups.max_moves)]
    crowded = (placed > groups.max_per_node[:, None]) & (arrived > 0)
    said += [f"{groups.names[g]}: too many on {nodes.names[n]}" for g, n in np.argwhere(crowded)]
    said += [
        f"{groups.names[g]}: not allowed on {nodes.names[n]}" for g, n in np.argwhere((arrived > 0) & ~fleet.allowed)
    ]
    for zone in np.unique(nodes.zone):
        inside = placed[:, nodes.zone == zone].sum(axis=1)
        more = inside > np.maximum(groups.max_per_zone, fleet.placed[:, nodes.zone == zone].sum(axis=1))
        said += [f"{groups.names[g]}: too many in zone {zone}" for g in np.flatnonzero(more)]
    for g in np.flatnonzero(groups.near >= 0):
        left = fleet.placed[groups.near[g]] > 0
        alone = (placed[g] > 0) & (placed[groups.near[g]] == 0) & ((arrived[g] > 0) | left)
        said += [f"{groups.names[g]}: away from {groups.names[groups.near[g]]}"] if alone.any() else []
    return said

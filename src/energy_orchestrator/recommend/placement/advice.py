"""From a described fleet to placement findings: one for each set of nodes that a plan's moves tie together.

In: a `FleetFile`'s nodes and workloads. Out: the columns of `fleet`, and of a plan for them, findings that can be made
independently of each other. Savings are the steady difference over the horizon, net of moving and waking spread over
it; node watts are believed within 10 %, which is the interval, and the lower bound assumes that a tenth of the sleep
fails.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

import numpy as np

from energy_orchestrator.model.fleet import FleetFile, NodeSpec, WorkloadSpec
from energy_orchestrator.model.recommendation import SuggestionType
from energy_orchestrator.model.units import Bounded, Tier
from energy_orchestrator.recommend.observation import Finding, Prior
from energy_orchestrator.recommend.placement.fleet import ANY, Counts, Fleet, Groups, Nodes, is_on, on_now, power_watts
from energy_orchestrator.recommend.placement.plan import Move, Plan
from energy_orchestrator.recommend.playbook import Measured, corrected
from energy_orchestrator.recommend.subject import Found, Subject, between

MOVE_JOULES = (20.165, 512.0)
"""Constant and per GB: Liu et al., "Performance and energy modeling for live migration", HPDC 2011."""
LOWER, UPPER = 0.8, 1.1
SHOWN_MOVES = 10


def fleet_of(file: FleetFile, nodes: Sequence[NodeSpec]) -> Fleet:
    """The columns of some of the file's nodes with what stands on them. A workload that also stands elsewhere keeps at
    most as many replicas in a zone as it has now."""
    place = {it.name: row for row, it in enumerate(nodes)}
    here = [it for it in file.workloads if any(node in place for node in it.on)]
    placed = np.zeros((len(here), len(nodes)), np.int64)
    for row, it in enumerate(here):
        for node, replicas in it.on.items():
            if node in place:
                placed[row, place[node]] = replicas
    zones = {zone: number for number, zone in enumerate(sorted({it.zone for it in nodes}))}
    zone = np.array([zones[it.zone] for it in nodes], np.int64)
    return Fleet(_nodes(file, nodes, zone), _groups(here, placed, zone), placed, _allowed(here, nodes))


def _nodes(file: FleetFile, nodes: Sequence[NodeSpec], zone: Counts) -> Nodes:
    cores = np.array([it.cpu_cores for it in nodes])
    idle, full = np.array([it.idle_watts for it in nodes]), np.array([it.full_watts for it in nodes])
    return Nodes(
        names=tuple(it.name for it in nodes),
        cpu_cores=cores * (1 - file.cpu_headroom),
        memory_gb=np.array([it.memory_gb for it in nodes]) * (1 - file.memory_headroom),
        idle_watts=idle,
        watts_per_core=(full - idle) / cores,
        sleep_watts=np.array([it.sleep_watts for it in nodes]),
        wake_joules=np.array([it.wake_joules for it in nodes]),
        can_sleep=np.array([it.may_sleep for it in nodes]),
        asleep=np.array([it.asleep for it in nodes]),
        zone=zone,
    )


def _groups(here: Sequence[WorkloadSpec], placed: Counts, zone: Counts) -> Groups:
    place = {it.name: row for row, it in enumerate(here)}
    replicas = placed.sum(axis=1)
    elsewhere = np.array([sum(it.on.values()) for it in here], np.int64) - replicas
    crowd = np.array([max(np.bincount(zone, row), default=0) for row in placed], np.int64).reshape(len(here))
    limit = np.array([it.max_per_zone or ANY for it in here], np.int64)
    lost = np.array([it.near is not None and it.near not in place for it in here], bool)
    moves = np.array(
        [count if it.max_moves is None else it.max_moves for it, count in zip(here, replicas, strict=True)]
    )
    return Groups(
        names=tuple(it.name for it in here),
        cpu_cores=np.array([it.cpu_cores for it in here]),
        mean_cores=np.array([it.cpu_cores if it.mean_cores is None else it.mean_cores for it in here]),
        memory_gb=np.array([it.memory_gb for it in here]),
        burst_cores=np.array([it.burst_cores for it in here]),
        move_joules=np.array(
            [
                MOVE_JOULES[0] + MOVE_JOULES[1] * it.memory_gb if it.move_joules is None else it.move_joules
                for it in here
            ]
        ),
        max_moves=np.where(lost, 0, moves).astype(np.int64),
        max_per_node=np.array([it.max_per_node or ANY for it in here], np.int64),
        max_per_zone=np.where((elsewhere > 0) & (limit < ANY), crowd, limit),
        near=np.array([place.get(it.near, -1) if it.near else -1 for it in here], np.int64),
    )


def _allowed(
    here: Sequence[WorkloadSpec], nodes: Sequence[NodeSpec]
) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    allowed = np.ones((len(here), len(nodes)), bool)
    for row, it in enumerate(here):
        if it.node_labels:
            allowed[row] = [it.node_labels.items() <= node.labels.items() for node in nodes]
    return allowed


def placement(
    fleet: Fleet, plan: Plan, horizon_seconds: float, measured: Measured, tenant: str, now: datetime
) -> list[Found]:
    """Findings of a plan, one for each independent set of nodes that saves."""
    moves: dict[int, list[Move]] = defaultdict(list)
    set_of = _tied(fleet, plan)
    place = {name: row for row, name in enumerate(fleet.nodes.names)}
    for move in plan.moves:
        moves[set_of[place[move.source]]].append(move)
    now_on, then_on = on_now(fleet), is_on(fleet, plan.placed)
    before, after = power_watts(fleet, fleet.placed, now_on), power_watts(fleet, plan.placed, then_on)
    joules = dict(zip(fleet.groups.names, fleet.groups.move_joules, strict=True))
    found = []
    for number in sorted(set(set_of)):
        rows = np.flatnonzero(np.array(set_of) == number)
        sleeps = [fleet.nodes.names[row] for row in rows if fleet.nodes.names[row] in plan.sleep]
        wakes = [row for row in rows if fleet.nodes.names[row] in plan.wake]
        change = sum(joules[it.workload] * it.replicas for it in moves[number])
        change += float(fleet.nodes.wake_joules[wakes].sum()) if wakes else 0.0
        watts = (float(before[rows].sum()), float(after[rows].sum()), change / horizon_seconds)
        if watts[0] - watts[1] - watts[2] <= 0 or not (sleeps or moves[number]):
            continue
        names = [fleet.nodes.names[row] for row in rows]
        found.append(_finding(names, sleeps, moves[number], watts, plan, measured, tenant, now))
    return found


def _finding(
    names: list[str], sleeps: list[str], moves: list[Move], watts: tuple[float, float, float], plan: Plan,
    measured: Measured, tenant: str, now: datetime,
) -> Found:  # fmt: skip
    spent, left, change = watts
    net = spent - left - change
    share = net / spent
    prior = corrected(
        Prior(between(share, share * LOWER, share * UPPER, 1.0), 0.7, "node watts as described; not tried here yet"),
        measured,
    )
    saved = prior.ratio.scaled(spent)
    waves = max((it.wave for it in moves), default=0)
    listed = [{"wave": it.wave, "workload": it.workload, "from": it.source, "to": it.to} for it in moves]
    back = [{"wave": waves + 1 - it.wave, "workload": it.workload, "from": it.to, "to": it.source} for it in moves]
    workloads = sorted({it.workload for it in moves})
    how = "greedily" if plan.greedy_blocks else "by CP-SAT"
    return Found(
        Subject(
            tenant,
            f"placement/{(sleeps or names)[0]}",
            None,
            now,
            now,
            Tier.MODEL,
            {f"node/{name}": "" for name in names} | {workload: "plan" for workload in workloads},
        ),
        Finding(
            strategy="placement",
            suggestion_type=SuggestionType.PLACEMENT,
            patch={"moves": listed, "sleep": sleeps},
            inverse={"moves": back, "wake": sleeps},
            saved_watts=saved,
            spent_watts=Bounded(spent, spent * 0.9, spent * 1.1),
            confidence=prior.confidence,
            confidence_reason=prior.source,
            risk_parts={
                "availability": 0.2 if not moves else 0.4,
                "latency": 0.1 if not moves else 0.3,
                "blast_radius": min(1.0, 0.1 + 0.05 * len(workloads)),
                "reversibility": 0.2,
            },
            evidence=[
                ("power of these nodes now", round(spent, 1), "W"),
                ("after", round(left, 1), "W"),
                ("moving and waking, over the horizon", round(change, 3), "W"),
                ("nodes that sleep", float(len(sleeps)), ", ".join(sleeps[:SHOWN_MOVES])),
                ("replicas moved", float(len(moves)), f"in {waves} waves"),
            ],
            explanation=(
                f"{len(sleeps)} of {len(names)} nodes can sleep after {len(moves)} moves in {waves} "
                "waves (at most one replica "
                f"of a workload at a time): {spent:.0f} W now, {left:.0f} W after, {change:.2f} W for "
                "moving and waking. "
                f"Placed {how}; CPU, memory, anti-affinity, affinity, zones and disruption limits "
                "hold with the headroom."
            ),
            restarted_replicas=len(moves),
            executor="none",
        ),
    )


def _tied(fleet: Fleet, plan: Plan) -> list[int]:
    """Number of the set of each node: nodes that exchange replicas are in one (union-find)."""
    parent = list(range(len(fleet.nodes)))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    place = {name: row for row, name in enumerate(fleet.nodes.names)}
    for move in plan.moves:
        parent[root(place[move.source])] = root(place[move.to])
    return [root(node) for node in range(len(parent))]

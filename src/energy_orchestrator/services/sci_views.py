"""Sums of the view `sci`, and what the API tells of them: what a window adds to its node and to the workloads on it.

Nothing is read here. Of a part that is not known in one window the sum is unknown, with the reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from energy_orchestrator.analyze.operation_cost import NO_SOURCE, NOTHING_DONE
from energy_orchestrator.analyze.reservation import CPU_WEIGHT, Basis, Claim, NodeSize, Split, split
from energy_orchestrator.api.control_plane import SciNodeView, SciWorkloadView
from energy_orchestrator.model.units import JOULES_PER_KWH, SECONDS_PER_DAY, Bounded
from energy_orchestrator.services.views import bounded

SECONDS_PER_YEAR = 365.25 * SECONDS_PER_DAY

BASIS = (
    f"idle by share of the node, {CPU_WEIGHT:.0%} by CPUs and {1 - CPU_WEIGHT:.0%} by memory: declared limits, else"
    " CPUs allowed where that is a restriction, else use; what nobody reserved stays with the node"
)
NO_GRID = "no grid factor is configured: set `grid_gco2e_per_kwh`"
NO_EMBODIED = "embodied emissions of {host} are not configured: set `embodied_kgco2e`"
NO_SIZE = "neither CPUs nor memory of the node are known: no idle is shared"

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Carbon:
    """What the settings know of emissions: the grid's, and a node's by host, instance type, product or `*`."""

    gco2e_per_kwh: float | None = None
    embodied_kgco2e: Mapping[str, float] = field(default_factory=dict)
    lifetime_years: float = 4.0

    def embodied_grams(self, names: Iterable[str | None], seconds: float) -> float | None:
        """Of a node over so many seconds of its lifetime; None where none of its names is configured."""
        known = (self.embodied_kgco2e.get(it) for it in (*names, "*") if it is not None)
        found = next((it for it in known if it is not None), None)
        return None if found is None else found * 1000 * seconds / (self.lifetime_years * SECONDS_PER_YEAR)


@dataclass(slots=True)
class _Node:
    idle: float = 0.0
    unreserved: float = 0.0
    unattributed: float = 0.0
    embodied: float | None = 0.0
    unreserved_embodied: float | None = 0.0

    def take(self, row: Row, idle: Split, grams: float | None, embodied: Split | None) -> None:
        self.idle += row["idle_joules"]
        self.unreserved += idle.unreserved
        self.unattributed += row["unattributed_joules"]
        self.embodied = _plus(self.embodied, grams)
        self.unreserved_embodied = _plus(self.unreserved_embodied, embodied.unreserved if embodied else None)


@dataclass(slots=True)
class _Workload:
    hosts: set[str] = field(default_factory=set)
    active: float = 0.0
    idle: float | None = 0.0
    lower: float = 0.0
    upper: float = 0.0
    embodied: float | None = 0.0
    missing: str | None = None
    whole: float = 0.0
    cpu_basis: set[Basis] = field(default_factory=set)
    memory_basis: set[Basis] = field(default_factory=set)

    def take(self, row: Row, it: Row, claim: Claim, idle: float | None, embodied: float | None) -> None:
        low, high = _meter(row)
        self.hosts.add(row["host"])
        self.active += it["active_joules"]
        self.idle = _plus(self.idle, idle)
        self.whole += row["idle_joules"]
        self.lower += it["active_joules_lower"] + (idle or 0.0) * low
        self.upper += it["active_joules_upper"] + (idle or 0.0) * high
        self.embodied = _plus(self.embodied, embodied)
        if embodied is None and self.missing is None:
            self.missing = NO_SIZE if idle is None else NO_EMBODIED.format(host=row["host"])
        self.cpu_basis.add(claim.cpus.basis)
        self.memory_basis.add(claim.memory_bytes.basis)

    def energy(self) -> Bounded | None:
        """SCI's E; None where the size of a node is unknown."""
        if self.idle is None:
            return None
        value = self.active + self.idle
        return Bounded(value, min(self.lower, value), max(self.upper, value))


class Totals:
    """Sums by node and by workload; `carbon` is what the settings know."""

    def __init__(self, carbon: Carbon) -> None:
        self._carbon = carbon
        self._nodes: dict[str, _Node] = defaultdict(_Node)
        self._sizes: dict[str, NodeSize] = {}
        self._workloads: dict[str, _Workload] = defaultdict(_Workload)

    def take(self, row: Row, size: Row, here: Sequence[Row], claims: Sequence[Claim]) -> None:
        """One window of one node, with the workloads in it and their claims, in the same order."""
        names = (row["host"], size.get("instance_type"), size.get("node_type"))
        grams = self._carbon.embodied_grams(names, row["covered_seconds"])
        known = self._sizes[row["host"]] = size_of(size)
        idle = split(row["idle_joules"], claims, known)
        embodied = split(grams, claims, known) if grams is not None else None
        self._nodes[row["host"]].take(row, idle, grams, embodied)
        unknown = known.cpus is None and known.memory_bytes is None
        for place, (it, claim) in enumerate(zip(here, claims, strict=True)):
            part = None if unknown else idle.parts[place]
            grams_part = embodied.parts[place] if embodied and not unknown else None
            self._workloads[it["workload"]].take(row, it, claim, part, grams_part)

    def nodes(self) -> list[SciNodeView]:
        """By name."""
        return [_node_view(host, node, self._sizes[host]) for host, node in sorted(self._nodes.items())]

    def workloads(self, done: Mapping[str, Row]) -> list[SciWorkloadView]:
        """The most energy first; `done` has the operations of each that were counted."""
        factor = self._carbon.gco2e_per_kwh
        views = [_workload_view(name, it, done.get(name), factor) for name, it in self._workloads.items()]
        return sorted(views, key=lambda it: it.energy_joules.value if it.energy_joules else -1.0, reverse=True)


def size_of(row: Row) -> NodeSize:
    """From the inventory."""
    return NodeSize(row.get("cpu_threads"), row.get("memory_bytes"))


def _workload_view(name: str, it: _Workload, done: Row | None, factor: float | None) -> SciWorkloadView:
    energy = it.energy()
    operational = energy.value / JOULES_PER_KWH * factor if factor is not None and energy else None
    operations = done["operations"] if done else None
    reason = _missing(factor, it, operations)
    sci = None
    if reason is None and energy and factor is not None and it.embodied is not None and operations:
        grams = energy.scaled(factor / JOULES_PER_KWH)
        per = (end + it.embodied for end in (grams.value, grams.lower, grams.upper))
        sci = Bounded(*per).scaled(1 / operations)
    return SciWorkloadView(
        workload=name,
        hosts=sorted(it.hosts),
        active_joules=it.active,
        reserved_idle_joules=it.idle,
        energy_joules=bounded(energy),
        reserved_share=it.idle / it.whole if it.idle is not None and it.whole > 0 else None,
        cpu_basis=sorted(it.cpu_basis),
        memory_basis=sorted(it.memory_basis),
        operational_gco2e=operational,
        embodied_gco2e=it.embodied,
        embodied_reason=it.missing,
        operation=done["operation"] if done else None,
        operations=operations,
        sci_gco2e_per_operation=bounded(sci),
        sci_reason=reason,
    )


def _missing(factor: float | None, it: _Workload, operations: float | None) -> str | None:
    """Why there is no SCI; None where there is."""
    if operations is None:
        return NO_SOURCE
    if operations <= 0:
        return NOTHING_DONE
    if it.idle is None:
        return NO_SIZE
    return NO_GRID if factor is None else it.missing


def _node_view(host: str, node: _Node, size: NodeSize) -> SciNodeView:
    reasons = [NO_SIZE] if not size.cpus and not size.memory_bytes else []
    if node.embodied is None:
        reasons.append(NO_EMBODIED.format(host=host))
    return SciNodeView(
        host=host,
        idle_joules=node.idle,
        unreserved_idle_joules=node.unreserved,
        unattributed_joules=node.unattributed,
        embodied_gco2e=node.embodied,
        unreserved_embodied_gco2e=node.unreserved_embodied,
        reason="; ".join(reasons) or None,
    )


def _meter(row: Row) -> tuple[float, float]:
    """The meter's bounds as factors of the node's energy."""
    whole = row["node_joules"]
    return (row["node_joules_lower"] / whole, row["node_joules_upper"] / whole) if whole > 0 else (1.0, 1.0)


def _plus(total: float | None, more: float | None) -> float | None:
    return None if total is None or more is None else total + more

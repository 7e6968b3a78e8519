"""Energy and operations of one workload brought together by version and node type.

In: energy of each replica and window, the operations told for it, and the version and node type of each. Out: groups,
each with its windows for `operation_cost.py`. Operations are joined with the energy of the same place: the replica
where both sides tell replicas; else the host, all replicas together; else the workload, where they are told by another
host than it runs on (a Prometheus server is asked from one place for all). Where several versions or node types share
such a place in a window, the window is of neither.

Both sides are rates over the seconds they cover, as in `operations.py`: what was done is scaled to the seconds of the
energy. A window with energy for which no row tells operations is a gap, and is counted, not taken for nought.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from energy_orchestrator.analyze.operation_cost import CostWindow
from energy_orchestrator.analyze.versions import MIXED, Label
from energy_orchestrator.model.units import Tier


@dataclass(frozen=True, slots=True)
class Spent:
    """Active energy of a replica (None: the workload has none) in the window that ends `at`."""

    host: str
    replica: str | None
    at: datetime
    tier: Tier
    joules: float
    lower_joules: float
    upper_joules: float
    seconds: float
    version: Label
    node_type: Label


@dataclass(frozen=True, slots=True)
class Done:
    """Operations in the window that ends `at`, over the seconds in which they were counted."""

    host: str
    replica: str | None
    at: datetime
    operations: float
    seconds: float


@dataclass(slots=True)
class Group:
    """What is of one version or node type. `gaps` are windows with energy whose operations nobody told."""

    version: Label | None
    node_type: Label | None
    windows: dict[datetime, CostWindow] = field(default_factory=dict)
    gaps: set[datetime] = field(default_factory=set)
    joules: float = 0.0
    seconds: dict[datetime, float] = field(default_factory=lambda: defaultdict(float))
    hosts: set[str] = field(default_factory=set)
    tiers: set[Tier] = field(default_factory=set)
    first: datetime | None = None
    last: datetime | None = None

    @property
    def meters(self) -> tuple[frozenset[str], frozenset[Tier]]:
        """Two groups with the same, and one tier, were measured by the same meters."""
        return frozenset(self.hosts), frozenset(self.tiers)

    def series(self) -> list[CostWindow]:
        """Windows in the order of time."""
        return [self.windows[at] for at in sorted(self.windows)]

    def take(self, parts: Sequence[Spent], operations: float | None) -> None:
        """Add one place's energy in one window, and what was done there; None is a gap."""
        at = parts[0].at
        joules, lower, upper = (
            sum(getattr(it, name) for it in parts) for name in ("joules", "lower_joules", "upper_joules")
        )
        self.joules += joules
        self.hosts |= {it.host for it in parts}
        self.tiers |= {it.tier for it in parts}
        self.first, self.last = min(self.first or at, at), max(self.last or at, at)
        if operations is None:
            self.gaps.add(at)
            return
        self.seconds[at] = max(self.seconds[at], max(it.seconds for it in parts))
        had = self.windows.get(at, CostWindow(0.0, 0.0, 0.0, 0.0))
        self.windows[at] = CostWindow(
            had.joules + joules, had.lower_joules + lower, had.upper_joules + upper, had.operations + operations
        )


Place = Callable[[str, str | None], Hashable]


def grouped(spent: Sequence[Spent], done: Sequence[Done], *, by_version: bool, by_node_type: bool) -> list[Group]:
    """The groups, in the order in which they were first seen."""
    place = _place(spent, done)
    rates: dict[tuple[Hashable, datetime], float] = defaultdict(float)
    for it in done:
        if it.seconds > 0:
            rates[place(it.host, it.replica), it.at] += it.operations / it.seconds
    together: dict[tuple[Hashable, datetime], list[Spent]] = defaultdict(list)
    for one in spent:
        together[place(one.host, one.replica), one.at].append(one)
    groups: dict[tuple[Label | None, Label | None], Group] = {}
    for key in sorted(together, key=lambda key: key[1]):
        parts, rate = together[key], rates.get(key)
        seconds = max(it.seconds for it in parts)
        labels = (
            _common(it.version for it in parts) if by_version else None,
            _common(it.node_type for it in parts) if by_node_type else None,
        )
        group = groups.setdefault(labels, Group(*labels))
        group.take(parts, rate * seconds if rate is not None else None)
    return list(groups.values())


def _common(labels: Iterable[Label]) -> Label:
    found = set(labels)
    return found.pop() if len(found) == 1 else Label(None, MIXED)


def _place(spent: Sequence[Spent], done: Sequence[Done]) -> Place:
    """What a row of either side belongs to: the finest place that both tell."""
    if {it.host for it in spent}.isdisjoint({it.host for it in done}):
        return lambda _host, _replica: None
    if {it.replica is None for it in spent} == {it.replica is None for it in done}:
        return lambda host, replica: (host, replica)
    return lambda host, _replica: host

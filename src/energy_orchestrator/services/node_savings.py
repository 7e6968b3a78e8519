"""What a change to whole nodes saved: a plan that a person carried out, nodes put to sleep, a new power cap.

In go the energy of nodes, idle included, window by window, and what was done on them; the methods are those of
rollouts (`verify/savings`), node beside node. What was done is the count of operations of one workload, or, where none
is named, CPU seconds: then a change by which the same work takes fewer of them is not seen as one, and the reason says
so. A window counts where each node of a side has one with a real meter: a node that is silent has unknown energy, not
none. Only nodes that are told to be asleep count as none after the change, and their standby power is in no figure.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from energy_orchestrator.errors import InvalidInputError, NotFoundError
from energy_orchestrator.model.sample import MeasuredWindow
from energy_orchestrator.model.saving import Saving
from energy_orchestrator.model.units import Tier
from energy_orchestrator.services import operation_queries
from energy_orchestrator.services.series import Series, rows_of
from energy_orchestrator.verify.savings import Evidence, measure

CPU_SECONDS = "work is counted in CPU seconds: that the same work takes fewer of them is not seen"
STANDBY = "what the sleeping nodes draw on standby is not in it"


@dataclass(frozen=True, slots=True)
class NodeChange:
    """What was changed when. `asleep` are those of `changed` that are off since; `alike` says that the two groups did
    the same kind of work before too, so that they may be compared side by side."""

    changed: tuple[str, ...]
    at: datetime
    start: datetime
    end: datetime
    control: tuple[str, ...] = ()
    asleep: frozenset[str] = frozenset()
    workload: str | None = None
    alike: bool = False

    def __post_init__(self) -> None:
        wrong = _wrong(self)
        if wrong:
            raise InvalidInputError(wrong[1], where=wrong[0], next_step=wrong[2])


def _wrong(change: NodeChange) -> tuple[str, str, str] | None:
    if not change.changed:
        return "changed", "no node is named", "name the nodes that were changed"
    if set(change.changed) & set(change.control):
        return "control", "a node stands on both sides", "leave changed nodes out of the control"
    if not change.asleep < set(change.changed):
        return "asleep", "not some of the changed nodes", "name changed nodes, and leave one awake: it did the work"
    if not change.start < change.at < change.end:
        return "at", "not within the span", "give a moment of which both sides were watched"
    return None


class NodeSavings:
    """Reads only."""

    def __init__(self, series: Series, window_seconds: float) -> None:
        self._series = series
        self._window = timedelta(seconds=window_seconds)

    def of(self, tenant: str, change: NodeChange) -> Saving:
        """The saving, or why there is none.

        Raises:
            NotFoundError: nothing is known of any changed node in the span.
        """
        hosts = [*change.changed, *change.control]
        during = {"tenant": tenant, "hosts": hosts, "start": change.start, "end": change.end}
        rows = rows_of(self._series, operation_queries.NODE_WINDOWS, during)
        if not {row["host"] for row in rows} & set(change.changed):
            raise NotFoundError("nothing is known of these nodes in this span", where="changed", next_step="eo nodes")
        done = self._done(during, change.workload)
        changed = side(rows, change.changed, done, self._window, change)
        control = side(rows, change.control, done, self._window, change) if change.control else []
        return _named(measure(_evidence(changed, control, change)), change)

    def _done(self, during: Mapping[str, Any], workload: str | None) -> Callable[[Mapping[str, Any]], float | None]:
        """Of a row of a node: the operations done in its window, or its CPU seconds."""
        if workload is None:
            return lambda row: float(row["busy_cpu_seconds"])
        about = {**during, "workload": workload, "window_ms": self._window / timedelta(milliseconds=1)}
        rate = {
            (row["host"], row["window_end"]): row["operations_per_second"]
            for row in rows_of(self._series, operation_queries.OPERATIONS_ON_NODES, about)
        }

        def done(row: Mapping[str, Any]) -> float | None:
            per_second = rate.get((row["host"], row["timestamp"]))
            return None if per_second is None else per_second * float(row["window_seconds"])

        return done


def side(
    rows: Sequence[Mapping[str, Any]],
    hosts: Sequence[str],
    done: Callable[[Mapping[str, Any]], float | None],
    window: timedelta,
    change: NodeChange,
) -> list[MeasuredWindow]:
    """Windows of a group of nodes, oldest first: those that all of it has, from a meter. A node without a count did
    nothing where another of its side has one; where none has, what was done is unknown."""
    by_end: dict[datetime, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["host"] in hosts and row["tier"] != Tier.MODEL.value:
            by_end[row["timestamp"]].append(row)
    awake = set(hosts) - change.asleep
    found = []
    for end, of_nodes in sorted(by_end.items()):
        asked = awake if end > change.at else set(hosts)
        if {row["host"] for row in of_nodes} < asked:
            continue
        amounts = [it for row in of_nodes if (it := done(row)) is not None]
        operations = math.fsum(amounts) if amounts else None
        joules = math.fsum(row["node_joules"] for row in of_nodes)
        per = joules / operations if operations else None
        cpu = sum(row["busy_cpu_seconds"] for row in of_nodes)
        found.append(MeasuredWindow(end - window, end, joules, operations, per, None, None, cpu))
    return found


def _evidence(changed: list[MeasuredWindow], control: list[MeasuredWindow], change: NodeChange) -> Evidence:
    def split(windows: list[MeasuredWindow]) -> tuple[list[MeasuredWindow], list[MeasuredWindow]]:
        before = [it for it in windows if it.window_end <= change.at]
        return before, [it for it in windows if it.window_start >= change.at]

    before, after = split(changed)
    beside = split(control) if control else None
    return Evidence(
        baseline=beside[1] if beside and change.alike else (),
        canary=after if beside and change.alike else (),
        before=before,
        after=after,
        controls=[beside] if beside else (),
    )


def _named(saving: Saving, change: NodeChange) -> Saving:
    notes = [saving.reason]
    notes += [CPU_SECONDS] if change.workload is None else []
    notes += [STANDBY] if change.asleep else []
    return replace(saving, reason="; ".join(notes))

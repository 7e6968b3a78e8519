"""J/op of one workload by version and node type, from the series.

Reads energy, operations, what used the CPU and what the nodes are, each by window; `analyze/cost_groups.py` brings them
together. A long span has wider windows (`MAX_WINDOWS`), so that a week costs what an hour does to read.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from energy_orchestrator.analyze.cost_groups import Done, Group, Spent, grouped
from energy_orchestrator.analyze.versions import MIXED, NOT_SEEN, Label, Program, naming_kind, version_of
from energy_orchestrator.errors import NotFoundError
from energy_orchestrator.model.units import Tier, worst_tier
from energy_orchestrator.services import cost_queries
from energy_orchestrator.services.series import Series, rows_of

MAX_WINDOWS = 360
NODE_ROWS_BACK = timedelta(days=1)
"""Agents tell of their node every five minutes."""

Key = tuple[str, str | None, datetime]
NO_NODE_TYPE = Label(None, "neither instance type, product nor CPU of the node is known")


class By(StrEnum):
    """What J/op is told apart by."""

    VERSION = "version"
    NODE_TYPE = "node_type"
    BOTH = "both"


class CostsFound:
    """Groups of one workload, and what they were made from."""

    def __init__(self, groups: list[Group], kind: str | None, operation: str | None, window: timedelta) -> None:
        self.groups = groups
        self.kind = kind
        self.operation = operation
        self.window = window


class OperationCosts:
    """Reads only."""

    def __init__(self, series: Series, window_seconds: float) -> None:
        self._series = series
        self._window = timedelta(seconds=window_seconds)

    def of(self, tenant: str, workload: str, start: datetime, end: datetime, by: By) -> CostsFound:
        """Groups of a workload in a span; NotFoundError where neither energy nor operations of it are known."""
        window = self._width(end - start)
        about = {"tenant": tenant, "workload": workload, "start": start, "end": end}
        during = about | {"window_ms": window / timedelta(milliseconds=1)}
        energy = rows_of(self._series, cost_queries.COST_ENERGY, during)
        operations = rows_of(self._series, cost_queries.COST_OPERATIONS, during)
        if not energy and not operations:
            raise NotFoundError(
                f"nothing is known of {workload!r} in this span",
                where="workload",
                next_step="see `eo workloads top`, or look further back",
            )
        hosts = sorted({row["host"] for row in energy})
        version, kind = self._versions(during | {"hosts": hosts})
        node_type = self._node_types(tenant, hosts, start, end, window)
        spent = [_spent(row, version, node_type) for row in energy]
        groups = grouped(
            spent, [_done(row) for row in operations], by_version=by != By.NODE_TYPE, by_node_type=by != By.VERSION
        )
        operation = next((row["operation"] for row in operations), None)
        return CostsFound(groups, kind, operation, window)

    def _width(self, span: timedelta) -> timedelta:
        return self._window * max(1, math.ceil(span / self._window / MAX_WINDOWS))

    def _versions(self, during: Mapping[str, Any]) -> tuple[Callable[[Key], Label], str | None]:
        """The version of each replica and window, and what names versions of this workload."""
        ran: dict[Key, list[tuple[Program, float]]] = defaultdict(list)
        for row in rows_of(self._series, cost_queries.COST_PROGRAMS, during):
            program = Program(row["command"], row["image_digest"], row["image"], row["checksum"])
            ran[_key(row)].append((program, row["cpu_seconds"]))
        kind = naming_kind({program for parts in ran.values() for program, _ in parts})
        found = {key: version_of(parts, kind) for key, parts in ran.items()}
        return lambda key: found.get(key, Label(None, NOT_SEEN)), kind

    def _node_types(
        self, tenant: str, hosts: Collection[str], start: datetime, end: datetime, window: timedelta
    ) -> Callable[[Key], Label]:
        """The node type of a host in a window: what it was last seen as, before the first look what it then was."""
        about = {"tenant": tenant, "hosts": list(hosts), "since": start - NODE_ROWS_BACK, "end": end}
        since: dict[str, list[tuple[datetime, str]]] = defaultdict(list)
        for row in rows_of(self._series, cost_queries.NODE_TYPES, about):
            since[row["host"]].append((row["at"], row["name"]))

        def at(host: str, moment: datetime) -> str:
            place = bisect_right(since[host], moment, key=lambda it: it[0])
            return since[host][max(0, place - 1)][1]

        def label(key: Key) -> Label:
            host, _, end_of_window = key
            if not since.get(host):
                return NO_NODE_TYPE
            names = {at(host, end_of_window), at(host, end_of_window - window)}
            return Label(names.pop()) if len(names) == 1 else Label(None, MIXED)

        return label


def tier_of(group: Group) -> Tier | None:
    """The worst of the tiers that its energy was measured at."""
    return worst_tier(*group.tiers) if group.tiers else None


def _key(row: Mapping[str, Any]) -> Key:
    return row["host"], row["replica"], row["window_end"].astimezone(UTC)


def _spent(row: Mapping[str, Any], version: Callable[[Key], Label], node_type: Callable[[Key], Label]) -> Spent:
    key = _key(row)
    return Spent(
        *key,
        tier=worst_tier(*(Tier(it) for it in row["tiers"])),
        joules=row["active_joules"],
        lower_joules=row["active_joules_lower"],
        upper_joules=row["active_joules_upper"],
        seconds=row["covered_seconds"],
        version=version(key),
        node_type=node_type(key),
    )


def _done(row: Mapping[str, Any]) -> Done:
    return Done(*_key(row), operations=row["operations"], seconds=row["covered_seconds"])

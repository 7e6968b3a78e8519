"""Targets of the scraper that nobody declared: containers and pods of this machine whose labels name an endpoint.

Opt-in (`annotated_operations`). A loop of its own looks every few seconds for labels in the newest inventory of this
host, so that the scraper never waits for the store; which address is read is found from the processes themselves
(`ingest/own_endpoints.py`). A declared workload is never among them. What can't be followed is told as the workload's
problem.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from energy_orchestrator.errors import EoError
from energy_orchestrator.ingest.annotations import asked_for
from energy_orchestrator.ingest.operations import Target
from energy_orchestrator.ingest.own_endpoints import Process, address_of
from energy_orchestrator.model.workload import OperationSource
from energy_orchestrator.services import series_queries
from energy_orchestrator.services.series import Series, rows_of

LOOK_SECONDS = 15.0
MAX_TARGETS = 200
KINDS = frozenset({"container", "pod"})

Place = tuple[str, str | None]


class AnnotatedTargets:
    """`look` is called every `LOOK_SECONDS`; the others tell what it found."""

    def __init__(self, series: Series, tenant: str, host: str, proc: Path = Path("/proc")) -> None:
        self._series, self._tenant, self._host, self._proc = series, tenant, host, proc
        self._found: list[Target] = []
        self._problems: dict[str, str] = {}

    def targets(self) -> list[Target]:
        """As they were at the last look, at most `MAX_TARGETS`."""
        return self._found

    def problem_of(self, workload: str) -> str | None:
        """Why the labels of a workload can't be followed; None where they can, or ask for nothing."""
        return self._problems.get(workload)

    def look(self) -> None:
        """Find the targets anew."""
        asked = {"tenant": self._tenant, "host": self._host, "kinds": sorted(KINDS)}
        rows = rows_of(self._series, series_queries.LABELLED_PROCESSES, asked)
        by_place: dict[Place, list[dict[str, Any]]] = defaultdict(list)
        for row in rows:
            by_place[row["workload"], row["replica"]].append(row)
        found: list[Target] = []
        problems: dict[str, str] = {}
        for (workload, replica), processes in by_place.items():
            try:
                target = self._target(workload, replica, processes)
            except EoError as error:
                problems[workload] = error.describe()
                continue
            if target is not None:
                found.append(target)
        self._found, self._problems = found[:MAX_TARGETS], problems

    def _target(self, workload: str, replica: str | None, rows: list[dict[str, Any]]) -> Target | None:
        asked = asked_for(rows[0]["labels"])
        if asked is None:
            return None
        processes: list[Process] = [(row["pid"], row["process_started_ms"]) for row in rows]
        address = address_of(processes, asked.port, self._proc)
        source = OperationSource(prometheus=f"http://{address}:{asked.port}{asked.path}", server=asked.server)
        return Target(workload, replica, None, source, annotated=True)

"""The orchestrator as a process of its own, for being killed: `python orchestrator_program.py '<json>'`.

Energy is simulated (a replica with BATCH_MAX=8 needs `ratio` of the energy), everything else is real. Ten seconds of
its clock pass in one, and the clock goes on across restarts.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from energy_orchestrator.decide.policy import load_policies
from energy_orchestrator.execute.local.cgroups import CgroupLimiter
from energy_orchestrator.execute.local.processes import ProcessTable
from energy_orchestrator.execute.local.supervisor import LocalExecutor
from energy_orchestrator.model.sample import MeasuredWindow
from energy_orchestrator.model.workload import Declaration
from energy_orchestrator.services.orchestrator import Orchestrator, OrchestratorSettings
from energy_orchestrator.store.records.database import Database
from energy_orchestrator.store.records.local_desired import LocalDesiredStore
from energy_orchestrator.verify.analysis import AnalysisTemplate

SPEED = 10
EPOCH = 1_795_000_000
TEMPLATE = AnalysisTemplate(count=6, interval_seconds=1, initial_delay_seconds=1, grace_seconds=60)


def clock() -> datetime:
    return datetime.fromtimestamp(EPOCH, UTC) + timedelta(seconds=(time.time() - EPOCH) * SPEED)


class SimulatedEnergy:
    """One window a second. Before the rollout all replicas need the same; then those with the change need `ratio`."""

    def __init__(self, executor: LocalExecutor, ratio: float) -> None:
        self._executor, self._ratio = executor, ratio

    def neighbours(self, tenant: str, workload: str, start: datetime, changed: datetime, end: datetime) -> list[str]:
        """It runs alone."""
        return []

    def windows(
        self, tenant: str, workload: str, replicas: Sequence[str] | None, start: datetime, end: datetime
    ) -> list[MeasuredWindow]:
        changed = {s.name for s in self._executor.specs(workload) if s.environment["BATCH_MAX"] == "8"}
        ratio = self._ratio if replicas and set(replicas) <= changed else 1.0
        made, at = [], start.replace(microsecond=0) + timedelta(seconds=1)
        while at + timedelta(seconds=1) <= end:
            joules = ratio * (1 + random.Random(f"{at} {replicas}").random() / 10)
            made.append(MeasuredWindow(at, at + timedelta(seconds=1), joules * 50, 50.0, joules, 0.01, 0.0))
            at += timedelta(seconds=1)
        return made


def build(url: str, folder: Path, ratio: float, crash_point: object = None) -> tuple[Orchestrator, LocalExecutor]:
    database = Database(url, pool_size=3)
    database.open()
    declared = Declaration.model_validate_json((folder / "declaration.json").read_text())
    executor = LocalExecutor(
        "local",
        {declared.key: declared},
        folder,
        LocalDesiredStore(database),
        ProcessTable(folder.name, folder / "logs"),
        CgroupLimiter(folder.name, folder / "cgroup"),
    )
    orchestrator = Orchestrator(
        database,
        {"local": executor},
        lambda _tenant, workload: executor.declaration(workload),
        load_policies(None),
        SimulatedEnergy(executor, ratio),
        OrchestratorSettings(analysis=TEMPLATE, watch_windows=5),
        clock,
        crash_point or (lambda _: None),  # type: ignore[arg-type]
    )
    return orchestrator, executor


def main() -> None:
    given = json.loads(sys.argv[1])
    passed = 0

    def crash_point(point: str) -> None:
        nonlocal passed
        passed += point == given["point"]
        if point == given["point"] and passed == given["number"]:
            os.kill(os.getpid(), signal.SIGKILL)

    orchestrator, executor = build(given["url"], Path(given["folder"]), given["ratio"], crash_point)
    while True:
        orchestrator.tick()
        executor.reconcile()
        time.sleep(0.02)


if __name__ == "__main__":
    main()

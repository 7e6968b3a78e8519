"""Makes what runs like what is wanted, and is the executor that the driver sees.

`reconcile(now)` is called about once a second. It never waits: it starts what is missing, asks what is outdated to
end (one replica of a workload at a time, the others stay up), kills what did not end in time, and backs off from a
program that keeps dying. Everything it knows it reads anew: desired states from the store, processes from /proc.
After a kill -9 of the orchestrator the next `reconcile` finds the same processes and goes on.

While the kill switch is on, no replica is replaced or ended; one that dies is started again, since a pause is there
to protect what runs.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from energy_orchestrator.errors import EoError, NotFoundError
from energy_orchestrator.execute.local.cgroups import CgroupLimiter
from energy_orchestrator.execute.local.desired import DesiredStore, ReplicaSpec, effective, replica_specs
from energy_orchestrator.execute.local.processes import ProcessTable, RunningReplica
from energy_orchestrator.execute.merge_patch import compose
from energy_orchestrator.execute.port import JsonObject, TargetState
from energy_orchestrator.model.workload import Declaration

log = logging.getLogger(__name__)

TERMINATE_SECONDS = 10.0
KILL_SECONDS = 5.0
BACK_OFF_SECONDS = (0.0, 1.0, 5.0, 15.0, 30.0, 60.0)
STABLE_SECONDS = 30.0
"""A replica that lived this long starts again at once."""
FAILED_STARTS = 3
"""So many quick deaths in a row fail a rollout step."""


@dataclass(slots=True)
class _Starts:
    """Starts of one replica with one generation."""

    generation: str = ""
    quick_deaths: int = 0
    started_at: float = 0.0
    not_before: float = 0.0
    error: str = ""


class LocalExecutor:
    """Supervisor of the declared workloads of one tenant on this machine."""

    name = "local"

    def __init__(
        self,
        tenant: str,
        declarations: Mapping[str, Declaration],
        folder: Path,
        store: DesiredStore,
        processes: ProcessTable,
        limiter: CgroupLimiter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tenant = tenant
        self._declarations = dict(declarations)
        self._folder = folder
        self._store = store
        self._processes = processes
        self._limiter = limiter
        self._clock = clock
        self._starts: dict[str, _Starts] = {}
        self._ending: dict[int, float] = {}
        self._said: set[str] = set()

    # -- what the driver calls ------------------------------------------------------------------------------

    def declaration(self, workload: str) -> Declaration:
        """The declaration as it is in force now, promoted changes included; NotFoundError."""
        base = self._declared(workload)
        kept = self._store.read(self._tenant, workload)
        return effective(base, kept["promoted"]) if kept else base

    def pre_image(self, tenant: str, workload: str) -> JsonObject:
        """The promoted patch before the change."""
        self._declared(workload)
        kept = self._store.read(tenant, workload)
        return {"promoted": kept["promoted"] if kept else {}}

    def replicas(self, tenant: str, workload: str) -> int:  # noqa: ARG002 - one tenant here
        """Replicas wanted now."""
        return self.declaration(workload).replicas

    def apply(self, tenant: str, workload: str, patch: JsonObject, pre_image: JsonObject, percent: int) -> None:  # noqa: ARG002
        """Write the desired state; the change is checked against the knobs first."""
        base = self._declared(workload)
        promoted = compose(pre_image["promoted"], patch)
        effective(base, promoted)
        wanted = {"promoted": promoted, "canary_patch": None, "canary_replicas": 0}
        if percent < 100:
            stable = effective(base, pre_image["promoted"]).replicas
            count = max(1, stable * percent // 100)
            wanted = {"promoted": dict(pre_image["promoted"]), "canary_patch": dict(patch), "canary_replicas": count}
        self._write(workload, wanted)

    def revert(self, tenant: str, workload: str, pre_image: JsonObject) -> None:  # noqa: ARG002 - one tenant here
        """Write the pre-image back."""
        self._write(workload, {"promoted": dict(pre_image["promoted"]), "canary_patch": None, "canary_replicas": 0})

    def observe(self, tenant: str, workload: str) -> TargetState:
        """Whether each replica runs with its wanted generation and is ready."""
        if workload not in self._declarations:
            return self._undeclared(workload)
        specs = replica_specs(self._declared(workload), self._store.read(tenant, workload), self._folder)
        running = self._of(workload)
        waiting = [spec.name for spec in specs if not self._is_up(spec, running)]
        surplus = {replica.name for replica in running} - {spec.name for spec in specs}
        canaries = tuple(spec.name for spec in specs if spec.canary)
        stable = tuple(spec.name for spec in specs if not spec.canary)
        failing = [starts for spec in specs if (starts := self._failing(spec)) is not None]
        return TargetState(
            converged=not waiting and not surplus,
            failed=bool(failing),
            message=failing[0].error if failing else f"waiting for {', '.join([*waiting, *sorted(surplus)])}",
            canary=canaries or stable,
            baseline=stable if canaries else (),
        )

    def smoke(self, tenant: str, workload: str) -> tuple[bool, str]:
        """Ask every changed replica; a refused or wrong answer fails."""
        declaration = self.declaration(workload)
        if declaration.smoke is None:
            return True, "none is declared"
        specs = replica_specs(self._declared(workload), self._store.read(tenant, workload), self._folder)
        asked = [spec for spec in specs if spec.canary] or specs
        for spec in asked:
            url = declaration.smoke.http.replace("{port}", str(spec.port))
            fault = _ask(url, declaration.smoke.expect_status, declaration.smoke.timeout_seconds)
            if fault:
                return False, f"{spec.name}: {fault}"
        return True, f"{len(asked)} replica(s) answered"

    # -- what the service calls -----------------------------------------------------------------------------

    @property
    def workloads(self) -> tuple[str, ...]:
        """Keys of the declared workloads."""
        return tuple(self._declarations)

    def specs(self, workload: str) -> list[ReplicaSpec]:
        """Replicas as wanted, with their ports."""
        return replica_specs(self._declared(workload), self._store.read(self._tenant, workload), self._folder)

    def reconcile(self) -> None:
        """One pass over all workloads; an error in one does not keep the others from running."""
        running = self._processes.running()
        self._processes.end_leftovers()
        self._processes.rotate_logs()
        self._kill_overdue({replica.pid: replica for replica in running})
        paused = self._store.paused(self._tenant)
        for workload, declaration in self._declarations.items():
            try:
                self._reconcile(workload, [r for r in running if r.workload == declaration.name], paused=paused)
            except EoError as error:
                self._say(f"{workload}: {error}")
        if not paused:
            self._end_undeclared(running)

    def stop_all(self, timeout_seconds: float = TERMINATE_SECONDS) -> None:
        """End every replica and wait for it: Ctrl-C of `eo up`."""
        deadline = time.monotonic() + timeout_seconds
        force = False
        while running := self._processes.running():
            for replica in running:
                if force or replica.pid not in self._ending:
                    self._ending[replica.pid] = self._clock()
                    self._processes.end(replica, force=force)
            time.sleep(0.1)
            force = time.monotonic() > deadline
            if time.monotonic() > deadline + KILL_SECONDS:
                log.error("still there after SIGKILL: %s", ", ".join(f"{it.name} ({it.pid})" for it in running))
                break
        self._processes.end_leftovers()
        self._limiter.remove()

    # -- the pass over one workload -------------------------------------------------------------------------

    def _reconcile(self, workload: str, running: list[RunningReplica], *, paused: bool) -> None:
        specs = self.specs(workload)
        by_name = {replica.name: replica for replica in running}
        wanted = {spec.name for spec in specs}
        if not paused:
            for replica in running:
                if replica.name not in wanted:
                    self._end(replica)
            self._replace_one(specs, by_name, running)
        for spec in specs:
            if spec.name not in by_name:
                self._start(spec)

    def _replace_one(
        self, specs: list[ReplicaSpec], by_name: Mapping[str, RunningReplica], running: list[RunningReplica]
    ) -> None:
        """End one outdated replica, once every current one is up or has proved hopeless."""
        outdated = [spec for spec in specs if spec.name in by_name and by_name[spec.name].generation != spec.generation]
        if not outdated or any(by_name[spec.name].pid in self._ending for spec in outdated):
            return
        current = [spec for spec in specs if spec not in outdated]
        if all(self._is_up(spec, running) or self._failing(spec) for spec in current):
            self._end(by_name[outdated[0].name])

    def _start(self, spec: ReplicaSpec) -> None:
        starts = self._starts.setdefault(spec.name, _Starts())
        now = self._clock()
        if starts.generation != spec.generation:
            starts = self._starts[spec.name] = _Starts(generation=spec.generation)
        elif starts.started_at:
            self._count_death(starts, spec, now)
        if now < starts.not_before:
            return
        starts.started_at = now
        try:
            replica = self._processes.start(spec)
        except EoError as error:
            starts.error = str(error)
            self._say(str(error))
            return
        trouble = self._limiter.limit(spec.name, replica.pid, spec.limits)
        if trouble:
            self._say(trouble)
        log.info("started %s (pid %d, generation %s)", spec.name, replica.pid, spec.generation)

    def _count_death(self, starts: _Starts, spec: ReplicaSpec, now: float) -> None:
        if now - starts.started_at > STABLE_SECONDS:
            starts.quick_deaths, starts.not_before, starts.started_at = 0, 0.0, 0.0
            return
        starts.quick_deaths += 1
        wait = BACK_OFF_SECONDS[min(starts.quick_deaths, len(BACK_OFF_SECONDS) - 1)]
        starts.error = f"{spec.name} ended {starts.quick_deaths} time(s) right after its start; see its log"
        starts.not_before, starts.started_at = now + wait, 0.0
        log.warning("%s (next try in %g s)", starts.error, wait)

    def _failing(self, spec: ReplicaSpec) -> _Starts | None:
        starts = self._starts.get(spec.name)
        if starts and starts.generation == spec.generation and starts.quick_deaths >= FAILED_STARTS:
            return starts
        return None

    def _end(self, replica: RunningReplica) -> None:
        if replica.pid not in self._ending:
            self._ending[replica.pid] = self._clock()
            log.info("ending %s (pid %d)", replica.name, replica.pid)
            self._processes.end(replica, force=False)

    def _kill_overdue(self, running: Mapping[int, RunningReplica]) -> None:
        self._ending = {pid: since for pid, since in self._ending.items() if pid in running}
        for pid, since in self._ending.items():
            if self._clock() - since > TERMINATE_SECONDS:
                self._processes.end(running[pid], force=True)

    def _end_undeclared(self, running: list[RunningReplica]) -> None:
        names = {declaration.name for declaration in self._declarations.values()}
        for replica in running:
            if replica.workload not in names:
                self._end(replica)

    # -- small helpers --------------------------------------------------------------------------------------

    def _is_up(self, spec: ReplicaSpec, running: list[RunningReplica]) -> bool:
        for replica in running:
            if replica.name == spec.name and replica.generation == spec.generation:
                if replica.pid in self._ending:
                    return False
                return _accepts(spec.port) if spec.port else time.time() - replica.started > 1.0
        return False

    def _undeclared(self, workload: str) -> TargetState:
        left = [r.name for r in self._processes.running() if f"declared/{r.workload}" == workload]
        return TargetState(not left, True, f"{workload} is not declared any more", (), ())

    def _of(self, workload: str) -> list[RunningReplica]:
        name = self._declared(workload).name
        return [replica for replica in self._processes.running() if replica.workload == name]

    def _declared(self, workload: str) -> Declaration:
        if workload not in self._declarations:
            raise NotFoundError(
                f"{workload!r} is not declared here", next_step="declare it in the workload file and start again"
            )
        return self._declarations[workload]

    def _write(self, workload: str, desired: dict[str, Any]) -> None:
        self._store.write(self._tenant, workload, desired, datetime.now(UTC))

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            log.warning("%s", text)


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.5):
        return True
    return False


def _ask(url: str, expected: int, timeout: float) -> str:
    """Fault of an HTTP answer, or nothing."""
    if not url.startswith(("http://127.0.0.1", "http://localhost")):
        return "smoke tests ask this machine only"
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:  # noqa: S310 - checked above
            status = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
    except OSError as error:
        return f"no answer ({error})"
    return "" if status == expected else f"answered {status}, expected {expected}"

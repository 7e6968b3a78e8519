"""What does run: replicas found by their environment, started with it, ended by pid and start time.

/proc is the truth, not a table of pids (docs/adr/0003): a process belongs to us when EO_INSTANCE in its environment
is ours, and it is a replica's own process, not a child of it, when its parent is not one of ours too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import psutil

from energy_orchestrator.errors import UnavailableError
from energy_orchestrator.execute.local.desired import BASE_ENVIRONMENT, ReplicaSpec

MAX_LOG_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class RunningReplica:
    """A replica's main process."""

    name: str
    workload: str
    generation: str
    pid: int
    started: float
    """Seconds since the epoch; with the pid it names the process for good."""


class ProcessTable:
    """The replicas of one instance (a data folder)."""

    def __init__(self, instance: str, logs: Path) -> None:
        self._instance = instance
        self._logs = logs
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def running(self) -> list[RunningReplica]:
        """Every replica of ours that lives, whoever started it."""
        self._reap()
        found = {process.pid: (process, environment) for process, environment in self._ours()}
        replicas = []
        for pid, (process, environment) in found.items():
            with contextlib.suppress(psutil.Error):
                if process.ppid() in found or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                replicas.append(
                    RunningReplica(
                        environment["EO_REPLICA"],
                        environment["EO_WORKLOAD"],
                        environment.get("EO_GENERATION", ""),
                        pid,
                        process.create_time(),
                    )
                )
        return replicas

    def start(self, spec: ReplicaSpec) -> RunningReplica:
        """Start a replica; UnavailableError says why it can't be."""
        environment = {name: os.environ[name] for name in BASE_ENVIRONMENT if name in os.environ}
        environment |= dict(spec.environment) | {
            "EO_INSTANCE": self._instance,
            "EO_WORKLOAD": spec.workload,
            "EO_REPLICA": spec.name,
            "EO_GENERATION": spec.generation,
        }
        try:
            with self._log_of(spec) as log:
                child = subprocess.Popen(  # noqa: S603 - running what is declared is the job
                    spec.argv,
                    cwd=spec.working_directory,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise UnavailableError(
                f"can't start {spec.argv[0]!r}: {error.strerror}",
                where=f"workload {spec.workload}",
                next_step="check `command` and `working_directory` in the workload file",
            ) from error
        self._children[child.pid] = child
        self._renice(child.pid, spec)
        return RunningReplica(
            spec.name, spec.workload, spec.generation, child.pid, psutil.Process(child.pid).create_time()
        )

    def end(self, replica: RunningReplica, *, force: bool) -> None:
        """Ask the process group to end, or make it; only if the pid is still the same process."""
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            process = psutil.Process(replica.pid)
            if abs(process.create_time() - replica.started) > 0.02:
                return
            chosen = signal.SIGKILL if force else signal.SIGTERM
            if os.getpgid(replica.pid) == replica.pid:
                os.killpg(replica.pid, chosen)
            else:
                process.send_signal(chosen)

    def _ours(self) -> Iterator[tuple[psutil.Process, dict[str, str]]]:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                environment = process.environ()
                if environment.get("EO_INSTANCE") == self._instance and "EO_REPLICA" in environment:
                    yield process, environment

    def _reap(self) -> None:
        self._children = {pid: child for pid, child in self._children.items() if child.poll() is None}

    def _log_of(self, spec: ReplicaSpec) -> BinaryIO:
        self._logs.mkdir(parents=True, exist_ok=True)
        path = self._logs / f"{spec.name}.log"
        if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        return path.open("ab")

    @staticmethod
    def _renice(pid: int, spec: ReplicaSpec) -> None:
        if spec.nice:
            with contextlib.suppress(psutil.Error, OSError):
                psutil.Process(pid).nice(spec.nice)

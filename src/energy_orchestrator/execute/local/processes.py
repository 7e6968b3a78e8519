"""What does run: replicas found by their environment, started with it, ended by pid and start time.

/proc is the truth, not a table of pids (docs/adr/0003): a process belongs to us when EO_INSTANCE in its environment
is ours, and it is a replica's own process, not a helper of it, when it leads its session (each replica is started in
one of its own) and no process of ours is its parent. What outlives its replica is ended, or it would keep the port.
"""

from __future__ import annotations

import contextlib
import os
import shutil
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


@dataclass(frozen=True, slots=True)
class _Found:
    replica: RunningReplica
    parent: int
    leads: bool
    """It leads its session."""


class ProcessTable:
    """The replicas of one instance (a data folder)."""

    def __init__(self, instance: str, logs: Path, max_log_bytes: int = MAX_LOG_BYTES) -> None:
        self._instance = instance
        self._logs = logs
        self._max_log_bytes = max_log_bytes
        self._named: set[str] = set()
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def running(self) -> list[RunningReplica]:
        """Every replica of ours that lives, whoever started it."""
        self._reap()
        found = self._found()
        return [it.replica for it in found.values() if it.leads and it.parent not in found]

    def end_leftovers(self) -> None:
        """Kill helpers whose replica is gone."""
        found = self._found()
        for it in found.values():
            if not it.leads and it.parent not in found:
                self._signal(it.replica, signal.SIGKILL)

    def rotate_logs(self) -> None:
        """Keep the newest of each log and one older part. Replicas append, so cutting under them is safe."""
        for path in self._logs.glob("*.log") if self._logs.is_dir() else ():
            if path.stat().st_size > self._max_log_bytes and path.stem in self._named:
                shutil.copyfile(path, path.with_suffix(".log.1"))
                os.truncate(path, 0)

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
        self._signal(replica, signal.SIGKILL if force else signal.SIGTERM)

    @staticmethod
    def _signal(replica: RunningReplica, chosen: signal.Signals) -> None:
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            process = psutil.Process(replica.pid)
            if abs(process.create_time() - replica.started) > 0.02:
                return
            if os.getpgid(replica.pid) == replica.pid:
                os.killpg(replica.pid, chosen)
            else:
                process.send_signal(chosen)

    def _found(self) -> dict[int, _Found]:
        """Processes of ours by pid."""
        return {it.replica.pid: it for it in self._walk()}

    def _walk(self) -> Iterator[_Found]:
        mark = f"EO_INSTANCE={self._instance}\0".encode()
        for pid in psutil.pids():
            with contextlib.suppress(psutil.Error, OSError):
                # Most processes are strangers: looking for the mark in the bytes costs a third of parsing them.
                if mark not in Path(f"/proc/{pid}/environ").read_bytes():
                    continue
                process = psutil.Process(pid)
                environment = process.environ()
                if environment.get("EO_INSTANCE") != self._instance or "EO_REPLICA" not in environment:
                    continue
                name = environment["EO_REPLICA"]
                self._named.add(name)
                replica = RunningReplica(
                    name,
                    environment["EO_WORKLOAD"],
                    environment.get("EO_GENERATION", ""),
                    process.pid,
                    process.create_time(),
                )
                yield _Found(replica, process.ppid(), os.getsid(process.pid) == process.pid)

    def _reap(self) -> None:
        self._children = {pid: child for pid, child in self._children.items() if child.poll() is None}

    def _log_of(self, spec: ReplicaSpec) -> BinaryIO:
        self._logs.mkdir(parents=True, exist_ok=True)
        return (self._logs / f"{spec.name}.log").open("ab")

    @staticmethod
    def _renice(pid: int, spec: ReplicaSpec) -> None:
        if spec.nice:
            with contextlib.suppress(psutil.Error, OSError):
                psutil.Process(pid).nice(spec.nice)

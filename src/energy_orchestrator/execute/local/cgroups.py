"""Limits of a replica by a cgroup of its own, v2 or v1, where this user may make one.

Without the right the replica runs unlimited and the supervisor says so: a limit that is silently not in force is
worse than none.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from energy_orchestrator.model.workload import Limits

PERIOD_MICROSECONDS = 100_000


class CgroupLimiter:
    """Makes `eo/<instance>/<replica>` below the mount point and puts a process there."""

    def __init__(self, instance: str, root: Path = Path("/sys/fs/cgroup")) -> None:
        self._instance = instance
        self._root = root

    def limit(self, replica: str, pid: int, limits: Limits) -> str | None:
        """Put the process under its limits; what could not be done, in words, or None."""
        if limits.cpu is None and limits.memory_bytes is None:
            return None
        try:
            if (self._root / "cgroup.controllers").is_file():
                self._limit_v2(replica, pid, limits)
            else:
                self._limit_v1(replica, pid, limits)
        except OSError as error:
            return f"limits of {replica} are not in force: {error.strerror} ({error.filename or self._root})"
        return None

    def remove(self) -> None:
        """Remove this instance's groups; those with processes in them stay."""
        for base in (self._root, self._root / "cpu", self._root / "memory"):
            parent = base / "eo" / self._instance
            with contextlib.suppress(OSError):
                for group in [*parent.iterdir(), parent]:
                    if group.is_dir():
                        group.rmdir()

    def _limit_v2(self, replica: str, pid: int, limits: Limits) -> None:
        parent = self._root / "eo" / self._instance
        group = parent / replica
        group.mkdir(parents=True, exist_ok=True)
        for level in (self._root, self._root / "eo", parent):
            (level / "cgroup.subtree_control").write_text("+cpu +memory")
        if limits.cpu is not None:
            (group / "cpu.max").write_text(f"{_quota(limits.cpu)} {PERIOD_MICROSECONDS}")
        if limits.memory_bytes is not None:
            (group / "memory.max").write_text(str(limits.memory_bytes))
        (group / "cgroup.procs").write_text(str(pid))

    def _limit_v1(self, replica: str, pid: int, limits: Limits) -> None:
        values: list[tuple[str, str, str]] = []
        if limits.cpu is not None:
            values.append(("cpu", "cpu.cfs_period_us", str(PERIOD_MICROSECONDS)))
            values.append(("cpu", "cpu.cfs_quota_us", str(_quota(limits.cpu))))
        if limits.memory_bytes is not None:
            values.append(("memory", "memory.limit_in_bytes", str(limits.memory_bytes)))
        for controller, file, value in values:
            group = self._root / controller / "eo" / self._instance / replica
            group.mkdir(parents=True, exist_ok=True)
            (group / file).write_text(value)
            (group / "cgroup.procs").write_text(str(pid))


def _quota(cpus: float) -> int:
    return max(1_000, round(cpus * PERIOD_MICROSECONDS))

"""CPU time of a workload: by the kernel's counters, of a process or of a cgroup, and by the agent's rows."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from .rig import Row, eventually, missing, printed


@contextlib.contextmanager
def own_cgroup(name: str) -> Iterator[Path]:
    """A cgroup with a counter of CPU time, of version 1 or 2; gone afterwards."""
    roots = [Path("/sys/fs/cgroup") / folder for folder in ("cpuacct", "cpu,cpuacct", "")]
    root = next((one for one in roots if (one / "cgroup.procs").exists()), None)
    if os.geteuid() != 0 or root is None:
        missing("root and a cgroup hierarchy with CPU time are needed")
    folder = root / f"eo-test-{name}-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        missing(f"{folder}: {error}")
    try:
        yield folder
    finally:
        # Its last process may still be on its way out.
        eventually(lambda: not (folder / "cgroup.procs").read_text(), "an empty cgroup", 60)
        folder.rmdir()


def inside(cgroup: Path, *command: str) -> list[str]:
    """The command, started in a cgroup."""
    return ["sh", "-c", 'echo $$ >"$0/cgroup.procs"; exec "$@"', str(cgroup), *command]


def counted(cgroup: Path) -> float:
    """CPU seconds by the kernel's counter."""
    usage = cgroup / "cpuacct.usage"
    if usage.exists():
        return int(usage.read_text()) / 1e9
    lines = (cgroup / "cpu.stat").read_text().splitlines()
    return int(dict(line.split() for line in lines)["usage_usec"]) / 1e6


def used(pid: int) -> float:
    """CPU seconds of a process and of the children that it waited for, as the kernel counts."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def samples(output: Path, name: str) -> list[Row]:
    """The rows of a workload."""
    return [row for row in printed(output) if row["kind"] == "samples" and row["workload"] == f"declared/{name}"]


def told(output: Path, name: str) -> float:
    """CPU seconds of a workload by the agent."""
    return float(sum(row["cpu_seconds"] for row in samples(output, name)))

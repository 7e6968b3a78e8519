"""What a figure was measured on, and process accounting from /proc that every benchmark shares."""

from __future__ import annotations

import os
import platform
import time
from datetime import UTC, datetime

import psutil

# clock_getcpuclockid(3): the clock of a process is its inverted pid, shifted, with the kind of clock below.
CPUCLOCK_SCHED = 2


def describe() -> dict[str, str]:
    """CPU, cores, memory, kernel and date."""
    model = "unknown CPU"
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {
        "cpu": model,
        "cpus": str(os.cpu_count()),
        "memory_gb": f"{psutil.virtual_memory().total / 1e9:.0f}",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time so far, of all its threads and of those that have ended: the scheduler's own sum, in
    nanoseconds. `stat` counts ticks of 10 ms, which is 0.05 % of a core over 20 s.

    Raises:
        psutil.NoSuchProcess: it is gone.
    """
    try:
        return time.clock_gettime(~process.pid << 3 | CPUCLOCK_SCHED)
    except OSError as error:
        raise psutil.NoSuchProcess(process.pid) from error


def proportional_bytes(processes: list[psutil.Process]) -> int:
    """Memory of a group of processes, shared pages counted once (PSS; RSS where PSS can't be read)."""
    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except (psutil.AccessDenied, FileNotFoundError, AttributeError):
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total

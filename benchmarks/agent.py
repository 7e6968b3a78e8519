"""What the agent costs: CPU and memory with 200 processes and five busy programs, per sampling frequency.

    python -m benchmarks.agent [--seconds 60] [--processes 200] [--hz 19]

The agent writes to a file sink, so that what is measured is the agent and not a bus. Five busy programs (nice 19)
are there to be sampled; the others sleep. CPU is that of the agent's own process between the first and the last
second, as a share of one core; memory is its peak RSS.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks.machine import cpu_seconds, describe

AGENT = Path(__file__).parents[1] / "agent" / "target" / "release" / "eo-agent"
BUSY = "import os; os.nice(19)\nwhile True: sum(range(1000))"


@contextlib.contextmanager
def company(processes: int, busy: int) -> Iterator[None]:
    """So many processes, some of them busy; ended on the way out."""
    started = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(busy)]
    started += [subprocess.Popen(["sleep", "3600"]) for _ in range(processes - busy)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()


def measure(seconds: float, processes: int, hz: int, interval: float, warm_up: float = 15.0) -> dict[str, Any]:
    """Run the agent and account for it. The warm-up (symbols, checksums) is reported apart."""
    with company(processes, busy=5), tempfile.TemporaryDirectory() as folder:
        command = [str(AGENT), "run", "--sink", "file", "--path", folder, "--interval-seconds", str(interval)]
        command += ["--profile-hz", str(hz), "--spool-dir", f"{folder}/spool"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
            agent = psutil.Process(child.pid)
            time.sleep(warm_up)
            if child.poll() is not None:
                raise SystemExit(f"the agent ended: {child.stderr.read() if child.stderr else ''}")
            start_cpu, started = cpu_seconds(agent), time.monotonic()
            peak = 0
            while time.monotonic() - started < seconds:
                peak = max(peak, agent.memory_info().rss)
                time.sleep(1)
            used = cpu_seconds(agent) - start_cpu
            elapsed = time.monotonic() - started
            child.terminate()
            child.communicate(timeout=10)
        written = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    return {
        "processes": processes,
        "hz": hz,
        "interval_seconds": interval,
        "cpu_pct_of_one_core": round(100 * used / elapsed, 3),
        "start_up_cpu_seconds": round(start_cpu, 2),
        "peak_rss_mb": round(peak / 1e6, 1),
        "bytes_written": written,
        "seconds": round(elapsed, 1),
    }


def main() -> None:
    """Print one JSON line for each frequency: the one asked, and none."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--processes", type=int, default=200)
    parser.add_argument("--hz", type=int, default=19)
    parser.add_argument("--interval", type=float, default=2)
    given = parser.parse_args()
    for hz in (given.hz, 0):
        figures = measure(given.seconds, given.processes, hz, given.interval)
        print(json.dumps({"benchmark": "agent", **figures, "machine": describe()}))


if __name__ == "__main__":
    main()

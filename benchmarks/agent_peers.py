"""The agent beside py-spy and perf in one run: CPU, memory, whole stacks, named frames.

    python -m benchmarks.agent_peers [--seconds 30]

Five busy programs (nice 19) and sleepers. CPU is that of the profiler's own processes as a share of one core, after a
warm-up that is told apart. py-spy can watch one process only. perf writes what it recorded to a file and does not
unwind: its figures leave that work out. What is not installed is left out with a word (py-spy: `pip install py-spy`;
perf: Debian's linux-perf).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.company import agent_command, busy_programs, company, observe
from benchmarks.machine import describe

WARM_UP_SECONDS = 15.0
PEER_WARM_UP_SECONDS = 3.0
FAILED = ("[truncated", "[unwind")


def stacks(log: Path) -> dict[str, Any]:
    """Shares of samples with a whole stack and with a named leaf, and the samples lost, of the JSON lines of a run."""
    total = whole = named = 0
    for line in log.read_text(errors="replace").splitlines():
        if '"kind":"profiles"' in line and line.endswith("}"):
            row = json.loads(line)
            total += row["sample_count"]
            whole += 0 if row["stack"][0].startswith(FAILED) else row["sample_count"]
            named += 0 if row["stack"][-1].startswith("[") else row["sample_count"]
    if not total:
        return {}
    return {"samples": total, "whole_pct": round(100 * whole / total, 1), "named_pct": round(100 * named / total, 1)}


def side_by_side(seconds: float, folder: Path) -> Iterator[dict[str, Any]]:
    """Every profiler in every scenario."""
    busy, log = busy_programs(folder), folder / "log"
    perf, spy = shutil.which("perf"), shutil.which("py-spy", path=f"{Path(sys.executable).parent}:/usr/bin")
    for name, found in (("perf", perf), ("py-spy", spy)):
        if not found:
            print(f"{name} is not installed: left out", file=sys.stderr)
    for processes in (200, 2000):
        with company(busy, processes) as started:
            for hz in (19, 99):
                figures = observe(agent_command(folder, hz, "stdout"), seconds, WARM_UP_SECONDS, log)
                yield {"profiler": "eo-agent", "processes": processes, "hz": hz, **figures, **stacks(log)}
                if perf:
                    record = [perf, "record", "-a", "-F", str(hz), "-e", "cpu-clock", "--call-graph", "dwarf,16384"]
                    figures = observe([*record, "-o", f"{folder}/perf.data"], seconds, PEER_WARM_UP_SECONDS, log)
                    yield {"profiler": "perf record (no unwinding)", "processes": processes, "hz": hz, **figures}
                if spy and processes == 200:
                    record = [spy, "record", "-n", "-r", str(hz), "-d", "3600", "-f", "raw", "-o", f"{folder}/spy"]
                    one = started[len(busy) - 1].pid
                    figures = observe([*record, "-p", str(one)], seconds, PEER_WARM_UP_SECONDS, log)
                    yield {"profiler": "py-spy (one process)", "processes": processes, "hz": hz, **figures}


def main() -> None:
    """Print one JSON line for each scenario."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=30)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="eo-peers-") as name:
        for figures in side_by_side(given.seconds, Path(name)):
            print(json.dumps({"benchmark": "agent_peers", **figures, "machine": describe()}), flush=True)


if __name__ == "__main__":
    main()

"""What the agent costs: CPU and memory by number of processes and sampling frequency.

    python -m benchmarks.agent [--seconds 60] [--table] [--soak HOURS]

It writes to a file sink at an interval of 5 s, so that what is measured is the agent and not a bus. Without profiles
all processes sleep; with them five are busy (nice 19). CPU is that of the agent's own process after a warm-up, as a
share of one core; memory is its resident set.

--table: 100, 1,000 and 5,000 processes. --soak: one long run with 200 processes at 19 Hz, for memory that must stay
flat. What it costs the programs that it watches: `agent_cost`; beside other profilers: `agent_peers`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.company import agent_command, busy_programs, company, observe
from benchmarks.machine import describe

SCENARIOS = ((200, 0), (200, 19), (200, 99), (2000, 0), (2000, 19))
TABLE = tuple((processes, hz) for processes in (100, 1000, 5000) for hz in (0, 19))
WARM_UP_SECONDS = 15.0


def by_processes(scenarios: tuple[tuple[int, int], ...], seconds: float, folder: Path) -> Iterator[dict[str, Any]]:
    """CPU and memory of the agent in each scenario (processes, Hz)."""
    busy = busy_programs(folder)
    for processes, hz in scenarios:
        with company(busy if hz else (), processes):
            figures = observe(agent_command(folder, hz), seconds, WARM_UP_SECONDS, folder / "log")
        yield {"processes": processes, "hz": hz, **figures}


def main() -> None:
    """Print one JSON line for each scenario."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--table", action="store_true")
    chosen.add_argument("--soak", type=float, metavar="HOURS")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="eo-agent-") as name:
        folder = Path(name)
        if given.soak:
            found = by_processes(((200, 19),), given.soak * 3600, folder)
        else:
            found = by_processes(TABLE if given.table else SCENARIOS, given.seconds, folder)
        for figures in found:
            print(json.dumps({"benchmark": "agent", **figures, "machine": describe()}), flush=True)


if __name__ == "__main__":
    main()

"""What the agent costs: CPU and memory by number of processes and sampling frequency.

    python -m benchmarks.agent [--seconds 60] [--table] [--soak HOURS] [--cost]

It writes to a file sink at an interval of 5 s, so that what is measured is the agent and not a bus. Without profiles
all processes sleep; with them five are busy (nice 19). CPU is that of the agent's own process after a warm-up, as a
share of one core; memory is its resident set.

--table: 100, 1,000 and 5,000 processes. --soak: one long run with 200 processes at 19 Hz, for memory that must stay
flat. --cost: CPU time per operation of a busy C program with the agent at 99 Hz against without it, in short
alternating rounds; the median of the ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.company import agent_command, busy_programs, company, observe
from benchmarks.machine import describe

SCENARIOS = ((200, 0), (200, 19), (200, 99), (2000, 0), (2000, 19))
TABLE = tuple((processes, hz) for processes in (100, 1000, 5000) for hz in (0, 19))
WARM_UP_SECONDS = 15.0
COST_ROUNDS, COST_ROUND_SECONDS = 24, 2.0

COUNTER = """
#include <stdio.h>
#include <time.h>
static double cpu(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}
int main(void) {
  volatile unsigned long x = 1;
  unsigned long n = 0;
  for (double last = cpu();;) {
    for (int i = 0; i < 200000; i++) x = x * 6364136223846793005UL + 1;
    n++;
    double now = cpu();
    if (now - last < 0.25) continue;
    printf("%.6e\\n", (now - last) / n);
    fflush(stdout);
    last = now;
    n = 0;
  }
}
"""


def by_processes(scenarios: tuple[tuple[int, int], ...], seconds: float, folder: Path) -> Iterator[dict[str, Any]]:
    """CPU and memory of the agent in each scenario (processes, Hz)."""
    busy = busy_programs(folder)
    for processes, hz in scenarios:
        with company(busy if hz else (), processes):
            figures = observe(agent_command(folder, hz), seconds, WARM_UP_SECONDS, folder / "log")
        yield {"processes": processes, "hz": hz, **figures}


def cost(folder: Path) -> dict[str, Any]:
    """CPU time per operation of a busy program, watched at 99 Hz against unwatched."""
    (folder / "counter.c").write_text(COUNTER)
    subprocess.run(["gcc", "-O1", "-o", f"{folder}/counter", f"{folder}/counter.c"], check=True)

    def round_of(watched: bool) -> float:
        agent = subprocess.Popen(agent_command(folder, 99), stderr=subprocess.DEVNULL) if watched else None
        if agent:
            time.sleep(1)
        with subprocess.Popen([f"{folder}/counter"], stdout=subprocess.PIPE, text=True) as counter:
            time.sleep(COST_ROUND_SECONDS)
            counter.kill()
            lines = counter.stdout.read().split() if counter.stdout else []
        if agent:
            agent.terminate()
            agent.wait()
        return statistics.median(float(line) for line in lines)

    ratios = []
    for index in range(COST_ROUNDS):
        first = round_of(watched=index % 2 == 0)
        second = round_of(watched=index % 2 == 1)
        ratios.append(first / second if index % 2 == 0 else second / first)
    quartiles = statistics.quantiles(ratios, n=4)
    return {
        "cost_to_watched_program_pct_median": round(100 * (quartiles[1] - 1), 3),
        "cost_pct_quartiles": [round(100 * (quartiles[0] - 1), 3), round(100 * (quartiles[2] - 1), 3)],
        "hz": 99,
        "rounds": COST_ROUNDS,
    }


def main() -> None:
    """Print one JSON line for each scenario."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--table", action="store_true")
    chosen.add_argument("--soak", type=float, metavar="HOURS")
    chosen.add_argument("--cost", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="eo-agent-") as name:
        folder = Path(name)
        if given.cost:
            found = iter([cost(folder)])
        elif given.soak:
            found = by_processes(((200, 19),), given.soak * 3600, folder)
        else:
            found = by_processes(TABLE if given.table else SCENARIOS, given.seconds, folder)
        for figures in found:
            print(json.dumps({"benchmark": "agent", **figures, "machine": describe()}), flush=True)


if __name__ == "__main__":
    main()

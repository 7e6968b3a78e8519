"""The agent beside py-spy and perf in one run: CPU, memory, lost samples, whole stacks; and what it costs the watched.

    python -m benchmarks.agent_peers [--seconds 30] [--table] [--cost]

Five busy programs (nice 19): two of C without frame pointers, one of Go where there is a compiler, the rest Python; the
other processes sleep. CPU is that of the profiler's own processes as a share of one core, after a warm-up that is told
apart; memory is the peak RSS. py-spy can watch one process only. perf writes what it recorded to a file and does not
unwind: its figures leave that work out. What is not installed is left out with a word.

--table: CPU and memory by number of processes. --cost: CPU time per operation of a busy C program with the agent at
99 Hz against without it, in short alternating rounds; the median of the ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks.agent import AGENT, BUSY
from benchmarks.machine import cpu_seconds, describe

PROGRAMS = Path(__file__).parents[1] / "tests" / "agent" / "unwinding" / "programs"
WARM_UP_SECONDS = 15.0
COST_ROUNDS, COST_ROUND_SECONDS = 24, 2.0


def build(folder: Path) -> list[list[str]]:
    """Commands of the five busy programs, of what can be built here."""
    commands: list[list[str]] = []
    if shutil.which("gcc"):
        options = ["-O2", "-fomit-frame-pointer", "-fno-inline"]
        subprocess.run(["gcc", *options, "-o", f"{folder}/chain", str(PROGRAMS / "chain.c")], check=True)
        commands += [[f"{folder}/chain"], [f"{folder}/chain"]]
    if shutil.which("go"):
        subprocess.run(["go", "build", "-o", f"{folder}/go", str(PROGRAMS / "chain.go")], check=True)
        commands.append([f"{folder}/go"])
    return (commands + [[sys.executable, "-c", BUSY]] * 5)[:5]


@contextlib.contextmanager
def company(commands: list[list[str]], processes: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The busy programs and so many sleepers; ended on the way out."""
    started = [subprocess.Popen(["nice", "-n", "19", *command]) for command in commands]
    started += [subprocess.Popen(["sleep", "3600"]) for _ in range(processes - len(commands))]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()


def observe(command: list[str], seconds: float, warm_up: float, log: Path) -> dict[str, Any]:
    """Run a profiler and account for it and its children."""
    with log.open("wb") as errors, subprocess.Popen(command, stdout=errors, stderr=errors) as child:
        root = psutil.Process(child.pid)
        time.sleep(warm_up)
        if child.poll() is not None:
            return {"error": log.read_text(errors="replace")[-200:]}
        family = [root, *root.children(recursive=True)]
        before = sum(cpu_seconds(one) for one in family)
        started, peak = time.monotonic(), 0
        while (elapsed := time.monotonic() - started) < seconds:
            peak = max(peak, sum(one.memory_info().rss for one in family))
            time.sleep(0.5)
        used = sum(cpu_seconds(one) for one in family) - before
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(20)
        child.kill()
    return {
        "cpu_pct_of_one_core": round(100 * used / elapsed, 3),
        "start_up_cpu_seconds": round(before, 2),
        "peak_rss_mb": round(peak / 1e6, 1),
        "seconds": round(elapsed, 1),
    }


def agent_command(folder: Path, hz: int, sink: str, interval: float = 5) -> list[str]:
    """The agent, writing to files (`file`) or JSON lines (`stdout`)."""
    command = [str(AGENT), "run", "--sink", sink, "--profile-hz", str(hz), "--interval-seconds", str(interval)]
    return [*command, "--path", f"{folder}/rows-{hz}-{time.monotonic_ns()}", "--log-level", "error"]


def stacks(log: Path) -> dict[str, Any]:
    """Shares of samples with a whole stack and with a named leaf, of the JSON lines of a run."""
    total = whole = named = 0
    for line in log.read_text(errors="replace").splitlines():
        if '"kind":"profiles"' in line and line.endswith("}"):
            row = json.loads(line)
            total += row["sample_count"]
            whole += 0 if row["stack"][0].startswith(("[truncated", "[unwind")) else row["sample_count"]
            named += 0 if row["stack"][-1].startswith("[") else row["sample_count"]
    if not total:
        return {}
    return {"samples": total, "whole_pct": round(100 * whole / total, 1), "named_pct": round(100 * named / total, 1)}


def side_by_side(seconds: float, folder: Path) -> Iterator[dict[str, Any]]:
    """Every profiler in every scenario."""
    commands, log = build(folder), folder / "log"
    for processes in (200, 2000):
        with company(commands, processes) as started:
            for hz in (0, 19, 99):
                figures = observe(agent_command(folder, hz, "stdout"), seconds, WARM_UP_SECONDS, log)
                yield {"profiler": "eo-agent", "processes": processes, "hz": hz, **figures, **stacks(log)}
            for hz in (19, 99):
                if shutil.which("perf"):
                    record = ["perf", "record", "-a", "-F", str(hz), "-e", "cpu-clock", "--call-graph", "dwarf,16384"]
                    figures = observe([*record, "-o", f"{folder}/perf.data"], seconds, 3, log)
                    yield {"profiler": "perf record (no unwinding)", "processes": processes, "hz": hz, **figures}
                if processes == 200 and (spy := shutil.which("py-spy", path=f"{Path(sys.executable).parent}:/usr/bin")):
                    one = started[len(commands) - 1].pid
                    record = [spy, "record", "-n", "-r", str(hz), "-d", "3600", "-p", str(one), "-f", "raw"]
                    figures = observe([*record, "-o", f"{folder}/spy"], seconds, 3, log)
                    yield {"profiler": "py-spy (one process)", "processes": processes, "hz": hz, **figures}


def by_processes(seconds: float, folder: Path) -> Iterator[dict[str, Any]]:
    """What the agent costs with more and more processes."""
    commands, log = build(folder), folder / "log"
    for processes in (100, 1000, 5000):
        with company(commands, processes):
            for hz in (0, 19):
                figures = observe(agent_command(folder, hz, "file"), seconds, WARM_UP_SECONDS, log)
                yield {"profiler": "eo-agent", "processes": processes, "hz": hz, **figures}


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


def cost(folder: Path) -> dict[str, Any]:
    """CPU time per operation of a busy program, watched at 99 Hz against unwatched."""
    (folder / "counter.c").write_text(COUNTER)
    subprocess.run(["gcc", "-O1", "-o", f"{folder}/counter", f"{folder}/counter.c"], check=True)

    def round_of(watched: bool) -> float:
        command = agent_command(folder, 99, "file")
        agent = subprocess.Popen(command, stderr=subprocess.DEVNULL) if watched else None
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
        "benchmark": "cost to a watched program at 99 Hz",
        "median_pct": round(100 * (quartiles[1] - 1), 3),
        "quartiles_pct": [round(100 * (quartiles[0] - 1), 3), round(100 * (quartiles[2] - 1), 3)],
        "rounds": COST_ROUNDS,
    }


def main() -> None:
    """Print one JSON line for each scenario."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--cost", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="eo-peers-") as name:
        folder = Path(name)
        print(json.dumps({"machine": describe()}))
        if given.cost:
            print(json.dumps(cost(folder)))
        for figures in (by_processes if given.table else side_by_side)(given.seconds, folder) if not given.cost else ():
            print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()

"""What being profiled at 99 Hz costs the program that is watched.

    python -m benchmarks.agent_cost [--rounds 20]

A busy program (`interrupted.c`) measures its own interruptions: the CPU time of its walks above their median. Rounds
take turns: nobody watching, the agent, and `perf record` with stacks of the same size where it is installed (what the
kernel alone takes for it). The cost is the difference of the shares within a round; median and its 90 % interval by
bootstrap. Comparing whole run times instead drowns in this kind of machine's noise (0.5 % from round to round).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from benchmarks.company import agent_command, perf_record
from benchmarks.machine import describe

HZ = 99
SETTLE_SECONDS = 3.0
ROUND_SECONDS = 6.0
PROGRAM = Path(__file__).with_name("interrupted.c")


@contextlib.contextmanager
def watching(command: Sequence[str] | None) -> Iterator[None]:
    """A profiler that has settled, or nobody; ended on the way out."""
    if command is None:
        yield
        return
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as profiler:
        time.sleep(SETTLE_SECONDS)
        if profiler.poll() is not None:
            raise SystemExit(f"{' '.join(command)} ended with {profiler.returncode}. Next: run it by hand")
        yield
        profiler.terminate()


def interrupted_share(program: Path, command: Sequence[str] | None) -> float:
    """The median share of CPU time above the undisturbed walk, over half seconds."""
    with subprocess.Popen([program], stdout=subprocess.PIPE, text=True) as busy:
        with watching(command):
            time.sleep(ROUND_SECONDS)
        busy.kill()
        lines = busy.stdout.read().splitlines() if busy.stdout else []
    during = lines[-int(ROUND_SECONDS / 0.5) + 1 :]
    return statistics.median(float(line.split()[0]) for line in during)


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Median and the bounds of its 90 % interval by bootstrap (fixed seed)."""
    drawn = np.random.default_rng(4).choice(values, (10_000, len(values)))
    low, high = np.quantile(np.median(drawn, axis=1), [0.05, 0.95])
    return float(np.median(values)), float(low), float(high)


def cost(rounds: int, folder: Path) -> Iterator[dict[str, Any]]:
    """The cost of each profiler, in percent of the watched program's CPU time."""
    program = folder / "interrupted"
    subprocess.run(["gcc", "-O1", "-o", program, PROGRAM], check=True)
    watchers: dict[str, list[str] | None] = {"nobody": None, "eo-agent": agent_command(folder, HZ)}
    if perf := shutil.which("perf"):
        watchers["perf record (no unwinding)"] = perf_record(perf, HZ, folder / "perf.data")
    shares: dict[str, list[float]] = {name: [] for name in watchers}
    for index in track(range(rounds), "rounds", transient=True):
        names = list(watchers)
        for name in names[index % len(names) :] + names[: index % len(names)]:
            shares[name].append(interrupted_share(program, watchers[name]))
    for name in watchers:
        if name == "nobody":
            continue
        middle, low, high = interval([a - b for a, b in zip(shares[name], shares["nobody"], strict=True)])
        yield {
            "profiler": name,
            "hz": HZ,
            "rounds": rounds,
            "cost_to_watched_program_pct": round(100 * middle, 3),
            "cost_pct_interval_90": [round(100 * low, 3), round(100 * high, 3)],
            "unwatched_pct": round(100 * statistics.median(shares["nobody"]), 3),
        }


def main() -> None:
    """Print one JSON line for each profiler."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="eo-cost-") as name:
        for figures in cost(given.rounds, Path(name)):
            print(json.dumps({"benchmark": "agent_cost", **figures, "machine": describe()}), flush=True)


if __name__ == "__main__":
    main()

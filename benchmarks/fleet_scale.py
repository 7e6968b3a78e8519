"""An hour of telemetry of a whole fleet analysed: time, CPU and memory as the fleet grows. The telemetry is SIMULATED.

    python -m benchmarks.fleet_scale [--nodes 1000 3000 10000] [--workers 1 2] [--serve-one] [--runs FILE] [--write]

For each size the telemetry (`simulated_telemetry.py`: 10 s samples, 30 containers a node) is written into a chDB folder
by a process of its own. Then the product analyses it in a fresh process: energy of every node and container in windows
of a minute, J/op of every workload that counts operations, recommendations (`services/fleet_analysis.py`, which is what
`eo analyze` runs). One worker has the folder to itself, the database inside its process. With several, the folder is
served to them by one more process (`series_server.py`), and what they find must be what one found. `--serve-one` also
has one worker ask that process, which tells what the interface costs from what sharing the work costs.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.progress import Progress

from benchmarks import machine
from benchmarks.report import add_write, tell
from benchmarks.series_server import serving
from benchmarks.simulated_telemetry import Fleet, declarations, last_hour
from energy_orchestrator.services.fleet_analysis import Found, Place, Task, analyse

SECTION = "fleet scale"
TARGET_SECONDS, TARGET_GB = 300, 4.0
KEPT = ("node_energy", "workload_energy")
DIFFERENCE = """
SELECT countIf(n != 2) AS alone, max(apart) AS worst FROM (
    SELECT count() AS n, max(joules) - min(joules) AS spread, spread / greatest(max(joules), 1e-9) AS apart FROM (
        SELECT tenant, host, timestamp, sum(active_joules) AS joules, sum(cpu_seconds) AS cpu, count() AS rows, 1 AS it
        FROM workload_energy FINAL GROUP BY tenant, host, timestamp
        UNION ALL
        SELECT tenant, host, timestamp, sum(active_joules) AS joules, sum(cpu_seconds) AS cpu, count() AS rows, 2 AS it
        FROM workload_energy_before FINAL GROUP BY tenant, host, timestamp
    ) GROUP BY tenant, host, timestamp, rows
)
"""


def analysed(place: Place, fleet: Fleet, workers: int) -> tuple[dict[str, Any], Found]:
    """What it found, and what that cost this process and its workers."""
    task = Task(fleet.start, fleet.end, 60.0, declarations())
    begun, steps = time.perf_counter(), {}
    with Progress(console=Console(stderr=True), transient=True) as bar:
        bars: dict[str, Any] = {}

        def progress(step: str, done: int, of: int) -> None:
            steps.setdefault(step, time.perf_counter() - begun)
            bars.setdefault(step, bar.add_task(step) if step not in bars else None)
            bar.update(bars[step], completed=done, total=of)

        found = analyse(place, task, workers, progress)
    wall = time.perf_counter() - begun
    edges = [*steps.values(), wall]
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    kinds = Counter(it.suggestion_type.value for it in found.recommendations)
    return {
        "nodes": fleet.nodes,
        "workers": workers,
        "samples": fleet.samples,
        "node_windows": found.node_windows,
        "workloads_with_joules_per_operation": sum(it.joules_per_operation is not None for it in found.costs),
        "recommendations": len(found.recommendations),
        "kinds": dict(kinds),
        "wall_seconds": round(wall, 1),
        "steps_seconds": {
            name: round(end - start, 1) for (name, start), end in zip(steps.items(), edges[1:], strict=True)
        },
        "cpu_seconds": round(sum(it.ru_utime + it.ru_stime for it in (own, children)), 1),
        "peak_gb": round(own.ru_maxrss / 1e6, 2),
        "peak_gb_of_a_worker": round(children.ru_maxrss / 1e6, 2),
        "load_average": round(os.getloadavg()[0], 1),
    }, found


def told(found: Found) -> list[list[Any]]:
    """What must not depend on the number of workers, to some digits: sums of floats in another order differ."""
    advice = [
        [
            *(it.target.tenant, it.target.host or "", it.target.workload, it.suggestion_type.value, it.explanation),
            *(f"{it.expected_savings_j.value:.6g}", f"{it.rank_score:.6g}"),
        ]
        for it in found.recommendations
    ]
    costs = [[it.tenant, it.workload, it.windows, f"{it.joules_per_operation or 0:.6g}"] for it in found.costs]
    return sorted(advice) + sorted(costs)


def in_a_process(place: Place, fleet: Fleet, workers: int, out: Path) -> dict[str, Any]:
    """`analysed` where nothing has taken memory before."""
    where = ["--url", place.url] if place.url else ["--folder", str(place.folder)]
    command = [sys.executable, "-m", "benchmarks.fleet_scale", "--nodes", str(fleet.nodes), "--workers", str(workers)]
    command += [*where, "--start", fleet.start.isoformat(), "--out", str(out)]
    subprocess.run(command, check=True)
    made: dict[str, Any] = json.loads(out.read_text())
    return made


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What lies in a folder."""

    fleet: Fleet
    rows: int
    parts: int
    stored_bytes: int


def simulated(nodes: int, folder: Path) -> Telemetry:
    """Written into `series` of the folder by a process of its own, unless it is there."""
    note = folder / "telemetry.json"
    if not note.is_file():
        begun, start = time.perf_counter(), last_hour()
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "benchmarks.simulated_telemetry", str(folder / "series")]
        command += ["--nodes", str(nodes), "--start", start.isoformat()]
        rows, parts, size = map(int, subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.split())
        note.write_text(json.dumps({"start": start.isoformat(), "rows": rows, "parts": parts, "stored_bytes": size}))
        Console(stderr=True).print(f"{rows:,} simulated rows, {parts} parts, {time.perf_counter() - begun:.0f} s")
    known = json.loads(note.read_text())
    start = datetime.fromisoformat(known.pop("start"))
    return Telemetry(Fleet(nodes, start), **known)


def measured(told_of: Telemetry, folder: Path, teams: Sequence[tuple[int, bool]]) -> list[dict[str, Any]]:
    """All runs on one fleet, by so many workers, who ask a server or not. What an earlier run derived is removed: it
    would be history."""
    fleet = told_of.fleet
    with Place(folder=folder).open() as store:
        for table in KEPT:
            store.query(f"DROP TABLE IF EXISTS {table}_before")
            store.query(f"TRUNCATE TABLE {table}")
    made, first = [], None
    for count, served in teams:
        if not served:
            run = in_a_process(Place(folder=folder), fleet, 1, folder.with_suffix(".json"))
        else:
            with serving(folder) as (url, server):
                with Place(url=url).open() as store:
                    for table in KEPT:
                        store.query(f"DROP TABLE IF EXISTS {table}_before")
                        store.query(f"RENAME TABLE {table} TO {table}_before")
                        store.query(f"CREATE TABLE {table} AS {table}_before")
                run = in_a_process(Place(url=url), fleet, count, folder.with_suffix(".json"))
                process = psutil.Process(server)
                run["server_cpu_seconds"] = round(machine.cpu_seconds(process), 1)
                run["server_gb"] = round(process.memory_info().rss / 1e9, 2)
                with Place(url=url).open() as store:
                    run["difference"] = store.query(DIFFERENCE).to_pylist()[0]
        answer = run.pop("told")
        if first is not None:
            run["same_advice_and_costs"] = answer == first
        first = first or answer
        size = {"rows": told_of.rows, "parts": told_of.parts, "stored_gb": round(told_of.stored_bytes / 1e9, 2)}
        made.append({"benchmark": "fleet_scale", "date": machine.describe()["date"], **size, **run})
        print(json.dumps(made[-1]), flush=True)
    return made


def section(runs: list[dict[str, Any]]) -> str:
    """For docs/accuracy.md."""
    on = machine.describe()
    lines = [
        "## A fleet's hour of telemetry (SIMULATED)",
        "",
        f"Made by `python -m benchmarks.fleet_scale --serve-one --write`: {on['cpus']} CPUs ({on['cpu']}),",
        f"{on['memory_gb']} GB, Linux {on['kernel']}, Python {on['python']}. Simulated rows every 10 s, 30 containers",
        "a node; windows of a minute. One worker has chDB in its process; several share one chDB behind ClickHouse's",
        "HTTP interface (`served`), whose CPU and memory are in brackets. CPU seconds say what it costs; the clock",
        f"also says how busy the machine was. Target: {TARGET_SECONDS} s and {TARGET_GB:.0f} GB at 10,000 nodes.",
        "",
        "| nodes | workers | samples, million | seconds: energy, J/op, advice | CPU s | peak GB | load | advice | on |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    runs = sorted(runs, key=lambda it: (it["nodes"], it["workers"], "server_gb" in it))
    for it in runs:
        served = "server_gb" in it
        memory = (
            f"{it['peak_gb_of_a_worker' if it['workers'] > 1 else 'peak_gb']:.1f} a worker (+ {it['server_gb']:.1f})"
            if served
            else f"{it['peak_gb']:.1f}"
        )
        cells = [
            f"{it['nodes']:,}",
            str(it["workers"]) + (" (served)" if served else ""),
            f"{it['samples'] / 1e6:.1f}",
            f"{it['wall_seconds']:.0f}: " + " / ".join(f"{seconds:.0f}" for seconds in it["steps_seconds"].values()),
            f"{it['cpu_seconds']:.0f}" + (f" (+ {it['server_cpu_seconds']:.0f})" if served else ""),
            memory,
            str(it["load_average"]),
            f"{it['recommendations']:,}",
            it["date"],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *_why_slower(runs)]
    for it in runs:
        if "difference" in it and it["workers"] > 1:
            lines += [
                "",
                f"{it['nodes']:,} nodes, {it['workers']} workers against 1: recommendations and J/op "
                f"{'the same' if it['same_advice_and_costs'] else 'NOT THE SAME'}; node-windows that only one has: "
                f"{it['difference']['alone']}; energy apart by at most {it['difference']['worst']:.1g} of itself.",
            ]
    return "\n".join([*lines, "", "```json", *map(json.dumps, runs), "```"])


def _why_slower(runs: Sequence[dict[str, Any]]) -> list[str]:
    """What a second worker can and can't gain here, from the CPU seconds of the largest fleet that has both."""
    shared = [it for it in runs if it["workers"] > 1]
    if not shared:
        return []
    most = shared[-1]
    same = [it for it in runs if it["nodes"] == most["nodes"] and it["workers"] == 1]
    said = ", ".join(
        f"{_cpu(it):.0f} s of one worker {'that asks the same store' if 'server_gb' in it else 'with chDB inside'}"
        for it in same
    )
    return [
        "Why two workers are no faster here: the store that they share answers one statement at a time, by itself,",
        f"with {100 * most['server_cpu_seconds'] / _cpu(most):.0f} % of all CPU time; only the rest is shared.",
        f"Rows that travel cost too: {_cpu(most):.0f} CPU s together at {most['nodes']:,} nodes, against {said}.",
        "Shown is the same result from half the hosts each; what a second machine gains",
        "with a ClickHouse server, which answers many statements at once, is not measured here.",
    ]


def _cpu(run: dict[str, Any]) -> float:
    return float(run["cpu_seconds"] + run.get("server_cpu_seconds", 0.0))


def _kept(file: Path | None) -> list[dict[str, Any]]:
    lines = file.read_text().splitlines() if file and file.is_file() else []
    return [json.loads(line) for line in lines]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="*", default=[1000, 3000, 10_000])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--serve-one", action="store_true", help="one worker at the server too")
    add_write(parser)
    parser.add_argument(
        "--keep", type=Path, help="a folder where the telemetry stays and is found again; default: a temporary one"
    )
    parser.add_argument("--runs", type=Path, help="JSON lines: runs are added, and the section is of all that it has")
    one = parser.add_argument_group("one run on telemetry that is there (used by itself)")
    one.add_argument("--folder", type=Path)
    one.add_argument("--url")
    one.add_argument("--start", type=datetime.fromisoformat)
    one.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.out:
        place, fleet = Place(url=options.url, folder=options.folder), Fleet(options.nodes[0], options.start)
        figures, found = analysed(place, fleet, options.workers[0])
        options.out.write_text(json.dumps({**figures, "told": told(found)}))
        return
    runs, teams = _kept(options.runs), [(count, count > 1) for count in sorted(options.workers)]
    teams[1:1] = [(1, True)] if options.serve_one else []
    for nodes in options.nodes:
        with tempfile.TemporaryDirectory(prefix="eo-fleet-") as name:
            folder = (options.keep or Path(name)) / str(nodes)
            runs += measured(simulated(nodes, folder), folder / "series", teams)
        if options.runs:
            options.runs.write_text("".join(json.dumps(it) + "\n" for it in runs))
    tell(SECTION, section(runs), options.write)


if __name__ == "__main__":
    main()

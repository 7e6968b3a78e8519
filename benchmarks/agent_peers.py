"""The agent beside py-spy, perf and the OpenTelemetry eBPF profiler in one run: CPU, memory, whole stacks, named
frames, lost samples.

    python -m benchmarks.agent_peers [--seconds 30]

Five busy programs (nice 19) and sleepers. CPU is that of the profiler's own processes as a share of one core, after a
warm-up that is told apart; what an eBPF program does in the kernel is the watched program's time and not in it. py-spy
can watch one process only. perf writes what it recorded to a file and does not unwind: its figures leave that work
out. The eBPF profiler leaves native frames without names, for a server to name. What is not installed is left out
with a word (py-spy, grpcio: pip; perf: Debian's linux-perf; the eBPF profiler: Go and root, built here).
"""

from __future__ import annotations

import argparse
import functools
import json
import shutil
import socket
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from benchmarks import otel_profiler
from benchmarks.company import agent_command, busy_programs, company, observe
from benchmarks.machine import describe

WARM_UP_SECONDS = 15.0
PEER_WARM_UP_SECONDS = 3.0
FAILED = ("[truncated", "[unwind")


def lost(port: int) -> dict[str, Any]:
    """The share of samples that the agent lost, of its own metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    value = {sample.name: sample.value for family in families for sample in family.samples}
    taken, gone = value["eo_agent_stack_samples_total"], value["eo_agent_stack_samples_lost_total"]
    return {"lost_pct": round(100 * gone / (taken + gone), 3)}


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


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def side_by_side(seconds: float, folder: Path) -> Iterator[dict[str, Any]]:
    """Every profiler in every scenario."""
    busy, log = busy_programs(folder), folder / "log"
    perf, spy = shutil.which("perf"), shutil.which("py-spy", path=f"{Path(sys.executable).parent}:/usr/bin")
    ebpf = otel_profiler.built()
    for name, found in (("perf", perf), ("py-spy", spy)):
        if not found:
            print(f"{name} is not installed: left out", file=sys.stderr)
    for processes in (200, 2000):
        with company(busy, processes) as started:
            for hz in (19, 99):
                port = free_port()
                agent = [*agent_command(folder, hz, "stdout"), "--metrics-listen", f"127.0.0.1:{port}"]
                figures = observe(agent, seconds, WARM_UP_SECONDS, log, functools.partial(lost, port))
                yield {"profiler": "eo-agent", "processes": processes, "hz": hz, **figures, **stacks(log)}
                if ebpf:
                    with otel_profiler.receiver() as (to, counted):
                        watch = otel_profiler.command(ebpf, hz, to)
                        figures = observe(watch, seconds, WARM_UP_SECONDS, log, counted.figures)
                    yield {"profiler": "OTel eBPF profiler", "processes": processes, "hz": hz, **figures}
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

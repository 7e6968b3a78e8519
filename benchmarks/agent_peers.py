"""The agent beside py-spy, perf and the OpenTelemetry eBPF profiler in one run: CPU, memory, samples, whole stacks,
named frames, lost samples.

    python -m benchmarks.agent_peers [--seconds 30] [--processes 200 2000] [--hz 19 99]

Five busy programs (nice 19) whose calls are known, and sleepers. What each profiler recorded is judged by the same rule
(`known_chains`), its own verdict is told beside it (`own_whole_pct`). CPU is that of the profiler's own processes in
the scheduler's nanoseconds, after a warm-up; warm-up and ending are told apart, and `whole_run` has all in it. What an
eBPF program does in the kernel is the watched program's time and in no profiler's figure.

Not the same work: py-spy watches one process only. perf writes what it recorded to a file; unwinding and naming is
`perf script`'s work afterwards, `reading_cpu_seconds`. The eBPF profiler leaves native frames without names, for a
server to name: they count as unnamed, and for the chains they are named here. What is not installed is left out with a
word (py-spy, grpcio: pip; perf: Debian's linux-perf; the eBPF profiler: Go and root, built here).
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.company import agent_command, busy_programs, company, observe, perf_record, truth_of
from benchmarks.known_chains import Tally, Truth, functions, of_agent, of_perf, of_py_spy, share
from benchmarks.machine import cpu_seconds, describe

WARM_UP_SECONDS = 15.0
PEER_WARM_UP_SECONDS = 3.0
FAILED = ("[truncated", "[unwind", "[exit", "[outside")


@dataclass(frozen=True)
class Scene:
    """What is watched, and where files go."""

    folder: Path
    seconds: float
    hz: int
    truths: dict[int, Truth]

    @property
    def log(self) -> Path:
        """What the profiler prints."""
        return self.folder / "log"

    def used(self, pids: Sequence[int]) -> float:
        """CPU seconds of busy programs so far."""
        return sum(cpu_seconds(psutil.Process(pid)) for pid in pids)


def ours(scene: Scene) -> dict[str, Any]:
    """The agent, writing JSON lines."""
    port, tally, before = free_port(), Tally(scene.truths), scene.used(list(scene.truths))
    command = [*agent_command(scene.folder, scene.hz, "stdout"), "--metrics-listen", f"127.0.0.1:{port}"]
    figures = observe(command, scene.seconds, WARM_UP_SECONDS, scene.log, partial(lost, port))
    expected = (scene.used(list(scene.truths)) - before) * scene.hz
    own = 0
    for line in scene.log.read_text(errors="replace").splitlines():
        if '"kind":"profiles"' in line and line.endswith("}"):
            row = json.loads(line)
            tally.add(row["pid"], [of_agent(frame) for frame in row["stack"]], row["sample_count"])
            own += 0 if row["stack"][0].startswith(FAILED) else row["sample_count"]
    return {**figures, **tally.figures(expected), "own_whole_pct": share(own, tally.samples)}


def lost(port: int) -> dict[str, Any]:
    """The share of samples that the agent lost, and of those whose process it never saw, of its own metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    totals: dict[str, float] = {}
    for sample in (one for family in families for one in family.samples):
        totals[sample.name] = totals.get(sample.name, 0) + sample.value
    taken, gone = totals["eo_agent_stack_samples_total"], totals["eo_agent_stack_samples_lost_total"]
    unattributed = totals["eo_agent_stack_samples_unattributed_total"]
    return {
        "lost": gone,
        "lost_pct": round(100 * gone / (taken + gone), 3) if taken + gone else None,
        "unattributed_pct": round(100 * unattributed / taken, 3) if taken else None,
    }


def opentelemetry(program: Path, scene: Scene) -> dict[str, Any]:
    """The eBPF profiler, sending to a receiver here."""
    from benchmarks import otel_profiler

    named = {name: functions(scene.folder / name) for name in ("chain", "go") if (scene.folder / name).exists()}
    tally, before = Tally(scene.truths, named), scene.used(list(scene.truths))
    with otel_profiler.receiver(tally) as (port, received):
        command = otel_profiler.command(program, scene.hz, port)
        figures = observe(command, scene.seconds, WARM_UP_SECONDS, scene.log, ready=otel_profiler.READY)
    expected = (scene.used(list(scene.truths)) - before) * scene.hz
    return {**figures, **tally.figures(expected), **received.figures()}


def opentelemetry_program() -> Path | None:
    """None with a word on stderr where it can't be built or received."""
    try:
        from benchmarks import otel_profiler
    except ImportError as error:
        print(f"OTel eBPF profiler: {error} (pip install grpcio): left out", file=sys.stderr)
        return None
    return otel_profiler.built()


def perf(program: str, scene: Scene) -> dict[str, Any]:
    """`perf record`, then `perf script` on what it wrote."""
    data, tally, before = scene.folder / "perf.data", Tally(scene.truths), scene.used(list(scene.truths))
    figures = observe(perf_record(program, scene.hz, data), scene.seconds, PEER_WARM_UP_SECONDS, scene.log)
    expected = (scene.used(list(scene.truths)) - before) * scene.hz
    # Without --no-inline it starts addr2line for each frame.
    reading = ["script", "-i", str(data), "--no-inline", "-F", "pid,tid,ip,sym,dso"]
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    with subprocess.Popen(
        [program, *reading], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace"
    ) as script:
        for pid, stack in of_perf(iter(script.stdout or ())):
            tally.add(pid, stack)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    stats = subprocess.run([program, "report", "--stats", "-i", str(data)], capture_output=True, text=True, check=False)
    events = [int(count) for count in re.findall(r"LOST(?:_SAMPLES)? events:\s+(\d+)", stats.stdout)]
    return {
        **figures,
        **tally.figures(expected),
        "lost_events": sum(events),
        "reading_cpu_seconds": round(after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime, 2),
        "recording_mb": round(data.stat().st_size / 1e6, 1),
    }


def py_spy(program: str, scene: Scene) -> dict[str, Any]:
    """py-spy on the first Python program."""
    pid = next(pid for pid, truth in scene.truths.items() if truth.language == "python")
    raw, tally, before = scene.folder / "spy", Tally({pid: scene.truths[pid]}), scene.used([pid])
    options = ["-n", "-r", str(scene.hz), "-d", "3600", "-f", "raw", "-o", str(raw), "-p", str(pid)]
    figures = observe([program, "record", *options], scene.seconds, PEER_WARM_UP_SECONDS, scene.log)
    expected = (scene.used([pid]) - before) * scene.hz
    for line in raw.read_text(errors="replace").splitlines() if raw.exists() else ():
        tally.add(pid, *of_py_spy(line))
    told = re.search(r"Errors: (\d+)", scene.log.read_text(errors="replace"))
    return {**figures, **tally.figures(expected), "lost": int(told[1]) if told else None}


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def side_by_side(scales: Sequence[int], rates: Sequence[int], seconds: float, folder: Path) -> Iterator[dict[str, Any]]:
    """Every profiler in every scenario."""
    busy = busy_programs(folder)
    tools = {name: shutil.which(name) or beside_python(name) for name in ("perf", "py-spy")}
    ebpf = opentelemetry_program()
    for name in (name for name, found in tools.items() if not found):
        print(f"{name} is not installed: left out", file=sys.stderr)
    for processes in scales:
        with company(busy, processes) as started:
            truths = {process.pid: truth_of(command) for process, command in zip(started, busy, strict=False)}
            for hz in rates:
                scene = Scene(folder, seconds, hz, truths)
                about = {"processes": processes, "hz": hz}
                yield {"profiler": "eo-agent", **about, **ours(scene)}
                if ebpf:
                    yield {"profiler": "OTel eBPF profiler", **about, **opentelemetry(ebpf, scene)}
                if tools["perf"]:
                    yield {"profiler": "perf record", **about, **perf(tools["perf"], scene)}
                if tools["py-spy"] and processes == scales[0]:
                    yield {"profiler": "py-spy (one process)", **about, **py_spy(tools["py-spy"], scene)}


def beside_python(name: str) -> str | None:
    """A program of this interpreter's environment."""
    return shutil.which(name, path=str(Path(sys.executable).parent))


def main() -> None:
    """Print one JSON line for each scenario."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--processes", type=int, nargs="+", default=[200, 2000])
    parser.add_argument("--hz", type=int, nargs="+", default=[19, 99])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="eo-peers-") as name:
        for figures in side_by_side(given.processes, given.hz, given.seconds, Path(name)):
            print(json.dumps({"benchmark": "agent_peers", **figures, "machine": describe()}), flush=True)


if __name__ == "__main__":
    main()

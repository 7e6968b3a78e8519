"""Programs to be watched, and the account of the one that watches them: shared by the agent's benchmarks."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.known_chains import GO, PYTHON, C, Truth
from benchmarks.machine import cpu_seconds

ROOT = Path(__file__).parents[1]
AGENT = ROOT / "agent" / "target" / "release" / "eo-agent"
PROGRAMS = ROOT / "tests" / "agent" / "unwinding" / "programs"
# The calls that `known_chains.PYTHON` tells.
BUSY_PYTHON = (PROGRAMS / "chain.py").read_text(encoding="utf-8")
BUSY_PROGRAMS = 5
ENDING_SECONDS = 60.0
READY_SECONDS = 120.0


def busy_programs(folder: Path) -> list[list[str]]:
    """Commands of five busy programs: two of C without frame pointers and one of Go where they can be built here,
    the rest Python. Their calls are those of `truth_of`."""
    commands: list[list[str]] = []
    if shutil.which("gcc"):
        options = ["-O2", "-fomit-frame-pointer", "-fno-inline"]
        subprocess.run(["gcc", *options, "-o", f"{folder}/chain", str(PROGRAMS / "chain.c")], check=True)
        commands += [[f"{folder}/chain"], [f"{folder}/chain"]]
    if shutil.which("go"):
        subprocess.run(["go", "build", "-o", f"{folder}/go", str(PROGRAMS / "chain.go")], check=True)
        commands.append([f"{folder}/go"])
    return (commands + [[sys.executable, "-c", BUSY_PYTHON]] * BUSY_PROGRAMS)[:BUSY_PROGRAMS]


def truth_of(command: Sequence[str]) -> Truth:
    """What a busy program is doing."""
    return {"chain": C, "go": GO}.get(Path(command[0]).name, PYTHON)


@contextlib.contextmanager
def company(busy: Sequence[Sequence[str]], processes: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The busy programs (nice 19) and so many sleepers that there are `processes`; ended on the way out."""
    started = [subprocess.Popen(["nice", "-n", "19", *command]) for command in busy]
    started += [subprocess.Popen(["sleep", "infinity"]) for _ in range(processes - len(busy))]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()


def agent_command(folder: Path, hz: int, sink: str = "file", interval_seconds: float = 5) -> list[str]:
    """The agent, writing to files (`file`) or JSON lines (`stdout`), so that no bus is measured with it."""
    command = [str(AGENT), "run", "--sink", sink, "--profile-hz", str(hz), "--interval-seconds", str(interval_seconds)]
    return [*command, "--path", f"{folder}/rows-{hz}-{time.monotonic_ns()}", "--log-level", "error"]


def perf_record(program: str, hz: int, data: Path) -> list[str]:
    """`perf record` of the whole machine, with stacks of the size that the agent takes."""
    return [program, "record", "-a", "-F", str(hz), "-e", "cpu-clock", "--call-graph", "dwarf,16384", "-o", str(data)]


def observe(
    command: Sequence[str],
    seconds: float,
    warm_up_seconds: float,
    log: Path,
    at_end: Callable[[], dict[str, Any]] = dict,
    ready: str = "",
) -> dict[str, Any]:
    """Run a program and account for it and its children, by the scheduler's nanoseconds. Warm-up (symbols, checksums)
    and ending (what is written when it is told to stop) are told apart; `whole_run` has both in it. `at_end` is asked
    for further figures while the program still runs. `ready`: what it prints when it has begun; the warm-up lasts until
    then (READY_SECONDS at most).

    Raises:
        SystemExit: with what the program printed, if it ended or did not begin during the warm-up.
    """
    begun = time.monotonic()
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as child:
        root = psutil.Process(child.pid)
        time.sleep(warm_up_seconds)
        while ready not in log.read_text(errors="replace") and time.monotonic() < begun + READY_SECONDS:
            time.sleep(0.5)
        if child.poll() is not None or ready not in log.read_text(errors="replace"):
            child.kill()
            raise SystemExit(f"{command[0]} ended or did not begin: {log.read_text(errors='replace')[-400:]}")
        family = [root, *root.children(recursive=True)]
        before = sum(cpu_seconds(one) for one in family)
        resident: list[int] = []
        started = time.monotonic()
        while (elapsed := time.monotonic() - started) < seconds:
            resident.append(sum(one.memory_info().rss for one in family))
            time.sleep(min(1.0, seconds))
        used = sum(cpu_seconds(one) for one in family) - before
        further = at_end()
        # py-spy writes nothing when it is terminated.
        child.send_signal(signal.SIGINT)
        ran, whole = time.monotonic() - begun, ended(child)
    tenth = max(1, len(resident) // 10)
    return {
        "cpu_pct_of_one_core": round(100 * used / elapsed, 3),
        "start_up_cpu_seconds": round(before, 2),
        "rss_mb_first_tenth": round(sum(resident[:tenth]) / tenth / 1e6, 1),
        "rss_mb_last_tenth": round(sum(resident[-tenth:]) / tenth / 1e6, 1),
        "peak_rss_mb": round(max(resident) / 1e6, 1),
        "ending_cpu_seconds": round(whole.ru_utime + whole.ru_stime - before - used, 2),
        "whole_run_cpu_pct": round(100 * (whole.ru_utime + whole.ru_stime) / ran, 3),
        "whole_run_peak_mb": _peak_mb(whole.ru_maxrss),
        "seconds": round(elapsed, 1),
        **further,
    }


def ended(child: subprocess.Popen[bytes]) -> resource.struct_rusage:
    """What a program that was told to stop has used in all, with its children; killed after ENDING_SECONDS."""
    deadline = time.monotonic() + ENDING_SECONDS
    while True:
        pid, status, used = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return used
        if time.monotonic() > deadline:
            child.kill()
        time.sleep(0.02)


def _peak_mb(kilobytes: int) -> float | None:
    """Of a child, by the kernel. It begins with what this process had resident when it forked: None where the child
    did not get beyond that."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(kilobytes * 1024 / 1e6, 1) if kilobytes > own else None

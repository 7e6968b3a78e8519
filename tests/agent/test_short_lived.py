"""Processes that live and die between two looks do not vanish (issue 4): their CPU time is their workload's."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.profiling import AGENT
from agent.rig import missing

pytestmark = pytest.mark.slow
# Each child burns about 5 ms, far less than an interval of the agent.
STORM = """
import os, sys, time
for _ in range(600):
    child = os.fork()
    if child == 0:
        end = time.process_time() + 0.005
        while time.process_time() < end:
            pass
        os._exit(0)
    os.waitpid(child, 0)
print("done", flush=True)
time.sleep(600)
"""
# Children that end at once: as many as this machine can make.
FORKS = """
import os, time
for _ in range(4000):
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(child, 0)
print("done", flush=True)
time.sleep(600)
"""

# Nobody waits for these: the kernel reaps them, and their time is in the counter of their cgroup only.
UNWAITED = """
import os, signal, sys, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
sys.stdin.readline()
for _ in range(int(sys.argv[1])):
    child = os.fork()
    if child == 0:
        end = time.process_time() + 0.005
        while time.process_time() < end:
            pass
        os._exit(0)
    try:
        os.waitpid(child, 0)
    except ChildProcessError:
        pass
print("done", flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def own_cgroup(name: str) -> Iterator[Path]:
    """A cgroup with a counter of CPU time, of version 1 or 2; gone afterwards."""
    roots = [Path("/sys/fs/cgroup") / folder for folder in ("cpuacct", "cpu,cpuacct", "")]
    root = next((one for one in roots if (one / "cgroup.procs").exists()), None)
    if os.geteuid() != 0 or root is None:
        missing("root and a cgroup hierarchy with CPU time are needed")
    folder = root / f"eo-test-{name}-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        missing(f"{folder}: {error}")
    try:
        yield folder
    finally:
        # Its last process may still be on its way out.
        wait_for(lambda: not (folder / "cgroup.procs").read_text())
        folder.rmdir()


def counted(cgroup: Path) -> float:
    """CPU seconds by the kernel's counter."""
    usage = cgroup / "cpuacct.usage"
    if usage.exists():
        return int(usage.read_text()) / 1e9
    lines = (cgroup / "cpu.stat").read_text().splitlines()
    return int(dict(line.split() for line in lines)["usage_usec"]) / 1e6


def used(pid: int) -> float:
    """CPU seconds of a process and of the children that it waited for, as the kernel counts."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def samples(output: Path, name: str) -> list[dict[str, Any]]:
    """The rows of a workload; a line that is still being written is left out."""
    lines = [json.loads(line) for line in output.read_text().splitlines() if line.endswith("}")]
    return [line for line in lines if line["kind"] == "samples" and line["workload"] == f"declared/{name}"]


def told(output: Path, name: str) -> float:
    """CPU seconds of a workload by the agent."""
    return float(sum(row["cpu_seconds"] for row in samples(output, name)))


def wait_for(condition: Callable[[], bool], timeout: float = 60) -> None:
    """Until it is true."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.parametrize(("name", "source"), [("storm", STORM), ("forks", FORKS)])
def test_their_time_is_their_workloads(tmp_path: Path, name: str, source: str) -> None:
    """At least 95 % of it, and not more than there was."""
    if not os.access(AGENT, os.X_OK):
        missing("the agent is not built: run `make up` or cargo build --release in agent/")
    script = tmp_path / "storm.py"
    script.write_text(source)
    environment = {**os.environ, "EO_WORKLOAD": name}
    command = [str(AGENT), "run", "--sink", "stdout", "--interval-seconds", "1", "--profile-hz", "0"]
    output = tmp_path / "rows"
    with output.open("w") as rows, subprocess.Popen(command, stdout=rows, stderr=subprocess.DEVNULL) as agent:
        wait_for(lambda: output.stat().st_size > 0)
        parent = subprocess.Popen(
            ["nice", sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, text=True
        )
        try:
            assert parent.stdout is not None
            assert parent.stdout.readline() == "done\n"
            total = used(parent.pid)
            wait_for(lambda: told(output, name) >= 0.95 * total)
        finally:
            agent.terminate()
            agent.wait(30)
            parent.kill()
            parent.wait()
    mine = samples(output, name)
    assert len({row["pid"] for row in mine}) < 700
    assert told(output, name) <= 1.02 * total


def test_children_that_nobody_waits_for_are_their_cgroups(tmp_path: Path) -> None:
    """At least 95 % of what the kernel counted, never more; most of it in a row that says what it is."""
    if not os.access(AGENT, os.X_OK):
        missing("the agent is not built: run `make up` or cargo build --release in agent/")
    script, output = tmp_path / "unwaited.py", tmp_path / "rows"
    script.write_text(UNWAITED)
    command = [str(AGENT), "run", "--sink", "stdout", "--interval-seconds", "0.5", "--profile-hz", "0"]
    enter = 'echo $$ >"$0/cgroup.procs"; exec "$@"'
    with (
        own_cgroup("unwaited") as cgroup,
        output.open("w") as rows,
        subprocess.Popen(command, stdout=rows, stderr=subprocess.DEVNULL) as agent,
    ):
        parent = None
        try:
            wait_for(lambda: output.stat().st_size > 0)
            program = ["nice", sys.executable, str(script), "600"]
            parent = subprocess.Popen(
                ["sh", "-c", enter, str(cgroup), *program],
                env={**os.environ, "EO_WORKLOAD": "unwaited"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            # A cgroup has a difference from the second look on.
            wait_for(lambda: bool(samples(output, "unwaited")))
            assert parent.stdin is not None
            assert parent.stdout is not None
            print(file=parent.stdin, flush=True)
            assert parent.stdout.readline() == "done\n"
            total = counted(cgroup)
            by_processes = used(parent.pid)
            wait_for(lambda: told(output, "unwaited") >= 0.95 * total)
        finally:
            agent.terminate()
            agent.wait(30)
            if parent is not None:
                parent.kill()
                parent.wait()
    assert by_processes < 0.5 * total, "the parent shows little of it"
    ended = [row for row in samples(output, "unwaited") if row["pid"] == 0]
    assert {row["command"] for row in ended} == {"[ended]"}
    assert sum(row["cpu_seconds"] for row in ended) > 0.5 * total
    # A tick for the start that was outside of the cgroup.
    assert told(output, "unwaited") <= 1.02 * total + 0.02

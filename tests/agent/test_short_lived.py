"""Processes that live and die between two looks do not vanish (issue 4): their CPU time is their workload's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.cpu_time import counted, inside, own_cgroup, samples, told, used
from agent.rig import AGENT, eventually, needs_agent

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


@pytest.mark.parametrize(("name", "source"), [("storm", STORM), ("forks", FORKS)])
def test_their_time_is_their_workloads(tmp_path: Path, name: str, source: str) -> None:
    """At least 95 % of it, and not more than there was."""
    needs_agent()
    script = tmp_path / "storm.py"
    script.write_text(source)
    environment = {**os.environ, "EO_WORKLOAD": name}
    command = [str(AGENT), "run", "--sink", "stdout", "--interval-seconds", "1", "--profile-hz", "0"]
    output = tmp_path / "rows"
    with output.open("w") as rows, subprocess.Popen(command, stdout=rows, stderr=subprocess.DEVNULL) as agent:
        eventually(lambda: output.stat().st_size > 0, "the first look", 60)
        parent = subprocess.Popen(
            ["nice", sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, text=True
        )
        try:
            assert parent.stdout is not None
            assert parent.stdout.readline() == "done\n"
            total = used(parent.pid)
            eventually(lambda: told(output, name) >= 0.95 * total, "95 % of their time", 60)
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
    needs_agent()
    script, output = tmp_path / "unwaited.py", tmp_path / "rows"
    script.write_text(UNWAITED)
    command = [str(AGENT), "run", "--sink", "stdout", "--interval-seconds", "0.5", "--profile-hz", "0"]
    with (
        own_cgroup("unwaited") as cgroup,
        output.open("w") as rows,
        subprocess.Popen(command, stdout=rows, stderr=subprocess.DEVNULL) as agent,
    ):
        parent = None
        try:
            eventually(lambda: output.stat().st_size > 0, "the first look", 60)
            program = ["nice", sys.executable, str(script), "600"]
            parent = subprocess.Popen(
                inside(cgroup, *program),
                env={**os.environ, "EO_WORKLOAD": "unwaited"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            # A cgroup has a difference from the second look on.
            eventually(lambda: samples(output, "unwaited"), "a row of the workload", 60)
            assert parent.stdin is not None
            assert parent.stdout is not None
            print(file=parent.stdin, flush=True)
            assert parent.stdout.readline() == "done\n"
            total = counted(cgroup)
            by_processes = used(parent.pid)
            eventually(lambda: told(output, "unwaited") >= 0.95 * total, "95 % of their time", 60)
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

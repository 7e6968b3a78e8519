"""Helpers of the tests that run `eo-agent profile` on a program."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from .rig import AGENT, missing, needs_agent

PROGRAMS = Path(__file__).parent / "unwinding" / "programs"
# A program whose calls are known, root to leaf: the one that the benchmarks keep busy.
PYTHON_CALLS = (PROGRAMS / "chain.py").read_text(encoding="utf-8")
PYTHON_CHAIN = ["<module>", "main", "outer", "inner"]


def needs_agent_and_root() -> None:
    """Skip, or fail in CI, without the built agent or the right to look into other processes."""
    needs_agent()
    if os.geteuid() != 0:
        missing("sampling other processes' stacks takes root (or CAP_PERFMON and CAP_SYS_PTRACE)")


def wait_until_busy(pid: int, cpu_seconds: float, timeout: float = 30) -> None:
    """Until the process has used so much CPU: it is past its start then."""
    deadline = time.monotonic() + timeout
    per_second = os.sysconf("SC_CLK_TCK")
    while True:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if (int(fields[11]) + int(fields[12])) / per_second >= cpu_seconds:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"process {pid} did not get going")
        time.sleep(0.05)


def profile(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command to its end."""
    return subprocess.run([str(AGENT), "profile", *arguments], capture_output=True, timeout=90, check=False)


def folded(text: bytes) -> Counter[tuple[str, ...]]:
    """Stacks and samples of folded output, without the command in front."""
    stacks: Counter[tuple[str, ...]] = Counter()
    for line in text.decode().splitlines():
        stack, _, count = line.rpartition(" ")
        stacks[tuple(stack.split(";")[1:])] += int(count)
    return stacks


def whole_calls(stacks: Counter[tuple[str, ...]], file: str) -> int:
    """Samples whose frames of a file are the calls of PYTHON_CALLS from the root.

    One that stops above `inner` was taken between two calls.
    """
    whole = 0
    for stack, count in stacks.items():
        functions = [frame.split(" (")[0] for frame in stack if file in frame]
        whole += count if functions and functions == PYTHON_CHAIN[: len(functions)] else 0
    return whole


def busy_python(source: str, tmp_path: Path, interpreter: str = sys.executable) -> subprocess.Popen[bytes]:
    """A Python program that runs until it is killed."""
    script = tmp_path / "busy.py"
    script.write_text(source)
    return subprocess.Popen(["nice", interpreter, str(script)])

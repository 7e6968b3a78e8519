"""Node programs (V8 compiles at run time): named where their flags allow, counted right and not misnamed where not."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .profiling import folded, needs_agent_and_root, profile, wait_until_busy
from .rig import missing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PROGRAM = """
function innermost(x) { for (let i = 0; i < 20000; i++) x = (x * 31 + i) % 1000003; return x; }
function middle(x) { return innermost(x) + 1; }
function outermost(x) { return middle(x) + 1; }
let x = 1;
for (;;) x = outermost(x);
"""
SECONDS = 5


@contextmanager
def busy_node(folder: Path, *flags: str) -> Iterator[int]:
    """A busy program; inlining is left to V8, the map of code is written into a folder of the test's own."""
    needs_agent_and_root()
    if (node := shutil.which("node")) is None:
        missing("node is not installed")
    script = folder / "busy.js"
    script.write_text(PROGRAM)
    # V8 writes logs of its own into the working directory.
    with subprocess.Popen([str(node), *flags, str(script)], cwd=folder) as process:
        try:
            wait_until_busy(process.pid, 1.0)
            yield process.pid
        finally:
            process.kill()
            Path(f"/tmp/perf-{process.pid}.map").unlink(missing_ok=True)


def used(pid: int) -> float:
    """CPU seconds of a process so far."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def sampled(pid: int) -> tuple[Counter[tuple[str, ...]], float]:
    """Stacks, and samples beside what the CPU time of the process asks for (1: all are there)."""
    before, started = used(pid), time.monotonic()
    found = profile("--seconds", str(SECONDS), "--pid", str(pid))
    # The command looks at names before and after; only its own seconds are sampled.
    share = (used(pid) - before) / (time.monotonic() - started)
    stacks = folded(found.stdout)
    return stacks, stacks.total() / (99 * SECONDS * share)


def test_with_a_perf_map_functions_are_named(tmp_path: Path) -> None:
    """`--perf-basic-prof` is the flag that Node's own documentation gives for perf. Nothing inlined: what V8 merged
    into one piece of code has one name."""
    flags = ("--perf-basic-prof", "--interpreted-frames-native-stack", "--no-turbo-inlining")
    with busy_node(tmp_path, *flags) as pid:
        stacks, _ = sampled(pid)
    mine = ("innermost", "middle", "outermost")
    named = sum(count for stack, count in stacks.items() if any(name in frame for frame in stack for name in mine))
    assert named / stacks.total() >= 0.95, stacks.most_common(5)


def test_without_flags_nothing_is_misnamed_and_the_sum_is_right(tmp_path: Path) -> None:
    """Code of V8 has no names then: it says that it was compiled at run time, and every sample is there."""
    with busy_node(tmp_path) as pid:
        stacks, share = sampled(pid)
    frames = {frame for stack in stacks for frame in stack}
    assert not [frame for frame in frames if "innermost" in frame or "middle" in frame]
    unnamed = sum(count for stack, count in stacks.items() if any("[compiled at run time]" in frame for frame in stack))
    assert unnamed / stacks.total() >= 0.9, stacks.most_common(5)
    assert 0.85 <= share <= 1.15, f"{share:.2f} of the samples that its CPU time asks for"

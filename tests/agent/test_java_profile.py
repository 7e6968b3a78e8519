"""Java programs get the names of their methods, without a restart or flags (issue 4: >= 95 % named)."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.profiling import PROGRAMS, folded, needs_agent_and_root, profile, wait_until_busy
from agent.rig import missing

pytestmark = pytest.mark.slow


def javas() -> list[Path]:
    """Every JVM of this machine that is 17 or newer."""
    found = {path.resolve() for path in Path("/usr/lib/jvm").glob("*/bin/java")}
    return sorted(found)


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled program."""
    needs_agent_and_root()
    if not shutil.which("javac"):
        missing("a JDK is needed")
    folder = tmp_path_factory.mktemp("java")
    subprocess.run(["javac", "--release", "17", "-d", str(folder), str(PROGRAMS / "Chain.java")], check=True)
    return folder


@contextlib.contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that is ended on the way out, whatever a test found."""
    with subprocess.Popen(command) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("java", javas() or [Path("java")], ids=str)
def test_methods_have_names_and_callers(java: Path, classes: Path) -> None:
    """Of the samples in Java code nearly all have a method's name, and most reach the thread's first function.

    `Interpreter` is where a method runs that is not compiled yet, and no name of one: it counts as unnamed. The JVM's
    own work (compiler, collector) is no Java code and is told apart.
    """
    with running(str(java), "-cp", str(classes), "Chain") as process:
        # It compiles everything twice at first; callers can't be seen before its map is there.
        wait_until_busy(process.pid, 4)
        stacks = folded(profile("--seconds", "12", "--pid", str(process.pid)).stdout)
    user = {stack: [frame for frame in stack if not frame.endswith("(kernel)")] for stack in stacks}
    in_java = {stack: count for stack, count in stacks.items() if user[stack] and user[stack][-1].endswith("(jit)")}
    total = sum(in_java.values())
    nameless = ("[compiled", "Interpreter ")
    named = sum(count for stack, count in in_java.items() if not user[stack][-1].startswith(nameless))
    whole = sum(count for stack, count in in_java.items() if not stack[0].startswith("[truncated"))
    ours = sum(count for stack, count in in_java.items() if any("Chain." in frame for frame in stack))
    of_all = sum(count for stack, count in stacks.items() if user[stack] and not user[stack][-1].startswith("["))
    print(f"{java}: {total} of {stacks.total()} samples in Java code; a method's name {named / total:.1%}, whole "
          f"{whole / total:.1%}; of all samples of the process {of_all / stacks.total():.1%} have a name")  # fmt: skip
    assert total > 200
    assert named / total >= 0.95, stacks.most_common(5)
    assert ours / total >= 0.9, stacks.most_common(5)
    assert whole / total >= 0.8, stacks.most_common(5)


def test_a_jvm_that_may_not_be_asked_stays_alive_and_unnamed(classes: Path) -> None:
    """--no-jvm-attach writes nothing into the program's /tmp."""
    with running("nice", "java", "-cp", str(classes), "Chain") as process:
        wait_until_busy(process.pid, 2)
        stacks = folded(profile("--seconds", "2", "--pid", str(process.pid), "--no-jvm-attach").stdout)
        assert process.poll() is None
        assert not Path(f"/tmp/.java_pid{process.pid}").exists()
    assert any(frame == "[compiled at run time] (jit)" for stack in stacks for frame in stack)


def test_a_jvm_that_does_not_listen_is_not_killed_by_the_signal(classes: Path) -> None:
    """With -Xrs a SIGQUIT would end it: the agent looks before it signals."""
    with running("nice", "java", "-Xrs", "-cp", str(classes), "Chain") as process:
        wait_until_busy(process.pid, 2)
        profile("--seconds", "3", "--pid", str(process.pid))
        assert process.poll() is None

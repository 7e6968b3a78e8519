"""The inventory knows language, version and settings of real programs of every runtime, and in the end also of those
that do nothing (issue 4)."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import runtimes
from agent.rig import AGENT, Row, eventually, missing, needs_agent, printed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@contextlib.contextmanager
def started(program: runtimes.Program, folder: Path) -> Iterator[int]:
    """A program that said it is ready."""
    environment = {**os.environ, **program.environment}
    process = subprocess.Popen(program.command, env=environment, stdout=subprocess.PIPE, text=True, cwd=folder)
    try:
        assert process.stdout
        assert process.stdout.readline() == "ready\n", program.command
        yield process.pid
    finally:
        process.kill()
        process.wait()


def newest(output: Path, pids: set[int]) -> dict[int, Row]:
    """The last inventory row of each process."""
    return {row["pid"]: row for row in printed(output) if row["kind"] == "inventory" and row["pid"] in pids}


def test_each_runtime_is_known_by_language_version_and_settings(tmp_path: Path) -> None:
    """All of them sleep, so none is ever notable by what it uses; what can't be started is named."""
    needs_agent()
    made, absent = {}, []
    for make in runtimes.PROGRAMS:
        folder = tmp_path / make.__name__
        folder.mkdir()
        try:
            made[make.__name__] = make(folder)
        except runtimes.MissingError as reason:
            absent.append(f"{make.__name__}: {reason}")
    output = tmp_path / "rows"
    with contextlib.ExitStack() as stack:
        pids = {stack.enter_context(started(one, tmp_path / name)): one for name, one in made.items()}
        command = [str(AGENT), "run", "--sink", "stdout", "--interval-seconds", "0.5", "--profile-hz", "0"]
        agent = stack.enter_context(subprocess.Popen(command, stdout=stack.enter_context(output.open("w"))))
        stack.callback(agent.terminate)

        def looked_up() -> bool:
            rows = newest(output, set(pids))
            return len(rows) == len(pids) and all(row["runtime_settings"] is not None for row in rows.values())

        eventually(looked_up, "a look into each program", 240)
        rows = newest(output, set(pids))
    for pid, program in pids.items():
        row = rows[pid]
        found = (row["language"], row["runtime_version"], row["runtime_settings"])
        assert found == (program.language, program.version, program.settings), program.command
    assert "s3cret" not in output.read_text()
    if absent:
        missing("; ".join(absent))

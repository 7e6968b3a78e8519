"""Fewer rights than it could have (issue 4): the agent starts all the same, measures, and names what it lost
and what that costs; a process that it may not look into costs that process's details and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.rig import AGENT, Row, busy_shell, eventually, missing, needs_agent, printed

pytestmark = pytest.mark.slow
NOBODY = "65534"


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy that every user may run: the checkout may lie in a closed directory."""
    needs_agent()
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        missing("root and setpriv (util-linux) are needed to give rights away")
    place = tmp_path_factory.mktemp("bin")
    for above in (place, *place.parents):
        if above.stat().st_uid == os.geteuid() and above != Path("/"):
            above.chmod(above.stat().st_mode | 0o055)
    return Path(shutil.copy(AGENT, place / "eo-agent"))


def as_nobody(*command: str) -> list[str]:
    """Another user without groups and rights."""
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all", *command]


def without(capabilities: str, *command: str) -> list[str]:
    """Root without these rights."""
    return ["setpriv", f"--bounding-set={capabilities}", f"--inh-caps={capabilities}", *command]


def check(command: list[str]) -> Row:
    """What `check` finds."""
    asked = [*command, "check", "--output", "json", "--container-sockets", ""]
    done = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60)
    found: Row = json.loads(done.stdout)
    return found


def samples(rows: list[Row], pid: int) -> list[Row]:
    """Of one process, where it used CPU time."""
    return [row for row in rows if row["kind"] == "samples" and row["pid"] == pid and row["cpu_seconds"] > 0]


def has_io(rows: list[Row], pid: int) -> bool:
    """Whether a process' input is known: from its second row on."""
    return any(row["read_bytes"] is not None for row in samples(rows, pid))


def run(command: list[str], output: Path, until: Callable[[list[Row]], object]) -> list[Row]:
    """The rows of a running agent, until they are enough; it has to stop when asked."""
    asked = [*command, "run", "--sink", "stdout", "--interval-seconds", "0.5", "--container-sockets", ""]
    errors = output.with_suffix(".err")
    with output.open("w") as rows, errors.open("w") as log:
        process = subprocess.Popen(asked, stdout=rows, stderr=log)
        try:
            eventually(lambda: until(printed(output)) or process.poll() is not None, "rows that are enough", 60)
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(30)
    assert code == 0, errors.read_text()
    return printed(output)


def node_row(rows: list[Row]) -> Row:
    """What the agent says of the node."""
    return next(row for row in rows if row["kind"] == "inventory" and row["scope"] == "node")


def test_as_another_user_it_measures_and_names_what_it_lost(agent: Path, tmp_path: Path) -> None:
    """Check, the log and the node's row say the same; CPU and memory of others' processes are there."""
    found = check(as_nobody(str(agent)))
    lost = {one["name"]: one for one in found["abilities"] if not one["found"]}
    assert "process_details" in lost
    for one in lost.values():
        assert all(one[word] for word in ("finding", "next", "costs")), one
    assert any(name.startswith("meter:") for name in lost) or found["meters"]
    with busy_shell() as others, busy_shell(as_nobody()) as own:
        rows = run(as_nobody(str(agent)), tmp_path / "rows", lambda rows: has_io(rows, own.pid))
    about = node_row(rows)
    local = [sentence for sentence in found["missing"] if not sentence.startswith("bus")]
    assert sorted(about["missing"]) == sorted(local)
    log = (tmp_path / "rows.err").read_text()
    assert all(sentence.split(":")[0] in log and "without it:" in log for sentence in about["missing"])
    # I/O is lost, and only of those it may not look into.
    of_others = samples(rows, others.pid)
    assert of_others
    assert of_others[0]["mem_bytes"] > 0
    assert {row["read_bytes"] for row in of_others} == {None}


@pytest.mark.parametrize(
    ("capabilities", "lost"),
    [
        ("-sys_resource", []),
        ("-checkpoint_restore,-sys_admin", ["replaced_files"]),
        ("-kill", ["jvm_names"]),
        ("-ipc_lock", ["stack_buffers"]),
        ("-syslog,-sys_admin", ["kernel_symbols"]),
        ("-sys_ptrace", ["process_details"]),
        ("-all", ["replaced_files", "jvm_names", "process_details"]),
    ],
)
def test_each_right_that_is_dropped_is_named_and_costs_no_more(
    agent: Path, tmp_path: Path, capabilities: str, lost: list[str]
) -> None:
    """The agent starts and measures; of two lists, the one with fewer rights lacks what it should lack and no meter."""
    whole, less = check([str(agent)]), check(without(capabilities, str(agent)))
    gone = {name for name in whole["capabilities"] if name not in less["capabilities"]}
    profiled = "perf_event" in less["capabilities"]
    for name in lost:
        # Without profiles nobody misses their parts; kptr_restrict 0 shows addresses to all.
        known = [one for one in less["abilities"] if one["name"] == name]
        if name == "kernel_symbols" and Path("/proc/sys/kernel/kptr_restrict").read_text().strip() == "0":
            continue
        if name == "process_details" or profiled:
            assert [one["found"] for one in known] == [False], (name, less["abilities"])
            assert all(known[0][word] for word in ("finding", "next", "costs"))
    if not lost:
        assert not gone
    with busy_shell() as busy:
        rows = run(without(capabilities, str(agent)), tmp_path / "rows", lambda rows: samples(rows, busy.pid))
    assert set(node_row(rows)["missing"]) >= {one for one in less["missing"] if not one.startswith("bus")}


def test_without_tracing_files_and_with_hidden_processes_it_starts(agent: Path, tmp_path: Path) -> None:
    """A mount namespace without tracefs, debugfs and powercap, and a /proc that hides others' processes (hidepid=2)."""
    hide = (
        "mount -t tmpfs none /sys/kernel; mount -t tmpfs none /proc/sys/kernel 2>/dev/null;"
        "mount -t proc -o hidepid=2 none /proc || exit 77;"
    )
    inside = ["unshare", "--mount", "sh", "-c", f'{hide} exec "$@"', "sh"]
    if subprocess.run([*inside, "true"], check=False, capture_output=True).returncode:
        missing("mount namespaces are needed")
    rows = run(
        [*inside, *as_nobody(str(agent))], tmp_path / "rows", lambda rows: any(row["kind"] == "samples" for row in rows)
    )
    names = {row["command"] for row in rows if row["kind"] == "samples"}
    assert names == {"eo-agent"}
    assert any(sentence.startswith("hardware_counters:") for sentence in node_row(rows)["missing"]) or (
        "hardware_counters" in node_row(rows)["capabilities"]
    )
